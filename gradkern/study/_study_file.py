"""A study as a TOML file: which captures and recordings it consists of, and the settings of its verdict.

hierarchy = "distance"  # a column of the fMRI targets; or derived from their points or regions, see `DerivedHierarchy`

[features]
"cross-entropy" = "captures/cross-entropy"
"class token" = {folder = "captures/tokens", token = "class"}

[fmri]
betas = ["subject-1.h5", "subject-2.h5"]

[settings]
permutations = 1000

The names of earlier versions are read as well: `axis`, `[judging]`, and in it `targets`
and `places`; `axes` has no effect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._display import as_html, as_text, listed
from gradkern.encoding._image_statistics import image_statistics
from gradkern.encoding._matching import in_rows_of
from gradkern.encoding._nuisances import nuisances
from gradkern.encoding._spaces import row_orders
from gradkern.encoding._transforms import unit_length
from gradkern.errors import Refused
from gradkern.features._features import Features
from gradkern.features._store import load_features
from gradkern.models._untrained import UNTRAINED
from gradkern.recordings._formats.files import fingerprint
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.study._derived_hierarchy import DerivedHierarchy
from gradkern.study._image_tables import ImageFacts, StudyImages, folder_source, image_names
from gradkern.study._settings import KINDS, VerdictSettings
from gradkern.study._study_description import CaptureEntry, StudyDescription, parse_study
from gradkern.study._toml import located, wrong
from gradkern.study._variants import FeatureSet, StudyVariants

_CONTROL = "gradient/"  # what the kinds of gradient controls begin with
# facts in which captures that are compared must agree
_SAME = ("model", "objective", "tokens", "sketch", "sketch_k", "sketch_seed", "sketch_nnz", "dtype")


@dataclass(frozen=True, repr=False)
class StudyFile:
    """A study that was read from a file.

    Attributes
    ----------
    path : of the file
    variants : features and recordings
    settings : of the verdict
    facts : provenance of the file, of every capture and of every recording
    notes : what was left out and what was done to the data, in words
    """

    path: Path
    variants: StudyVariants
    settings: VerdictSettings
    facts: Mapping[str, str]
    notes: Sequence[str]

    def __repr__(self) -> str:
        return as_text(f"StudyFile {self.path.name}", self._rows())

    def _repr_html_(self) -> str:
        return as_html(f"StudyFile {self.path.name}", self._rows())

    def _rows(self) -> dict[str, str]:
        variants = self.variants
        named = {"features": variants.features, "fMRI": variants.fmri, "MEG": variants.meg}
        rows = {name: listed(list(options)) for name, options in named.items() if options}
        return rows | {"hierarchy": variants.hierarchy, "notes": f"{len(self.notes)}"}


@dataclass(frozen=True, eq=False)
class _Capture:
    """A capture that was loaded: its layers by name, shallow to deep."""

    features: FeatureSet
    captured: Features
    layers: Sequence[str]
    facts: Mapping[str, str]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class _Subject:
    """A recording that was loaded."""

    recording: Recording
    facts: Mapping[str, str]
    notes: Sequence[str]


def read_study(path: Path) -> StudyFile:
    """Read a study file and load what it names; paths in it are relative to it.

    Gradients and their controls are brought to unit length, as by `gradkern encode`. Repeats are averaged, and the
    noise ceiling is estimated from them where it is not known. Images of recordings are matched with those of the
    captures by names or pixels, as by `matched_rows`. Statistics of images are computed, and logits are those of the
    capture where it has them. A hierarchy that is derived becomes a column of the targets of every fMRI recording.

    Raises
    ------
    FileNotFoundError : the file, or one that it names, is missing
    ValueError : not TOML, unknown keys, values of another type, captures and recordings that do not fit together; the
        file and the key are named
    """
    return load_study(parse_study(path))


def load_study(description: StudyDescription, captures: Mapping[str, Features] | None = None) -> StudyFile:
    """Load the captures and recordings that a study file names.

    Parameters
    ----------
    captures : by the folders that the description names, those that are loaded already

    Raises
    ------
    FileNotFoundError, ValueError : as of `read_study`
    """
    path, known_captures = description.path, captures or {}
    loaded_captures = {
        name: _load_capture(description, entry, known_captures) for name, entry in description.features.items()
    }
    _check_same_images(path, loaded_captures)
    features = {name: capture.features for name, capture in loaded_captures.items()}
    first = next(iter(loaded_captures.values())).captured
    derived = description.hierarchy if isinstance(description.hierarchy, DerivedHierarchy) else None
    fmri = {name: _load_subjects(description, f"fmri.{name}", files, first, derived)
            for name, files in description.fmri.items()}  # fmt: skip
    meg = {name: _load_subjects(description, f"meg.{name}", files, first) for name, files in description.meg.items()}
    fmri_recordings, meg_recordings = (
        {name: [subject.recording for subject in subjects] for name, subjects in named.items()} for named in (fmri, meg)
    )
    known = _image_facts(description, first, [*fmri_recordings.values(), *meg_recordings.values()])
    features = {name: _with_nuisances(each, known.nuisances) for name, each in features.items()}
    variants = StudyVariants(
        features,
        fmri_recordings,
        meg_recordings,
        description.column,
        labels=known.labels,
        images=known.images,
        image_statistics=known.image_statistics,
        test_images=known.test_images,
    )
    with located(path, "features, fmri, meg"):
        variants.study()
    loaded: list[_Capture | _Subject] = [*loaded_captures.values()]
    loaded += [subject for named in (fmri, meg) for subjects in named.values() for subject in subjects]
    facts = {"study": path.name, "study_sha256": fingerprint(path)}
    for part in loaded:
        facts |= part.facts
    notes = [*(note for part in loaded for note in part.notes), *known.notes]
    notes += [
        f"{key} has no effect: claims exclude all of the activations, linear and nonlinear"
        for key in description.without_effect
    ]
    facts |= known.facts
    return StudyFile(path, variants, _settings(description, next(iter(loaded_captures.values())).layers), facts, notes)


def _check_same_images(path: Path, captures: Mapping[str, _Capture]) -> None:
    """Raise a ValueError unless row i of all captures is the same image."""
    together = [capture.captured for capture in captures.values()]
    counts = {name: len(capture.captured.losses) for name, capture in captures.items()}
    if len(set(counts.values())) > 1:
        raise wrong(path, "features", "captures of the same images", f"{counts} images")
    models = [str(captured.facts.get("model_sha256") or number) for number, captured in enumerate(together)]
    with located(path, "features"):
        orders = row_orders(together, models)
    for name, order in zip(captures, orders, strict=True):
        if order is not None:
            raise wrong(path, "features", "captures of the same images in one order", f"another in {name!r}")


def _image_facts(description: StudyDescription, first: Features, named: Sequence[Sequence[Recording]]) -> ImageFacts:
    """What the file says about the images beside captures and recordings."""
    count = len(first.losses)
    recordings = [recording for subjects in named for recording in subjects]
    with located(description.path, "fmri, meg"):
        images = StudyImages(description.path, count, first.images.names or image_names(recordings, count))
    source: Any = None
    statistics, nuisances, labels, test = None, None, None, None
    notes: list[str] = []
    if description.images is not None:
        source, names = folder_source(images, description.images)
        images = replace(images, names=names)
        with located(description.path, description.images.key):
            statistics = image_statistics(source)
        notes.append(f"images: {statistics.shape[1]} statistics of {count} files, the first {names[0]!r}")
    if description.nuisances is not None:
        also = description.labels.columns if description.labels is not None else ()
        nuisances, columns = images.matrix(description.nuisances, also)
        notes.append(f"nuisances: {', '.join(columns)} of {description.nuisances.file} beside those of the captures")
    if description.labels is not None:
        labels = images.labels(description.labels)
        notes.append(f"labels: {len(np.unique(labels))} different ones of {count} images")
    if (entry := description.test_images) is not None:
        test = images.listed(entry) if entry.file else images.by_split(entry, recordings)
        notes.append(f"{entry.key}: {int(test.sum())} of {count} images")
    entries = (description.nuisances, description.labels, description.test_images)
    files = {entry.key: entry.file for entry in entries if entry is not None and entry.file}
    facts = {
        key: f"{file}, {fingerprint(description.path.parent / Path(file).expanduser())}" for key, file in files.items()
    }
    return ImageFacts(nuisances, labels, source, statistics, test, tuple(notes), facts)


def _with_nuisances(features: FeatureSet, nuisances: Any) -> FeatureSet:
    """Features with more nuisances beside those of their capture."""
    if nuisances is None:
        return features
    own = [] if features.nuisances is None else [features.nuisances]
    return replace(features, nuisances=np.hstack([*own, nuisances]))


def _settings(description: StudyDescription, layers: Sequence[str]) -> VerdictSettings:
    if description.layer is None:
        return description.settings
    if description.layer not in layers:
        key = f"{description.settings_key}.layer"
        raise wrong(description.path, key, f"one of {', '.join(layers)}", repr(description.layer))
    return replace(description.settings, layer=layers.index(description.layer))


def _load_capture(description: StudyDescription, entry: CaptureEntry, known: Mapping[str, Features]) -> _Capture:
    path, key = description.path, entry.key
    captured, facts = _load_features(path, key, entry.folder, known)
    take = _token(path, entry, captured)
    kinds = list(dict.fromkeys(kind for kind, _ in captured))
    for kind in KINDS:
        if kind not in kinds:
            raise wrong(path, key, f"a capture with {kind}s", f"kinds {kinds}")
    layers, depth = _layers(description, key, captured)
    used = [kind for kind in kinds if kind in KINDS or kind.startswith(_CONTROL)]
    notes = [f"{key}: {kind} is no control of gradients and was not used" for kind in kinds if kind not in used]
    # a mapping from file to memory is read here: unit length needs every number
    values = {
        kind: [_scaled(kind, take(captured[kind, layer].numpy()), entry.raw) for layer in layers] for kind in used
    }
    if entry.untrained is not None:
        other, other_facts = _load_untrained(path, f"{key}.untrained", entry.untrained, captured, known)
        for layer in layers:
            if ("gradient", layer) not in other:
                wanted = f"a capture with gradients at {', '.join(layers)}"
                raise wrong(path, f"{key}.untrained", wanted, f"none at {layer!r}")
        values[UNTRAINED] = [_scaled(UNTRAINED, take(other["gradient", layer].numpy()), entry.raw) for layer in layers]
        facts |= other_facts
    try:
        hard = nuisances(captured).values
    except Refused as error:
        hard = None
        notes.append(f"{key}: no nuisances: {error}")
    outputs = captured.outputs["logits"].numpy() if "logits" in captured.outputs else None
    if entry.outputs is not None:
        if outputs is not None:
            raise wrong(path, f"{key}.outputs", "left out: the capture has logits", repr(entry.outputs))
        outputs = _outputs(path, f"{key}.outputs", entry.outputs, len(captured.losses))
    of_layers = {place: array for place, array in captured.arrays.items() if place[1] in layers}
    features = FeatureSet(values, depth, hard, outputs, replace(captured, arrays=of_layers))
    return _Capture(features, captured, layers, facts, notes)


def _outputs(path: Path, key: str, name: str, count: int) -> NDArray[Any]:
    """The model's outputs [images, c]."""
    place = _existing(path, key, name)
    with located(path, key):
        values: NDArray[Any] = np.load(place)
    if values.ndim != 2 or len(values) != count or values.dtype.kind != "f":
        raise wrong(path, key, f"floating-point [{count}, outputs]", f"{values.dtype} {list(values.shape)}")
    return values


def _load_features(path: Path, key: str, folder: str, known: Mapping[str, Features]) -> tuple[Features, dict[str, str]]:
    """The capture in a folder, and its provenance."""
    captured = known.get(folder)
    if captured is None:
        place = _existing(path, key, folder)
        with located(path, key):
            captured = load_features(place)
    facts = {key: folder} | {f"{key}.{name}": str(fact) for name, fact in captured.provenance().items()}
    return captured, facts


def _load_untrained(
    path: Path, key: str, folder: str, trained: Features, known: Mapping[str, Features]
) -> tuple[Features, dict[str, str]]:
    """The capture of the model before training, made as the other one was; gradients at layers of the trained one."""
    captured, facts = _load_features(path, key, folder, known)
    for name in _SAME:
        wanted, got = trained.provenance().get(name), captured.provenance().get(name)
        if wanted != got:
            raise wrong(path, key, f"a capture with the {name} {wanted!r}", repr(got))
    if trained.facts["images_sha256"] != captured.facts["images_sha256"]:
        raise wrong(path, key, "a capture of the same images", "others")
    if _weights(trained) == _weights(captured):
        raise wrong(path, key, "a capture of the model with other weights", "one of the same")
    return captured, facts


def _weights(captured: Features) -> str:
    """The hash of a capture's model; of features that others captured, that of all of them."""
    return str(captured.facts["model_sha256"] or captured.facts["features_sha256"])


def _token(path: Path, entry: CaptureEntry, captured: Features) -> Callable[[Any], Any]:
    """What takes the features of the token from captured ones."""
    tokens = captured.tokens if isinstance(captured.tokens, tuple) else ()
    key = f"{entry.key}.token"
    if not tokens and entry.token is None:
        return lambda values: values
    if not tokens:
        raise wrong(path, key, f"left out: the capture has one, {captured.tokens!r}", repr(entry.token))
    if entry.token not in tokens:
        raise wrong(path, key, f"one of {', '.join(tokens)}", repr(entry.token))
    index = tokens.index(entry.token)
    return lambda values: values[:, index]


def _layers(description: StudyDescription, key: str, captured: Features) -> tuple[list[str], list[float]]:
    """Names and depths of the layers, shallow to deep: the depths of the capture, or else of the file."""
    path, present = description.path, [layer for kind, layer in captured if kind == "activation"]
    names = list(description.layers or present)
    for name in names:
        if name not in present:
            raise wrong(path, "layers", f"some of {', '.join(present)}, of {key}", repr(name))
    depths = dict(captured.depth)
    if description.depth is not None:
        stated = dict(zip(names, description.depth, strict=True))
        for name in names:
            if depths.get(name, stated[name]) != stated[name]:
                raise wrong(path, "depth", f"that of {key}, {depths[name]:g} at {name!r}", f"{stated[name]:g}")
        depths = stated
    unknown = [name for name in names if name not in depths]
    if unknown:
        raise wrong(path, "depth", f"given, with layers: {key} does not know it of {unknown[0]!r}", "none")
    names = sorted(names, key=lambda name: depths[name])
    return names, [depths[name] for name in names]


def _load_subjects(
    description: StudyDescription,
    key: str,
    files: Sequence[str],
    captured: Features,
    derived: DerivedHierarchy | None = None,
) -> list[_Subject]:
    subjects = [_load_recording(description, key, file, captured, derived) for file in files]
    names = [subject.recording.subject for subject in subjects]
    if len(set(names)) < len(names):
        raise wrong(description.path, key, "a file a subject", f"subjects {names}")
    return subjects


def _load_recording(
    description: StudyDescription, key: str, name: str, captured: Features, derived: DerivedHierarchy | None
) -> _Subject:
    file, study = _existing(description.path, key, name), description.path
    with located(study, f"{key}, {name}"):
        recording: Recording = load_recording(file)
        recording = in_rows_of(captured, recording)
    where = f"{key}, {recording.subject}"
    facts = {f"{key}.{recording.subject}": f"{name}, SHA-256 of size and ends {fingerprint(file)}"}
    if "dataset" in recording.provenance:
        facts[f"{key}.{recording.subject}.dataset"] = str(recording.provenance["dataset"])
    notes = [f"{where}: {lost.count} {lost.what} left out: {lost.reason}" for lost in recording.excluded]
    with located(study, where):
        notes += [f"{where}: odd: {line}" for line in recording.check()]
        if len(np.unique(recording.image_ids)) < len(recording.image_ids):
            recording = recording.average_repeats()
    if derived is not None:
        with located(study, f"{description.hierarchy_key}: {where}"):
            recording = derived.added(recording)
    return _Subject(recording, facts, [*notes, *(f"{where}: {line}" for line in recording.history)])


def _existing(path: Path, key: str, name: str) -> Path:
    place = path.parent / Path(name).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"{path}: {key} must be there, but there is no {name!r}")
    return place


def _scaled(kind: str, values: Any, raw: bool) -> Any:
    return values if raw or kind == "activation" else unit_length(values)
