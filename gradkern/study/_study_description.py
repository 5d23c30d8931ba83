"""A study file as it is written: what it names and its settings, typed, before anything is opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradkern.hierarchy._latency import ESTIMATORS, Latency
from gradkern.hierarchy._layers import PREFERENCES, Preference
from gradkern.ridge._cross_validation import SELECTIONS, CrossValidation
from gradkern.study._derived_hierarchy import DerivedHierarchy, parse_hierarchy
from gradkern.study._image_tables import FolderEntry, TableEntry, is_table
from gradkern.study._settings import LEAST, VerdictSettings
from gradkern.study._toml import Table, read_toml

_KEYS = ("features", "fmri", "meg", "hierarchy", "layers", "depth", "nuisances", "labels", "images", "splits",
         "settings")  # fmt: skip
# of a study that `gradkern run` captures and encodes itself
RUN_SECTIONS = ("models", "objectives", "recordings", "capture", "encode", "controls", "analyses", "executor")
_CAPTURE_KEYS = ("folder", "token", "raw", "untrained", "outputs")
_SETTINGS = ("permutations", "bootstraps", "max_targets", "max_locations", "seed", "folds",
             "selection", "preference", "latency", "window", "alphas", "layer", "subject_checks")  # fmt: skip
# names of earlier versions, which are read as well
_EARLIER = {"axis": "hierarchy", "judging": "settings"}
_EARLIER_SETTINGS = {"targets": "max_targets", "places": "max_locations"}
_WITHOUT_EFFECT = ("axes", "n_components")  # of earlier versions: fewer components of the activations were excluded
_CAPTURE = "a folder that capture(..., out=) wrote"


@dataclass(frozen=True)
class CaptureEntry:
    """A capture that a study file names: its folder, and what of it is used."""

    key: str
    folder: str
    token: str | None
    raw: bool
    untrained: str | None
    outputs: str | None = None


@dataclass(frozen=True)
class StudyDescription:
    """A study file, parsed.

    Attributes
    ----------
    hierarchy : a column of the fMRI targets, or how it is computed; `hierarchy_key` is its key in the file
    features : name -> capture
    fmri, meg : name -> files of recordings
    layers, depth : names and depths of the layers to use; None: those of the capture
    settings : without the tested layer, whose name is `layer`; `settings_key` is the key of their table
    nuisances, labels, test_images : tables of images, or columns of them; None: none
    images : the folder of the images; None: none
    """

    path: Path
    hierarchy: str | DerivedHierarchy
    hierarchy_key: str
    features: Mapping[str, CaptureEntry]
    fmri: Mapping[str, tuple[str, ...]]
    meg: Mapping[str, tuple[str, ...]]
    layers: tuple[str, ...] | None
    depth: tuple[float, ...] | None
    settings: VerdictSettings
    settings_key: str
    layer: str | None
    nuisances: TableEntry | None = None
    labels: TableEntry | None = None
    images: FolderEntry | None = None
    test_images: TableEntry | None = None
    without_effect: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """The column of the targets with the hierarchy value."""
        return self.hierarchy if isinstance(self.hierarchy, str) else self.hierarchy.column


def parse_study(path: Path) -> StudyDescription:
    """Parse a study file; nothing that it names is opened.

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : not TOML, unknown keys, values of another type; the file and the key are named
    """
    return described_study(read_toml(path))


def described_study(file: Table) -> StudyDescription:
    """A study of captures and recordings, from the values of its file.

    Raises
    ------
    ValueError : as of `parse_study`
    """
    path = file.path
    file.check_keys(_KEYS, (*_EARLIER, *RUN_SECTIONS))
    of_run = [name for name in RUN_SECTIONS if name in file.values]
    if of_run and "features" not in file.values:
        raise file.wrong("features", "captures by name (`gradkern run` makes them of [models])", f"[{of_run[0]}]")
    if of_run:
        raise file.wrong(of_run[0], "left out beside [features], which are captured already", "both")
    hierarchy_key, settings_key = (_key_of(file, name, _EARLIER) for name in ("hierarchy", "settings"))
    hierarchy = parse_hierarchy(file.values.get(hierarchy_key, "distance"), f"{path}: {hierarchy_key}")
    entries = file.table("features", "a table, name = folder")
    layers, depth = _layers(file)
    settings = _settings_table(file, settings_key)
    recordings = {modality: _recordings(file, modality) for modality in ("fmri", "meg")}
    if not any(recordings.values()):
        raise file.wrong("fmri", "saved recordings by name, here or under meg", "none")
    return StudyDescription(
        path,
        hierarchy,
        hierarchy_key,
        {name: _capture(entries, name) for name in entries.values},
        recordings["fmri"],
        recordings["meg"],
        layers,
        depth,
        _settings(settings),
        settings_key,
        settings.typed("layer", str, "the name of a layer") if "layer" in settings.values else None,
        nuisances=_table(file, "nuisances", "columns") if "nuisances" in file.values else None,
        labels=_labels(file) if "labels" in file.values else None,
        images=_folder(file) if "images" in file.values else None,
        test_images=_test_images(file) if "splits" in file.values else None,
        without_effect=tuple(f"{settings_key}.{name}" for name in _WITHOUT_EFFECT if name in settings.values),
    )


def _key_of(table: Table, name: str, earlier: Mapping[str, str]) -> str:
    """The key under which a file has a value: its name, or the one of an earlier version, but not both."""
    before = next((old for old, new in earlier.items() if new == name), name)
    if before == name or before not in table.values:
        return name
    if name in table.values:
        raise table.wrong(before, f"left out beside {name}, which means the same", repr(table.values[before]))
    return before


def _capture(entries: Table, name: str) -> CaptureEntry:
    value = entries.values[name]
    if isinstance(value, str):
        return CaptureEntry(entries.named(name), value, None, False, None)
    if not isinstance(value, dict):
        raise entries.wrong(name, "a folder, or a table with folder, token, raw, untrained and outputs", repr(value))
    entry = Table(entries.path, entries.named(name), value)
    entry.check_keys(_CAPTURE_KEYS)
    folder = entry.typed("folder", str, _CAPTURE)
    token = entry.typed("token", str, "the name of a token") if "token" in value else None
    raw = entry.typed("raw", bool, "true or false") if "raw" in value else False
    untrained = entry.typed("untrained", str, _CAPTURE) if "untrained" in value else None
    outputs = entry.typed("outputs", str, "a file of numpy, [images, outputs]") if "outputs" in value else None
    return CaptureEntry(entry.key, folder, token, raw, untrained, outputs)


def _table(file: Table, name: str, columns: str) -> TableEntry:
    """A table of images: a file, or a table with `file`, `in_order` and `columns` (a list, or one: "column")."""
    value, key = file.values[name], file.named(name)
    wanted = f"a table such as 'table.csv', or {{file = ..., {columns} = ..., in_order = true}}"
    if isinstance(value, str):
        value = {"file": value}
    if not isinstance(value, dict):
        raise file.wrong(name, wanted, repr(value))
    entry = Table(file.path, key, value)
    entry.check_keys(("file", columns, "in_order"))
    place = entry.typed("file", str, wanted)
    if not is_table(place):
        raise entry.wrong("file", "a table, .csv or .tsv", repr(place))
    in_order = entry.typed("in_order", bool, "true or false") if "in_order" in value else False
    chosen: tuple[str, ...] = ()
    if columns in value:
        listed = columns == "columns"
        chosen = tuple(entry.listed(columns, str, "a list of columns")) if listed else (_name(entry, columns),)
    return TableEntry(key, place, chosen, in_order)


def _name(entry: Table, key: str) -> str:
    return str(entry.typed(key, str, "the name of a column"))


def _labels(file: Table) -> TableEntry:
    """A table of labels, or the name of a column of the table of nuisances."""
    value = file.values["labels"]
    if not isinstance(value, str) or is_table(value):
        return _table(file, "labels", "column")
    if "nuisances" not in file.values:
        raise file.wrong("labels", "a table such as 'labels.csv', or a column of the table of nuisances", repr(value))
    nuisances = _table(file, "nuisances", "columns")
    return TableEntry("labels", nuisances.file, (value,), nuisances.in_order)


def _folder(file: Table) -> FolderEntry:
    value, wanted = file.values["images"], "a folder of images, or {folder = ..., in_order = true}"
    if isinstance(value, str):
        return FolderEntry("images", value)
    if not isinstance(value, dict):
        raise file.wrong("images", wanted, repr(value))
    entry = Table(file.path, "images", value)
    entry.check_keys(("folder", "in_order"))
    in_order = entry.typed("in_order", bool, "true or false") if "in_order" in value else False
    return FolderEntry("images", entry.typed("folder", str, wanted), in_order)


def _test_images(file: Table) -> TableEntry:
    """The images to test on: those that a table lists, or that have a value in a column of the presentations."""
    splits = file.table("splits", "a table, test = 'ids.csv'")
    splits.check_keys(("test",))
    value, wanted = splits.values["test"], "a table of images such as 'ids.csv', or {column = 'split', value = 'test'}"
    if isinstance(value, str) and is_table(value):
        return TableEntry("splits.test", value)
    if not isinstance(value, dict):
        raise splits.wrong("test", wanted, repr(value))
    entry = Table(file.path, "splits.test", value)
    entry.check_keys(("file", "column", "value"))
    chosen = str(entry.typed("value", str, "a word in that column")) if "value" in value else "test"
    if "file" in value:
        place = entry.typed("file", str, wanted)
        if "column" in value or not is_table(place):
            raise splits.wrong("test", wanted, repr(value))
        return TableEntry("splits.test", place, value=chosen)
    return TableEntry("splits.test", columns=(_name(entry, "column"),), value=chosen)


def _recordings(file: Table, modality: str) -> dict[str, tuple[str, ...]]:
    if modality not in file.values:
        return {}
    table = file.table(modality, "a table, name = list of files")
    wanted = "a list of files that save_recording wrote"
    return {name: tuple(table.listed(name, str, wanted)) for name in table.values}


def _layers(file: Table) -> tuple[tuple[str, ...] | None, tuple[float, ...] | None]:
    layers = tuple(file.listed("layers", str, "a list of names")) if "layers" in file.values else None
    if "depth" not in file.values:
        return layers, None
    wanted = "a list of numbers, one for each of layers"
    depth = file.listed("depth", int | float, wanted)
    if layers is None or len(depth) != len(layers):
        raise file.wrong("depth", wanted, f"{depth} for {file.values.get('layers')}")
    return layers, tuple(map(float, depth))


def _settings_table(file: Table, key: str) -> Table:
    table = Table(file.path, key, file.typed(key, dict, "a table") if key in file.values else {})
    table.check_keys(_SETTINGS, (*_EARLIER_SETTINGS, *_WITHOUT_EFFECT))
    return table


def _settings(table: Table) -> VerdictSettings:
    changes: dict[str, Any] = {}
    for name, least in (LEAST | {"folds": 2}).items():
        key = _key_of(table, name, _EARLIER_SETTINGS)
        if key in table.values:
            changes[name] = table.whole_number(key, least)
    if "alphas" in table.values:
        changes["alphas"] = table.numbers("alphas", "a list of positive numbers", lambda alphas: min(alphas) > 0)
    selection = table.word("selection", SELECTIONS) if "selection" in table.values else "auto"
    of_folds = {name: changes[name] for name in ("folds", "alphas", "seed") if name in changes}
    cv = CrossValidation(**of_folds, selection=selection)
    changes = {name: value for name, value in changes.items() if name not in ("folds", "alphas")}
    if "subject_checks" in table.values:
        changes["subject_checks"] = table.typed("subject_checks", bool, "true or false")
    if "preference" in table.values:
        changes["preference"] = Preference(table.word("preference", PREFERENCES))
    return VerdictSettings(cv=cv, latency=_latency(table), **changes)


def _latency(table: Table) -> Latency:
    usual = Latency()
    window = usual.window
    if "window" in table.values:
        wanted = "two times in s, the first before the second"
        start, stop = table.numbers("window", wanted, lambda times: len(times) == 2 and times[0] < times[1])
        window = (start, stop)
    return Latency(table.word("latency", tuple(ESTIMATORS)) if "latency" in table.values else usual.estimator, window)
