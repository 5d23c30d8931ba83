"""`gradkern data check`: which readers there are, and what of the command line each takes."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradkern import recordings


@dataclass(frozen=True)
class Kind:
    """A reader as a function of gradkern.recordings; names of options it takes, and of those it needs.

    Its path and, if it is an option, the subject are given by their places.
    """

    reader: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    path: bool = True
    numbered: bool = True  # subjects have numbers, not labels


_SUBJECT = ("subject",)
_UNNAMED = {"subject": "not given"}
KINDS = {
    "nsd": Kind("load_nsd", (*_SUBJECT, "space", "betas", "atlas", "scratch")),
    "nsd-timeseries": Kind("load_nsd_timeseries", (*_SUBJECT, "space", "atlas", "mask", "delay")),
    "things-meg": Kind("load_things_meg", _SUBJECT),
    "things-fmri": Kind("load_things_fmri", _SUBJECT),
    "things-eeg2": Kind("load_things_eeg2", (*_SUBJECT, "allow_pickle")),
    "algonauts2023": Kind("load_algonauts2023", _SUBJECT),
    "bold5000": Kind("load_bold5000", (*_SUBJECT, "betas", "mask", "scratch")),
    "laion-fmri": Kind("load_laion_fmri", (*_SUBJECT, "mask", "scratch")),
    "bids": Kind(
        "bids:load_bids",
        ("subject", "task", "image", "space", "derivatives", "mask", "delay"),
        needs=("subject", "task", "image", "space"),
        numbered=False,
    ),
    "glmsingle": Kind("load_glmsingle", ("mask", "model", "allow_pickle"), fixed=_UNNAMED),
    "epochs": Kind("load_epochs", ("image",), needs=("image",), fixed=_UNNAMED | {"units": "as stored"}),
    "saved": Kind("load_recording"),
    "kay2017": Kind("load_kay2017", path=False),
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "subject": {"help": "its number, by default 1; of bids its label"},
    "space": {"help": "of nsd, by default fsaverage; of nsd-timeseries; of the preprocessed files of bids"},
    "betas": {"help": "of nsd, by default b3; of bold5000, by default D"},
    "atlas": {"help": "of nsd: a parcellation that names the regions"},
    "task": {"help": "of bids: its label"},
    "image": {"help": "the column of the events (bids) or of the metadata (epochs) that names the image"},
    "derivatives": {"help": "of bids: the folder of the preprocessed files, by default derivatives/fmriprep"},
    "mask": {"help": "a NIfTI file; voxels that are not 0 are read"},
    "delay": {"help": "of time series: s after onset, by default 5.5", "type": float},
    "model": {"help": "of glmsingle: B, C or D, by default D"},
    "scratch": {"help": "a folder where what is packed may be kept unpacked, instead of in memory"},
    "allow_pickle": {"help": "read files that can run any code", "action": "store_true", "default": None},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `gradkern data check` takes."""
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument(
        "path",
        nargs="?",
        help="the data set's folder; of epochs the first -epo.fif file; of saved what save_recording wrote",
    )
    for name, how in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **how)


def run(options: argparse.Namespace) -> int:
    """Print what a recording holds."""
    from gradkern.study._describe import describe

    for name, value in describe(_load(options)):
        print(f"{name:<14} {value}")
    return 0


def _load(options: argparse.Namespace) -> Any:
    kind = KINDS[options.kind]
    given = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    for name in given:
        if name not in kind.options:
            raise ValueError(f"{options.kind} does not take --{name.replace('_', '-')}")
    for name in kind.needs:
        if name not in given:
            raise ValueError(f"{options.kind} need --{name}: {_OPTIONS[name]['help']}")
    if (options.path is not None) != kind.path:
        raise ValueError(f"{options.kind} {'needs a path' if kind.path else 'is in the package and takes no path'}")
    places = [options.path] if kind.path else []
    if "subject" in kind.options:
        subject = given.pop("subject", "1")
        places.append(_number(subject) if kind.numbered else subject)
    load = getattr(recordings, kind.reader)
    return load(*places, **kind.fixed, **given)


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"--subject must be a number, got {word!r}")
    return int(word)
