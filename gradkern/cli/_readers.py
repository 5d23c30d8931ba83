"""Arguments of commands that read a data set, made from the signatures of its readers, and the recording they name."""

import argparse
import inspect
import re
import typing
from collections.abc import Sequence
from typing import Any

from gradkern.cli._arguments import Parser
from gradkern.recordings import readers

_HELP = {  # where several readers take an option, and their documents differ
    "subject": "number of the subject (default: 1); for bids and bids-eeg its label",
    "space": "for nsd, nsd-synthetic, nsd-imagery (default: fsaverage), nsd-timeseries; for bids that of the runs, "
    "with further entities as in MNI152NLin2009cAsym:res-2",
    "condition": "for nsd-imagery: vision or imagery (default: vision)",
    "modality": "for nod: fmri, meg or eeg (default: fmri)",
    "betas": "for nsd, nsd-synthetic, nsd-imagery (default: b3), bold5000 (default: D) and cneuromod-things",
    "sessions": "sessions to read (default: those that are there); for glmsingle the session of every trial",
    "atlas": "for nsd: a parcellation that names the regions",
    "task": "for bids and bids-eeg: label of the task",
    "image": "column of the events (bids, bids-eeg) or of the metadata (epochs) that names the image",
    "images": "folder of the images; for glmsingle and betas a text file with the image of every trial, one a line",
    "units": "for epochs: units of the samples, in words",
    "derivatives": "for bids: folder of the preprocessed files (default: derivatives/fmriprep)",
    "mask": "NIfTI file whose voxels that are neither 0 nor NaN are read",
    "affine": "whose affine holds where mask and data differ (default: an error)",
    "delay": "for time series: seconds after onset (default: 5.5)",
    "repetition_time": "for time series: in s, where headers and sidecars differ",
    "start_time": "for bids: time in s that the first volume stands for",
    "dummy_scans": "for bids: volumes at the beginning that are not in steady state",
    "confounds": "for bids: columns of the confounds, or patterns, to regress out",
    "model": "for glmsingle: B, C or D (default: D)",
    "scratch": "folder where packed files are kept unpacked, instead of in memory",
    "allow_pickle": "read pickles, which can run any code",
}
_CHOICES = {"affine": ("mask", "data")}
_FILES = ("images",)  # options that are paths here, and arrays or sources in Python


class ReaderParser(Parser):
    """A parser with an option for every option of every reader, which are looked at when something is parsed."""

    _reader_options: tuple[str, ...] | None = None

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        if self._reader_options is None:
            self._reader_options = _add_reader_options(self)
        return super().parse_known_args(*args, **kwargs)


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which data are read: the kind, and where they are."""
    parser.add_argument("kind", choices=tuple(readers()), help="data set or file format")
    parser.add_argument(
        "path",
        nargs="?",
        help="folder of the data set; for epochs the first -epo.fif file; for bold and betas a table (.tsv) of files, "
        "or one file of betas; for saved a file that save_recording wrote",
    )


def _add_reader_options(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    takers: dict[str, list[tuple[str, inspect.Parameter, str]]] = {}
    for name, reader in readers().items():
        parameters = inspect.signature(reader.call).parameters
        for option in reader.options:
            document = reader.call.__doc__ or ""
            takers.setdefault(option, []).append((name, parameters[option], document))
    group = parser.add_argument_group("options of the readers")
    for option, listed in takers.items():
        types = [parameter.annotation for _, parameter, _ in listed]
        settings: dict[str, Any] = {"type": str} if option in _FILES else _settings(types)
        words = (
            _HELP.get(option) or f"for {', '.join(name for name, _, _ in listed)}: {_documented(option, listed[0][2])}"
        )
        if option in _CHOICES:
            settings["choices"] = _CHOICES[option]
        elif "type" in settings:
            settings["metavar"] = option.upper()
        group.add_argument(
            f"--{option.replace('_', '-')}",
            dest=f"reader_{option}",
            default=None,
            help=words.replace("%", "%%"),
            **settings,
        )
    return tuple(takers)


def _settings(annotations: Sequence[Any]) -> dict[str, Any]:
    """How an option with these types, of several readers, is parsed; one that is a word somewhere is a word."""
    kinds = {_kind(annotation) for annotation in annotations}
    (several, kind) = kinds.pop() if len(kinds) == 1 else (any(several for several, _ in kinds), str)
    if kind is bool:
        return {"action": "store_true"}
    settings: dict[str, Any] = {"type": kind}
    return settings | {"nargs": "+"} if several else settings


def _kind(annotation: Any) -> tuple[bool, type]:
    """Whether an annotation is of several values, and of which type they are; words if it does not say."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    is_sequence = typing.get_origin(annotation) in (list, tuple, Sequence, typing.get_origin(Sequence[int]))
    if is_sequence:
        return True, parts[0] if parts and parts[0] in (int, float) else str
    if parts:  # a union
        return _kind(parts[0])
    return False, annotation if annotation in (bool, int, float) else str


def _documented(option: str, document: str) -> str:
    """What a reader's docstring says of an option."""
    found = re.search(rf"^    (?:\w+, )*{option}(?:, \w+)* : (.*(?:\n {{8}}.*)*)", document, re.MULTILINE)
    return " ".join(found[1].split()) if found else "see its documentation"


def named_recording(arguments: argparse.Namespace) -> Any:
    """The recording that the command line names."""
    from gradkern.recordings import load

    reader = readers()[arguments.kind]
    given = {
        name.removeprefix("reader_"): value for name, value in vars(arguments).items() if name.startswith("reader_")
    }
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in reader.options:
            raise ValueError(f"{reader.name} does not take --{name.replace('_', '-')}")
    if "images" in options:
        options["images"] = _images(reader.name, options["images"])
    if reader.numbers_subjects:
        options["subject"] = _number(options.get("subject", "1"))
    if missing := [name for name in reader.needs if name not in options]:
        needed = " and ".join(
            f"--{name.replace('_', '-')} ({_HELP.get(name, 'see its documentation')})" for name in missing
        )
        raise ValueError(f"{reader.name} needs {needed}")
    return load(reader.name, arguments.path, **options)


def _images(reader: str, path: str) -> Any:
    """The images as the reader takes them: a folder, an image source, or the name of every trial's image."""
    from gradkern.recordings import folder_images
    from gradkern.recordings._formats.files import existing_file, read_lines
    from gradkern.recordings._formats.names import names_or_numbers

    if reader == "glmsingle":
        return read_lines(existing_file(path))
    if reader == "betas":
        return names_or_numbers(read_lines(existing_file(path)))
    return folder_images(path)[0] if reader in ("epochs", "saved", "bids-eeg") else path


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"--subject must be a number, got {word!r}")
    return int(word)
