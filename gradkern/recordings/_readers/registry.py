"""The table of readers: one row per data set or file format, for `load` and for the command line."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradkern._display import Rows, as_html, as_text
from gradkern.errors import naming

if TYPE_CHECKING:
    from gradkern.recordings._recording import Recording


@dataclass(frozen=True)
class Reader:
    """A data set or file format that `load` reads.

    Parameters
    ----------
    name : of the data set, for `load` and for the command line
    function : name of the reader in `gradkern.recordings`
    about : what it reads
    defaults : arguments that `load` gives to the function unless the caller does
    """

    name: str
    function: str
    about: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Reader({self.name}: {self.about}; {self.function})"

    @property
    def call(self) -> Callable[..., "Recording"]:
        """The function itself, imported now."""
        from gradkern import recordings

        reader: Callable[..., Recording] = getattr(recordings, self.function)
        return reader

    @property
    def takes_path(self) -> bool:
        """Whether there are files to read; else the data are in the package."""
        return bool(self._parameters())

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the parameters after the path."""
        return tuple(self._parameters())[1:]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the options without a default."""
        parameters = self._parameters()
        return tuple(
            name
            for name in self.options
            if parameters[name].default is inspect.Parameter.empty and name not in self.defaults
        )

    @property
    def numbers_subjects(self) -> bool:
        """Whether `subject` is a number, not a label."""
        return "subject" in self.options and self._parameters()["subject"].annotation is int

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.call).parameters


class Readers(dict[str, Reader]):
    """Readers by name, shown as a table."""

    def __repr__(self) -> str:
        return as_text("Readers", self._rows())

    def _repr_html_(self) -> str:
        return as_html("Readers", self._rows())

    def _rows(self) -> Rows:
        return [(name, f"{reader.about} ({reader.function})") for name, reader in self.items()]


_UNNAMED = {"subject": "not given"}
READERS = {
    reader.name: reader
    for reader in (
        Reader("nsd", "load_nsd", "Natural Scenes Dataset: single-trial betas"),
        Reader("nsd-synthetic", "load_nsd_synthetic", "NSD-synthetic: single-trial betas for 284 synthetic images"),
        Reader("nsd-imagery", "load_nsd_imagery", "NSD-imagery: single-trial betas for 18 targets, seen or imagined"),
        Reader("nsd-timeseries", "load_nsd_timeseries", "Natural Scenes Dataset: preprocessed time series"),
        Reader("things-meg", "load_things_meg", "THINGS-MEG: preprocessed epochs"),
        Reader("things-fmri", "load_things_fmri", "THINGS-fMRI: tables of single-trial betas"),
        Reader("things-eeg2", "load_things_eeg2", "THINGS-EEG2: preprocessed epochs"),
        Reader("nod", "load_nod", "Natural Object Dataset: fMRI betas, MEG or EEG epochs of ImageNet images"),
        Reader("algonauts2023", "load_algonauts2023", "Algonauts 2023: training responses, means over repeats"),
        Reader("algonauts2025", "load_algonauts2025", "Algonauts 2025: time series of 1,000 parcels during movies"),
        Reader("bold5000", "load_bold5000", "BOLD5000, release 2.0: single-trial betas"),
        Reader("laion-fmri", "load_laion_fmri", "LAION-fMRI: single-trial betas"),
        Reader("cneuromod-things", "load_cneuromod_things", "CNeuroMod-THINGS: single-trial betas"),
        Reader("bids", "load_bids", "runs of a BIDS data set preprocessed by fMRIPrep or DeepPrep"),
        Reader("bids-eeg", "load_bids_eeg", "raw EEG of a BIDS data set, cut into epochs"),
        Reader("bold", "load_bold", "a table (.tsv) of time series and their events", _UNNAMED),
        Reader("betas", "load_betas", "one file of betas, or a table (.tsv) of files by session", _UNNAMED),
        Reader("glmsingle", "load_glmsingle", "output of GLMsingle: single-trial betas", _UNNAMED),
        Reader("epochs", "load_epochs", "epochs of mne in -epo.fif files", {**_UNNAMED, "units": "as stored"}),
        Reader("saved", "load_recording", "a file that save_recording wrote"),
        Reader("kay2017", "load_kay2017", "Kay & Yeatman 2017: betas of two regions, in the package"),
    )
}


def readers() -> Readers:
    """All readers that `load` knows, by name.

    Examples
    --------
    >>> from gradkern.recordings import readers
    >>> readers()["nsd"].needs
    ('subject',)
    """
    return Readers(READERS)


@naming("load")
def load(name: str, path: Any = None, **options: Any) -> "Recording":
    """The recording of one subject, by the name of its data set or file format.

    Parameters
    ----------
    name : a name in `readers()`, such as "nsd"
    path : the data set's folder, or the file; None for data in the package
    options : `subject` and whatever else the reader takes: see `readers()[name].options` and the reader's own help

    Raises
    ------
    ValueError : there is no such reader, or a path or option that the reader needs is missing; the reader's own errors
    TypeError : the reader does not take an option

    Examples
    --------
    >>> from gradkern.recordings import load
    >>> load("kay2017").responses.shape
    (115, 2)
    """
    if name not in READERS:
        raise ValueError(f"name must be one of {tuple(READERS)}, got {name!r}")
    reader = READERS[name]
    if (path is not None) != reader.takes_path:
        raise ValueError(f"{name} {'needs a path' if reader.takes_path else 'is in the package and takes no path'}")
    for option in options:
        if option not in reader.options:
            raise TypeError(f"{name} does not take {option!r}; its options are {reader.options}")
    for option in reader.needs:
        if option not in options:
            raise ValueError(f"{name} needs {option!r}")
    positional = () if path is None else (path,)
    defaults = {option: value for option, value in reader.defaults.items() if option not in options}
    return reader.call(*positional, **defaults, **options)
