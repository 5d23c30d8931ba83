"""A small raw THINGS-MEG: recordings in CTF's format (.ds folders, big-endian), events and attributes as published."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RATE, SECONDS = 1200, 40
TESLA = 1 / (3e8 * 2**20)  # of a count
DELAY = 36  # samples, 30 ms, from the trigger to the screen
SIGNAL = ("MLC11-1609", "MLC12-1609", "MLF11-1609", "MRO11-1609", "MRO12-1609", "MRT11-1609")
GOOD = tuple(name for name in SIGNAL if name != "MRO11-1609")
REFERENCE = ("G11-1609", "P12-1609")
# types of sensors in CTF's table: reference gradiometer, magnetometer, ADC, clock, digital channel
OTHERS = {"UADC016-2104": 18, "SCLK01-177": 17, "UPPT001": 20}
NAMES = (*SIGNAL, *REFERENCE, *OTHERS)
_COIL = [("pos", ">f8", 3), ("d0", ">f8"), ("norm", ">f8", 3), ("d1", ">f8"), ("turns", ">i2"), ("d2", ">i4")]
_COIL += [("d3", ">i2"), ("area", ">f8")]
_CHANNEL = np.dtype(
    [
        ("type", ">i2"),
        ("original_run", ">i2"),
        ("coil_type", ">i4"),
        ("proper_gain", ">f8"),
        ("qgain", ">f8"),
        ("io_gain", ">f8"),
        ("io_offset", ">f8"),
        ("coils", ">i2"),
        ("order", ">i2"),
        ("d0", ">i4"),
        ("coil", _COIL, 8),
        ("head_coil", _COIL, 8),
    ]
)
_BALANCE = np.dtype(
    [("name", "S32"), ("kind", ">i4"), ("d0", ">i4"), ("count", ">i2"), ("sensors", "S31", 50), ("of", ">f8", 50)]
)
_THIRD_ORDER = 0x47334252  # "G3BR"


def write_ds(folder: Path, counts: NDArray[Any]) -> None:
    """A recording of one trial, [channels, samples] as `NAMES` has them, in whole numbers."""
    folder.mkdir(parents=True)
    (folder / f"{folder.stem}.res4").write_bytes(_head(counts.shape[1]) + _channels() + _balance())
    (folder / f"{folder.stem}.meg4").write_bytes(b"MEG41CP\0" + counts.astype(">i4").tobytes())
    places = {"nasion": (10, 0, 0), "left ear": (0, 7, 0), "right ear": (0, -7, 0)}
    frames = [("standard", "dewar"), ("measured", "dewar"), ("measured", "head")]
    lines = [
        f"{state} {name} coil position relative to {frame} (cm):\n\tx = {x}\n\ty = {y}\n\tz = {z}\n"
        for state, frame in frames
        for name, (x, y, z) in places.items()
    ]
    (folder / f"{folder.stem}.hc").write_text("".join(lines))


def _head(samples: int) -> bytes:
    head = bytearray(1844)
    head[:7] = b"MEG42RS"
    head[778:783], head[1033:1043] = b"12:00", b"13/06/2019"
    struct.pack_into(">ih", head, 1288, samples, len(NAMES))
    struct.pack_into(">ddh", head, 1296, RATE, samples / RATE, 1)
    filters = struct.pack(">hdiih", 1, 300.0, 1, 1, 0)  # one: a low-pass at 300 Hz
    return bytes(head) + filters + b"".join(name.encode().ljust(32, b"\0") for name in NAMES)


def _channels() -> bytes:
    table = np.zeros(len(NAMES), _CHANNEL)
    table["qgain"] = table["proper_gain"] = table["io_gain"] = 1
    table["type"] = [5] * len(SIGNAL) + [1] * len(REFERENCE) + list(OTHERS.values())
    meg = slice(0, len(SIGNAL) + len(REFERENCE))
    table["proper_gain"][meg], table["qgain"][meg], table["coils"][meg] = 3e8, 2**20, 2
    table["order"][: len(SIGNAL)] = 3
    angle = np.linspace(0, 3, meg.stop)
    for coil, distance in ((0, 12.0), (1, 17.0)):  # cm
        table["coil"]["norm"][meg, coil] = np.stack([np.cos(angle), np.sin(angle), 0 * angle + 1], 1) / np.sqrt(2)
        table["coil"]["pos"][meg, coil] = distance * table["coil"]["norm"][meg, coil]
    return table.tobytes()


def _balance() -> bytes:
    """Third-order gradiometers: what was subtracted of the references."""
    table = np.zeros(len(SIGNAL), _BALANCE)
    table["name"], table["kind"], table["count"] = [name.encode() for name in SIGNAL], _THIRD_ORDER, len(REFERENCE)
    table["sensors"][:, : len(REFERENCE)] = [name.encode() for name in REFERENCE]
    table["of"][:, : len(REFERENCE)] = 0.1
    return struct.pack(">h", len(table)) + table.tobytes()


class FakeThingsMEGRaw:
    """A subject: runs of 40 s, and what was planted in them.

    MLC11 has a response of one shape to every image, which peaks 100 ms after the screen; MLC12 has 10 Hz and MLF11
    60 Hz of 1 pT all along; each has noise.
    """

    def __init__(self, root: Path, subject: int = 1, runs: Sequence[tuple[int, int]] = ((1, 1), (1, 2), (2, 1))):
        self.root, self.subject, self.runs = root, subject, tuple(runs)
        self.samples: dict[tuple[int, int], NDArray[np.int64]] = {}
        tables = [self._write(session, run) for session, run in runs]
        self.trials = pd.concat(tables, ignore_index=True)
        (root / "sourcedata").mkdir(parents=True, exist_ok=True)
        self.trials.to_csv(self.attributes, index=False)

    @property
    def attributes(self) -> Path:
        return self.root / f"sourcedata/sample_attributes_P{self.subject}.csv"

    def stem(self, session: int, run: int) -> Path:
        name = f"sub-BIGMEG{self.subject}_ses-{session:02d}_task-main_run-{run:02d}"
        return self.root / f"sub-BIGMEG{self.subject}/ses-{session:02d}/meg/{name}"

    def ds(self, session: int, run: int) -> Path:
        return Path(f"{self.stem(session, run)}_meg.ds")

    def events(self, session: int, run: int) -> Path:
        return Path(f"{self.stem(session, run)}_events.tsv")

    def _write(self, session: int, run: int) -> pd.DataFrame:
        random = np.random.default_rng(100 * session + run)
        onset = (RATE * np.cumsum(random.choice([1.3, 1.35, 1.4, 1.5, 1.65], 25))).astype(np.int64) + 1800
        self.samples[session, run] = onset = onset[onset < RATE * (SECONDS - 1.35)]
        write_ds(self.ds(session, run), self._counts(random, onset))
        trials = self._trials(session, run, len(onset))
        told = trials[["trial_type", "things_category_nr"]].assign(value=trials["things_image_nr"], sample=onset)
        told.insert(0, "duration", 0.5)
        told.insert(0, "onset", onset / RATE)
        told.to_csv(self.events(session, run), sep="\t", index=False, na_rep="N/A")
        return trials

    @staticmethod
    def _counts(random: np.random.Generator, onset: NDArray[np.int64]) -> NDArray[np.int64]:
        n = RATE * SECONDS
        time = np.arange(n) / RATE
        values = dict.fromkeys(NAMES, np.zeros(n))
        for name in (*SIGNAL, *REFERENCE):
            values[name] = random.standard_normal(n) * 2e-14 + random.uniform(-1e-11, 1e-11)
        for at in onset:
            values["MLC11-1609"] += 1e-12 * np.exp(-0.5 * ((time - at / RATE - 0.1) / 0.02) ** 2)
        values["MLC12-1609"] += 1e-12 * np.sin(2 * np.pi * 10 * time)
        values["MLF11-1609"] += 1e-12 * np.sin(2 * np.pi * 60 * time)
        counts = np.stack([values[name] / TESLA for name in NAMES])
        counts[NAMES.index("SCLK01-177")] = np.arange(1, n + 1)
        trigger, light = counts[NAMES.index("UPPT001")], counts[NAMES.index("UADC016-2104")]
        for at in onset:
            trigger[at - DELAY : at - DELAY + 12] = 64
            light[at : at + RATE // 2] = 2
        trigger[-600:-588] = 32  # the end of the run
        return np.rint(counts).astype(np.int64)

    @staticmethod
    def _trials(session: int, run: int, n: int) -> pd.DataFrame:
        number = np.arange(n) + 1000 * session + 100 * run
        kind = np.where(np.arange(n) % 9 == 4, "catch", np.where(np.arange(n) % 9 == 7, "test", "exp"))
        folder = {"exp": "images_meg/thing{0}/thing{0}_10s.jpg", "test": "images_test_meg/thing{0}_14n.jpg"}
        folder["catch"] = "images_catch_meg/catch{0}.jpg"
        seen = np.where(kind == "catch", np.nan, number)
        return pd.DataFrame(
            {
                "trial_type": kind,
                "session_nr": session,
                "run_nr": run,
                "things_category_nr": seen,
                "things_image_nr": seen,
                "image_path": [folder[what].format(which) for what, which in zip(kind, number, strict=True)],
                "onset": 3 + 1.5 * np.arange(n),
                "image_on": 3.15 + 1.5 * np.arange(n),
            }
        )
