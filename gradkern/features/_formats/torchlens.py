"""Extractions of TorchLens (`extract_dataset(..., output_dir=)`, version 2 of its manifest): shards in a ledger."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import torch

from gradkern.features._formats.source import Source, read_arrays

MANIFEST = "manifest.json"
_SCHEMA = "tl_extract_manifest_v2"
_LEDGER, _IDS = "ledger.jsonl", "stimulus_ids.json"


def is_extraction(folder: Path) -> bool:
    """Whether a folder holds an extraction of TorchLens."""
    path = folder / MANIFEST
    return path.is_file() and "tl_extract_manifest" in path.read_text(encoding="utf-8", errors="replace")[:4096]


def read_extraction(folder: Path) -> Source:
    """All outputs of a finished extraction, row i of which is stimulus i.

    Sizes and checksums (CRC-32) of the shards are compared with the ledger, rows with the manifest and the ids.

    Raises
    ------
    FileNotFoundError : a shard is missing
    ValueError : the extraction is not finished, of another version, ragged, or damaged
    """
    manifest = _json(folder / MANIFEST)
    if manifest.get("schema") != _SCHEMA:
        raise ValueError(f"{folder / MANIFEST} must be of schema {_SCHEMA!r}, got {manifest.get('schema')!r}")
    if manifest.get("status") != "complete":
        raise ValueError(f"{folder} must be complete, got status {manifest.get('status')!r} (resume=True finishes it)")
    layers, totals = manifest.get("layers") or {}, manifest.get("totals") or {}
    ragged = sorted(name for name, layer in layers.items() if layer.get("layout") != "dense")
    if ragged or not layers:
        raise ValueError(f"{folder} must have rows of one shape, got {ragged or 'no layer'}; pool them (pool=)")
    lines = (folder / _LEDGER).read_text(encoding="utf-8").splitlines() if (folder / _LEDGER).is_file() else []
    ledger = [_parsed(folder / _LEDGER, line) for line in lines]
    digest = manifest.get("ledger_digest")
    if digest is not None and digest != f"sha256:{hashlib.sha256((folder / _LEDGER).read_bytes()).hexdigest()}":
        raise ValueError(f"{folder / _LEDGER} must have the checksum of the manifest, {digest}, got another")
    rows = sum(int(entry["n_rows"]) for entry in ledger)
    if (rows, len(ledger)) != (totals.get("n_stimuli"), totals.get("n_shards")):
        raise ValueError(
            f"{folder} must have {totals.get('n_stimuli')} stimuli in {totals.get('n_shards')} shards by its manifest, "
            f"got {rows} in {len(ledger)} by its ledger"
        )
    parts: dict[str, list[Any]] = {name: [] for name in layers}
    at = 0
    for entry in ledger:
        if entry["row_start"] != at:
            raise ValueError(f"{folder / _LEDGER} must have rows without a gap, got {entry['row_start']} after {at}")
        content = _shard(folder, entry)
        for name in layers:
            if name not in content or len(content[name]) != entry["n_rows"]:
                raise ValueError(f"{entry['file']} must hold {entry['n_rows']} rows of {name!r}, got others")
            parts[name].append(content[name])
        at += int(entry["n_rows"])
    arrays = {name: torch.cat(blocks) for name, blocks in parts.items()}
    ids = _ids(folder, rows, (manifest.get("stimulus_provenance") or {}).get("ids_digest"))
    return Source(arrays, ids, {"format": f"TorchLens {manifest.get('torchlens_version')}"})


def _shard(folder: Path, entry: dict[str, Any]) -> Any:
    path = folder / str(entry["file"])
    if path.parent != folder or not path.is_file():
        raise FileNotFoundError(f"{path}, which is in the ledger, is missing")
    size, checksum = path.stat().st_size, zlib.crc32(path.read_bytes())
    if size != entry.get("byte_size", size) or checksum != (entry.get("crc32") or checksum):
        raise ValueError(
            f"{path} must have {entry.get('byte_size')} bytes and the checksum {entry.get('crc32')} of the ledger, got "
            f"{size} and {checksum}"
        )
    return read_arrays(path).arrays


def _ids(folder: Path, rows: int, digest: Any) -> list[str] | None:
    """The ids of the stimuli, with the checksum that the manifest has of them."""
    path = folder / _IDS
    if not path.is_file():
        if digest is not None:
            raise FileNotFoundError(f"{path}, of which the manifest has a checksum, is missing")
        return None
    ids = _json(path).get("ids")
    if not isinstance(ids, list) or len(ids) != rows:
        raise ValueError(f"{path} must hold {rows} ids, got {len(ids) if isinstance(ids, list) else ids!r}")
    content = hashlib.sha256(json.dumps(ids, separators=(",", ":"), sort_keys=True).encode()).hexdigest()
    if digest not in (None, f"sha256:{content}"):
        raise ValueError(f"{path} must have the checksum of the manifest, {digest}, got sha256:{content}")
    return [str(name) for name in ids]


def _json(path: Path) -> dict[str, Any]:
    return _parsed(path, path.read_text(encoding="utf-8", errors="replace"))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error} (is it cut short?)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold objects, got {type(content).__name__}")
    return content
