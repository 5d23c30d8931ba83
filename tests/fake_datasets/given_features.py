"""Features in the layouts that other packages write: thingsvision 2.7, TorchLens 2.36, neuralset 0.4 (exca 0.6)."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

Arrays = Mapping[str, np.ndarray]


def write_thingsvision(folder: Path, arrays: Arrays, names: Sequence[str], form: str = "npy") -> Path:
    """One module beside `file_names.txt`, or a folder of each of several modules."""
    folder.mkdir(parents=True)
    (folder / "file_names.txt").write_text("".join(f"{name}\n" for name in names))
    for module, values in arrays.items():
        place = folder if len(arrays) == 1 else folder / module
        place.mkdir(exist_ok=True)
        if form == "npy":
            np.save(place / "features.npy", values)
        elif form == "pt":
            torch.save(torch.from_numpy(values), place / "features.pt")
        elif form == "txt":
            np.savetxt(place / "features.txt", values)
        elif form == "hdf5":
            with h5py.File(place / "features.h5", "w") as file:
                file.create_dataset("features", data=values)
        elif form == "hdf5 in parts":  # of which names in their order are not numbers in their order
            with h5py.File(place / "features.h5", "w") as file:
                for number, part in enumerate(np.array_split(values, 12), 1):
                    file.create_dataset(f"features_{number}", data=part)
        elif form == "parts":
            for number, part in enumerate(np.array_split(values, 3), 1):
                np.save(place / f"features_{number:02d}.npy", part)
        else:  # chunks by images
            for start in range(0, len(values), 9):
                stop = min(start + 9, len(values))
                np.save(place / f"features_{start}-{stop}.npy", values[start:stop])
    return folder


def write_torchlens(folder: Path, arrays: Arrays, names: Sequence[str] | None, batch: int = 7, **changes: Any) -> Path:
    """Shards of `batch` rows, a ledger with their sizes and checksums, a manifest and the ids."""
    folder.mkdir(parents=True)
    count = len(next(iter(arrays.values())))
    lines = []
    for index, start in enumerate(range(0, count, batch)):
        part = {name: torch.from_numpy(values[start : start + batch].copy()) for name, values in arrays.items()}
        path = folder / f"batch_{index:05d}.safetensors"
        save_file(part, path)
        lines.append({
            "byte_size": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes()), "file": path.name, "index": index,
            "n_rows": len(next(iter(part.values()))), "row_start": start,
        })  # fmt: skip
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    layers = {name: {"layout": "dense", "stored_per_stimulus_shape": list(X.shape[1:])} for name, X in arrays.items()}
    manifest = {
        "schema": "tl_extract_manifest_v2", "torchlens_version": "2.36.1", "status": "complete", "layers": layers,
        "storage": {"shard_format": "safetensors", "ledger": "ledger.jsonl"},
        "totals": {"n_shards": len(lines), "n_stimuli": count},
    } | changes  # fmt: skip
    if names is not None:
        digest = hashlib.sha256(json.dumps(list(names), separators=(",", ":")).encode()).hexdigest()
        manifest = {"stimulus_provenance": {"ids_digest": f"sha256:{digest}"}} | manifest
    ledger = hashlib.sha256((folder / "ledger.jsonl").read_bytes()).hexdigest()
    manifest = {"ledger_digest": f"sha256:{ledger}"} | manifest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if names is not None:
        ids = {"schema": "tl_extract_stimulus_ids_v1", "ids": list(names)}
        (folder / "stimulus_ids.json").write_text(json.dumps(ids))
    return folder


def write_neuralset(folder: Path, values: np.ndarray, names: Sequence[str], kind: str = "MemmapArray") -> Path:
    """The entries of two writers, each with a file of arrays of its own, and a line that was deleted."""
    (folder / "data").mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(names))
    for writer, rows in enumerate(np.array_split(order, 2)):
        lines, data = [" " * 20], b""
        for row in rows:
            name = f"data/host-{writer}.data"
            entry: dict[str, Any] = {
                "filename": name,
                "offset": len(data),
                "shape": values[row].shape,
                "dtype": "float32",
            }
            if kind == "NumpyArray":
                entry = {"filename": f"data/image-{row}.npy"}
                np.save(folder / entry["filename"], values[row])
            data += values[row].tobytes()
            lines.append(json.dumps(entry | {"#type": kind, "#key": names[row]}))
        (folder / f"host-{writer}-info.jsonl").write_text("\n".join(lines) + "\n")
        (folder / f"data/host-{writer}.data").write_bytes(data)
    return folder
