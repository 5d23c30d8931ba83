"""Sizes of raw EEG files by their headers, which mne does not insist on: it reads on where bytes are missing."""

import re
from pathlib import Path

_BYTES = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4, "UINT_16": 2}
_HEADER, _LABEL_BYTES = 256, 216  # of EDF; bytes of a channel before the samples in its record
_KNOWN = (".edf", ".bdf", ".vhdr")


def check_size(path: Path) -> None:
    """Raise a ValueError unless a file of EDF, BDF or BrainVision has the bytes that its header promises."""
    if path.suffix in _KNOWN:
        (_check_brainvision if path.suffix == ".vhdr" else _check_edf)(path)


def _check_edf(path: Path) -> None:
    """Records of samples of all channels follow the header; -1 records are those of a recording that was not closed."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
        channels = _number(path, header[252:256], "signals")
        more = file.read(_HEADER * channels)
    start = _LABEL_BYTES * channels
    samples = [_number(path, more[start + 8 * i : start + 8 * i + 8], "samples of a record") for i in range(channels)]
    records = _number(path, header[236:244], "records")
    width = 3 if path.suffix == ".bdf" else 2
    begin, record, size = _HEADER * (channels + 1), width * sum(samples), path.stat().st_size
    promised = begin + record * records
    if size != promised if records >= 0 else record == 0 or (size - begin) % record:
        raise ValueError(f"{path} must have {promised} bytes of {records} records by its header, got {size}")


def _number(path: Path, field: bytes, name: str) -> int:
    text = field.decode("latin-1").strip()
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"{path} must state a number of {name}, got {text!r}")
    return int(text)


def _check_brainvision(path: Path) -> None:
    """Samples of all channels, of one width."""
    facts = dict(re.findall(r"^(\w+)=(.*?)\s*$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    data = path.with_name(facts.get("DataFile", "").replace("$b", path.stem))
    width = _BYTES.get(facts.get("BinaryFormat", ""))
    if width is None or not facts.get("NumberOfChannels", "").isdecimal() or not data.is_file():
        return  # text, or what mne has its own words for
    sample = width * int(facts["NumberOfChannels"])
    if sample == 0 or data.stat().st_size % sample:
        raise ValueError(f"{data} must have whole samples of {sample} bytes, got {data.stat().st_size} bytes")
