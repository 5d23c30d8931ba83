"""A small BIDS data set of EEG: two runs of five channels, in any of the formats that BIDS allows."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

RATE, SECONDS = 200, 30
CHANNELS = ("Fz", "Cz", "Oz", "O1", "EOG")
TYPES = ("EEG", "EEG", "EEG", "EEG", "EOG")
IMAGES = tuple(f"images/{word}.jpg" for word in ("d", "b", "a", "c", "f", "e"))
PLACES = {"Fz": (0, 60, 70), "Cz": (0, 0, 90), "Oz": (0, -90, 10), "O1": (-30, -85, 10)}  # mm


@dataclass
class FakeEEG:
    """Runs 2 and 10 of a subject; `values` are [runs, channels, samples] in volts, whole numbers of 0.1 µV."""

    root: Path
    ending: str = ".vhdr"
    status: dict[str, str] = field(default_factory=dict)
    sidecar: dict[str, Any] = field(default_factory=dict)
    session: str = ""

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        self.values = np.round(random.standard_normal((2, len(CHANNELS), RATE * SECONDS)) * 100) * 1e-7
        self.onsets = [np.arange(1, 1 + 4 * len(IMAGES), 4) + 0.25 * run for run in range(2)]
        self.orders = [random.permutation(len(IMAGES)) for _ in range(2)]

    @property
    def home(self) -> Path:
        return self.root / "sub-01" / (f"ses-{self.session}/eeg" if self.session else "eeg")

    def stem(self, run: int) -> str:
        session = f"ses-{self.session}_" if self.session else ""
        return f"sub-01_{session}task-view_run-{(2, 10)[run]}"

    def path(self, run: int, ending: str = "") -> Path:
        return self.home / f"{self.stem(run)}_eeg{ending or self.ending}"

    def write(self) -> "FakeEEG":
        self.home.mkdir(parents=True)
        writer = {".vhdr": _brainvision, ".edf": _edf, ".bdf": _bdf, ".set": _eeglab}[self.ending]
        for run in range(2):
            writer(self.path(run), self.values[run])
            facts = {"SamplingFrequency": RATE, "RecordingDuration": SECONDS, "EEGReference": "Cz"} | self.sidecar
            self.path(run, ".json").write_text(json.dumps(facts))
            self.write_channels(run)
            self.write_events(run)
        names = self.home / "sub-01_space-CapTrak_electrodes.tsv"
        rows = [f"{name}\t" + "\t".join(f"{axis / 1000:g}" for axis in PLACES[name]) for name in PLACES]
        names.write_text("name\tx\ty\tz\n" + "\n".join(rows) + "\n")
        system = {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"}
        (self.home / "sub-01_space-CapTrak_coordsystem.json").write_text(json.dumps(system))
        return self

    def write_channels(self, run: int, names: tuple[str, ...] = CHANNELS, units: str = "µV") -> None:
        pairs = zip(names, TYPES, strict=True)
        rows = [f"{name}\t{kind}\t{units}\t{self.status.get(name, 'good')}" for name, kind in pairs]
        (self.home / f"{self.stem(run)}_channels.tsv").write_text(
            "name\ttype\tunits\tstatus\n" + "\n".join(rows) + "\n"
        )

    def write_events(self, run: int, shift: int = 0) -> None:
        rows = ["0.5\t0.1\tn/a\tfixation\t100"]
        for onset, image in zip(self.onsets[run], self.orders[run], strict=True):
            rows.append(f"{onset:g}\t0.5\t{IMAGES[image]}\timage\t{round(onset * RATE) + shift}")
        path = self.home / f"{self.stem(run)}_events.tsv"
        path.write_text("onset\tduration\tstim_file\ttrial_type\tsample\n" + "\n".join(rows) + "\n")

    def epochs(self, start: float, stop: float) -> NDArray[np.float64]:
        """What is cut around every onset, [epochs, channels, times], run after run."""
        first, last = round(start * RATE), round(stop * RATE)
        cuts = []
        for run, onsets in enumerate(self.onsets):
            for onset in onsets:
                at = round(onset * RATE)
                cuts.append(self.values[run][:, at + first : at + last + 1])
        return np.array(cuts)

    @property
    def shown(self) -> list[str]:
        return [IMAGES[image] for order in self.orders for image in order]


def _brainvision(path: Path, values: NDArray[Any]) -> None:
    name = path.stem
    channels = [f"Ch{i}={label},,0.1,µV" for i, label in enumerate(CHANNELS, 1)]
    header = [
        "Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "Codepage=UTF-8",
        f"DataFile={name}.eeg",
        f"MarkerFile={name}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED",
        f"NumberOfChannels={len(CHANNELS)}",
        f"SamplingInterval={1e6 / RATE:g}", "[Binary Infos]", "BinaryFormat=INT_16", "[Channel Infos]", *channels, "",
    ]  # fmt: skip
    path.write_text("\n".join(header), encoding="utf-8")
    markers = "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
    path.with_suffix(".vmrk").write_text(f"{markers}DataFile={name}.eeg\n[Marker Infos]\nMk1=New Segment,,1,1,0\n")
    np.round(values.T * 1e7).astype("<i2").tofile(path.with_suffix(".eeg"))


def _edf(path: Path, values: NDArray[Any], width: int = 2) -> None:
    """Records of one second: EDF, or BDF with 24 bits."""
    n, limit = len(CHANNELS), 2 ** (8 * width - 1)
    fields = [
        ("0" if width == 2 else "\xffBIOSEMI", 8), ("X X X X", 80), ("Startdate 01-JAN-2020 X X X", 80),
        ("01.01.20", 8),
        ("00.00.00", 8), (str(256 * (n + 1)), 8), ("" if width == 2 else "24BIT", 44), (str(SECONDS), 8),
        ("1", 8), (str(n), 4),
    ]  # fmt: skip
    scale = limit // 10
    columns = [
        (CHANNELS, 16), ([""] * n, 80), (["uV"] * n, 8), ([str(-scale)] * n, 8), ([str(scale)] * n, 8),
        ([str(-10 * scale)] * n, 8), ([str(10 * scale)] * n, 8), ([""] * n, 80), ([str(RATE)] * n, 8), ([""] * n, 32),
    ]  # fmt: skip
    head = "".join(word.ljust(size) for word, size in fields)
    head += "".join(word.ljust(size) for words, size in columns for word in words)
    whole = np.round(values * 1e7).astype("<i4").reshape(n, SECONDS, RATE).transpose(1, 0, 2)
    data = (
        whole.astype("<i2").tobytes() if width == 2 else b"".join(struct.pack("<i", int(x))[:3] for x in whole.ravel())
    )
    path.write_bytes(head.encode("latin-1") + data)


def _bdf(path: Path, values: NDArray[Any]) -> None:
    _edf(path, values, 3)


def _eeglab(path: Path, values: NDArray[Any]) -> None:
    places = [
        {"labels": name, "type": kind, "X": 1.0, "Y": 1.0, "Z": 1.0} for name, kind in zip(CHANNELS, TYPES, strict=True)
    ]
    content = {
        "setname": "x", "nbchan": len(CHANNELS), "trials": 1, "pnts": values.shape[1], "srate": float(RATE),
        "xmin": 0.0,
        "xmax": SECONDS - 1 / RATE, "data": (values * 1e6).astype(np.float32), "chanlocs": places, "event": [],
        "epoch": [],
    }  # fmt: skip
    savemat(path, {"EEG": content}, appendmat=False)
