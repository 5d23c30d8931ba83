"""`gradkern data check`: its arguments, and the recording that they name."""

import argparse
from typing import Any

from gradkern.recordings import readers

_OPTIONS: dict[str, dict[str, Any]] = {
    "subject": {"help": "number of the subject (default: 1); for bids and bids-eeg its label"},
    "space": {
        "help": "for nsd, nsd-synthetic, nsd-imagery (default: fsaverage), nsd-timeseries; for bids that of the runs, "
        "with further entities as in MNI152NLin2009cAsym:res-2"
    },
    "condition": {"help": "for nsd-imagery: vision or imagery (default: vision)"},
    "modality": {"help": "for nod: fmri, meg or eeg (default: fmri)"},
    "betas": {"help": "for nsd, nsd-synthetic, nsd-imagery (default: b3), bold5000 (default: D) and cneuromod-things"},
    "sessions": {"help": "sessions to read (default: those that are there)", "type": int, "nargs": "+"},
    "atlas": {"help": "for nsd: a parcellation that names the regions"},
    "task": {"help": "for bids and bids-eeg: label of the task"},
    "image": {"help": "column of the events (bids, bids-eeg) or of the metadata (epochs) that names the image"},
    "images": {"help": "folder of the images; for glmsingle a text file with the image of every trial, one a line"},
    "units": {"help": "for epochs: units of the samples, in words"},
    "derivatives": {"help": "for bids: folder of the preprocessed files (default: derivatives/fmriprep)"},
    "mask": {"help": "NIfTI file whose voxels that are neither 0 nor NaN are read"},
    "affine": {
        "help": "whose affine holds where mask and data differ (default: an error)",
        "choices": ("mask", "data"),
    },
    "delay": {"help": "for time series: seconds after onset (default: 5.5)", "type": float},
    "repetition_time": {"help": "for time series: in s, where headers and sidecars differ", "type": float},
    "start_time": {"help": "for bids: time in s that the first volume stands for", "type": float},
    "dummy_scans": {"help": "for bids: volumes at the beginning that are not in steady state", "type": int},
    "confounds": {"help": "for bids: columns of the confounds, or patterns, to regress out", "nargs": "+"},
    "model": {"help": "for glmsingle: B, C or D (default: D)"},
    "scratch": {"help": "folder where packed files are kept unpacked, instead of in memory"},
    "allow_pickle": {"help": "read pickles, which can run any code", "action": "store_true", "default": None},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gradkern data check`."""
    parser.add_argument("kind", choices=tuple(readers()), help="data set or file format")
    parser.add_argument(
        "path",
        nargs="?",
        help="folder of the data set; for epochs the first -epo.fif file; for saved a file that save_recording wrote",
    )
    for name, settings in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)


def run(arguments: argparse.Namespace) -> int:
    """Print what a recording holds."""
    from gradkern.recordings import describe

    for name, value in describe(_load(arguments)):
        line = f"{name:<14} {value}"
        print(line.encode("utf-8", "backslashreplace").decode())  # names of files that are not in Unicode
    return 0


def _load(arguments: argparse.Namespace) -> Any:
    from gradkern.recordings import load

    reader = readers()[arguments.kind]
    options = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    for name in options:
        if name not in reader.options:
            raise ValueError(f"{reader.name} does not take --{name.replace('_', '-')}")
    if "images" in options:
        options["images"] = _images(reader.name, options["images"])
    if reader.numbers_subjects:
        options["subject"] = _number(options.get("subject", "1"))
    for name in reader.needs:
        if name not in options:
            raise ValueError(f"{reader.name} needs --{name}: {_OPTIONS[name]['help']}")
    return load(reader.name, arguments.path, **options)


def _images(reader: str, path: str) -> Any:
    """The images as the reader takes them: a folder, an image source, or the name of every trial's image."""
    from gradkern.recordings import folder_images
    from gradkern.recordings._formats.files import existing_file, read_lines

    if reader == "glmsingle":
        return read_lines(existing_file(path))
    return folder_images(path)[0] if reader in ("epochs", "saved", "bids-eeg") else path


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"--subject must be a number, got {word!r}")
    return int(word)
