"""A study as a TOML file: which captures and recordings it is of, and how it is judged.

axis = "distance"  # a column of the fMRI's targets; or made of their places or regions, see `study.axis`

[features]
"cross-entropy" = "captures/cross-entropy"
"class token" = {folder = "captures/tokens", token = "class"}

[fmri]
betas = ["subject-1.h5", "subject-2.h5"]

[judging]
permutations = 1000
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradkern.encoding._nuisances import nuisances
from gradkern.encoding._transforms import unit_length
from gradkern.features._features import Features
from gradkern.features._store import load_features
from gradkern.hierarchy._latency import ESTIMATORS, Latency
from gradkern.hierarchy._layers import PREFERENCES, Preference
from gradkern.models._untrained import UNTRAINED
from gradkern.recordings._formats.files import fingerprint
from gradkern.recordings._noise_ceiling import estimate_ncsnr
from gradkern.recordings._recording import Recording
from gradkern.recordings._saved import load_recording
from gradkern.ridge._cross_validation import SELECTIONS, CrossValidation
from gradkern.study._hierarchy_values import MadeAxis, read_axis
from gradkern.study._settings import LEAST, VerdictSettings
from gradkern.study._variants import FeatureSet, StudyVariants

_KEYS = ("features", "fmri", "meg", "axis", "layers", "depth", "judging")
_WORDS = {"selection": SELECTIONS, "preference": PREFERENCES, "latency": tuple(ESTIMATORS)}
_LEAST = LEAST | {"folds": 2}
_JUDGING = (*_LEAST, *_WORDS, "alphas", "layer", "window")
_CONTROL = "gradient/"  # what the kinds of `gradkern.features._engine.gradient_controls` begin with
# of gradients that are compared
_SAME = ("model", "objective", "tokens", "sketch", "sketch_k", "sketch_seed", "sketch_nnz", "dtype")


@dataclass
class StudyFile:
    """What a study file says, read.

    Attributes
    ----------
    facts : provenance of the file, of every capture and of every recording
    notes : what was left out and what was done to the data, in words
    """

    path: Path
    alternatives: StudyVariants
    how: VerdictSettings
    facts: dict[str, str]
    notes: list[str]


def read_study(path: Path) -> StudyFile:
    """Read a study file, and open what it names; paths in it are relative to it.

    Gradients and their controls are brought to unit length, as by `gradkern encode`. Repeats are averaged, and the
    noise ceiling is estimated from them where it is not known. An axis that is to be made (`study.axis`) becomes a
    column of the targets of every fMRI recording.

    Raises
    ------
    FileNotFoundError : the file, or one that it names, is missing
    ValueError : not TOML, unknown keys, values of another type, captures and recordings that do not fit; the file and
        the key are named
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a study file, but there is no such file")
    try:
        with path.open("rb") as file:
            given = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from error
    return _Reader(path, given).read()


@dataclass
class _Reader:
    """One file being read."""

    path: Path
    given: dict[str, Any]
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the layers of the first capture, shallow to deep
    made: MadeAxis | None = None  # the axis, where it is no column of the fMRI's targets yet

    def read(self) -> StudyFile:
        self.known("", self.given, _KEYS)
        axis = read_axis(self.given.get("axis", "distance"), self.error)
        if isinstance(axis, MadeAxis):
            self.made, axis = axis, axis.column
        self.facts |= {"study": self.path.name, "study_sha256": fingerprint(self.path)}
        features = {name: self.capture(f"features.{name}", each) for name, each in self.table("features").items()}
        images = {name: len(each.kinds["activation"][0]) for name, each in features.items()}
        if len(set(images.values())) > 1:
            raise self.error("features", "captures of the same images", f"{images} images")
        recordings = {part: self.recordings(part, next(iter(images.values()))) for part in ("fmri", "meg")}
        if not any(recordings.values()):
            raise self.error("fmri", "saved recordings by name, here or under meg", "none")
        alternatives = StudyVariants(features, recordings["fmri"], recordings["meg"], axis)
        self.attempt("features, fmri, meg", alternatives.study)
        return StudyFile(self.path, alternatives, self.judging(), self.facts, self.notes)

    def error(self, key: str, wanted: str, got: Any) -> ValueError:
        return ValueError(f"{self.path}: {key} must be {wanted}, got {got}")

    def known(self, key: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
        for name in table:
            if name not in keys:
                raise self.error(f"keys of {key}" if key else "keys", f"some of {', '.join(keys)}", repr(name))

    def typed(self, key: str, value: Any, kind: Any, wanted: str) -> Any:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, wanted, repr(value))
        return value

    def table(self, key: str) -> dict[str, Any]:
        wanted = "a table, name = folder" if key == "features" else "a table, name = list of files"
        found: dict[str, Any] = self.typed(key, self.given.get(key), dict, wanted)
        if not found:
            raise self.error(key, f"{wanted}, of at least one", "none")
        return found

    def listed(self, key: str, value: Any, kind: Any, wanted: str) -> list[Any]:
        values: list[Any] = self.typed(key, value, list, wanted)
        if not values or not all(isinstance(each, kind) and not isinstance(each, bool) for each in values):
            raise self.error(key, wanted, repr(value))
        return values

    def place(self, key: str, name: str) -> Path:
        found = self.path.parent / Path(name).expanduser()
        if not found.exists():
            raise FileNotFoundError(f"{self.path}: {key} must be there, but there is no {name!r}")
        return found

    def attempt(self, key: str, call: Callable[[], Any]) -> Any:
        """What goes wrong inside has no idea of the study file."""
        try:
            return call()
        except (ValueError, OSError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(f"{self.path}: {key}: {error}") from error

    def capture(self, key: str, value: Any) -> FeatureSet:
        entry = {"folder": value} if isinstance(value, str) else value
        self.typed(key, entry, dict, "a folder, or a table with folder, token, raw and untrained")
        self.known(key, entry, ("folder", "token", "raw", "untrained"))
        raw = entry.get("raw", False)
        if not isinstance(raw, bool):
            raise self.error(f"{key}.raw", "true or false", repr(raw))
        captured = self.loaded(key, f"{key}.folder", entry.get("folder"))
        take = self.token(key, captured, entry.get("token"))
        kinds = list(dict.fromkeys(kind for kind, _ in captured))
        for kind in ("activation", "gradient"):
            if kind not in kinds:
                raise self.error(key, f"a capture with {kind}s", f"kinds {kinds}")
        layers, depth = self.layers(key, captured)
        used = [kind for kind in kinds if kind in ("activation", "gradient") or kind.startswith(_CONTROL)]
        for kind in kinds:
            if kind not in used:
                self.notes.append(f"{key}: {kind} is no control of gradients and was not used")
        # a mapping from file to memory is read here: unit length needs every number
        made = {kind: [_scaled(kind, take(captured[kind, layer].numpy()), raw) for layer in layers] for kind in used}
        if "untrained" in entry:
            other = self.untrained(f"{key}.untrained", entry["untrained"], captured, layers)
            made[UNTRAINED] = [_scaled(UNTRAINED, take(other["gradient", layer].numpy()), raw) for layer in layers]
        self.names = self.names or layers
        return FeatureSet(made, depth, self.nuisances(key, captured))

    def loaded(self, key: str, named: str, folder: Any) -> Features:
        """The capture in a folder, which `named` is the key of; its provenance goes into the facts."""
        self.typed(named, folder, str, "a folder that capture(..., out=) wrote")
        place = self.place(key, folder)
        captured: Features = self.attempt(key, lambda: load_features(place))
        self.facts[key] = folder
        self.facts |= {f"{key}.{name}": str(fact) for name, fact in captured.provenance().items()}
        return captured

    def untrained(self, key: str, folder: Any, trained: Features, layers: Sequence[str]) -> Features:
        """The capture of the model before training, made as the other one was."""
        captured = self.loaded(key, key, folder)
        for name in _SAME:
            one, other = trained.provenance().get(name), captured.provenance().get(name)
            if one != other:
                raise self.error(key, f"a capture with the {name} {one!r}", repr(other))
        if trained.facts["images_sha256"] != captured.facts["images_sha256"]:
            raise self.error(key, "a capture of the same images", "others")
        if trained.facts["model_sha256"] == captured.facts["model_sha256"]:
            raise self.error(key, "a capture of the model with other weights", "one of the same")
        for layer in layers:
            if ("gradient", layer) not in captured:
                raise self.error(key, f"a capture with gradients at {', '.join(layers)}", f"none at {layer!r}")
        return captured

    def nuisances(self, key: str, captured: Features) -> Any:
        try:
            return nuisances(captured).values
        except ValueError as error:
            self.notes.append(f"{key}: no nuisances: {error}")
            return None

    def token(self, key: str, captured: Features, token: Any) -> Callable[[Any], Any]:
        several = captured.tokens if isinstance(captured.tokens, tuple) else ()
        if not several and token is None:
            return lambda values: values
        if not several:
            raise self.error(f"{key}.token", f"left out: the capture has one, {captured.tokens!r}", repr(token))
        if token not in several:
            raise self.error(f"{key}.token", f"one of {', '.join(several)}", repr(token))
        place = several.index(token)
        return lambda values: values[:, place]

    def layers(self, key: str, captured: Features) -> tuple[list[str], list[float]]:
        """Names, shallow to deep, and depths: those of the capture, or else of the file."""
        there = [layer for kind, layer in captured if kind == "activation"]
        names = self.listed("layers", self.given.get("layers", there), str, "a list of names")
        for name in names:
            if name not in there:
                raise self.error("layers", f"some of {', '.join(there)}, of {key}", repr(name))
        told = captured.depth
        if "depth" in self.given:
            wanted = "a list of numbers, one for each of layers"
            depth = self.listed("depth", self.given["depth"], int | float, wanted)
            if "layers" not in self.given or len(depth) != len(names):
                raise self.error("depth", wanted, f"{depth} for {self.given.get('layers')}")
            stated = dict(zip(names, map(float, depth), strict=True))
            for name in names:
                if told.get(name, stated[name]) != stated[name]:
                    raise self.error("depth", f"that of {key}, {told[name]:g} at {name!r}", f"{stated[name]:g}")
            told = stated
        unknown = [name for name in names if name not in told]
        if unknown:
            raise self.error("depth", f"given, with layers: {key} does not know it of {unknown[0]!r}", "none")
        names = sorted(names, key=lambda name: told[name])
        return names, [told[name] for name in names]

    def recordings(self, part: str, images: int) -> dict[str, list[Recording]]:
        if part not in self.given:
            return {}
        found = {}
        for name, files in self.table(part).items():
            key = f"{part}.{name}"
            listed = self.listed(key, files, str, "a list of files that save_recording wrote")
            made = self.made if part == "fmri" else None
            found[name] = [self.recording(key, file, images, made) for file in listed]
            subjects = [one.subject for one in found[name]]
            if len(set(subjects)) < len(subjects):
                raise self.error(key, "a file a subject", f"subjects {subjects}")
        return found

    def recording(self, key: str, name: str, images: int, made: MadeAxis | None) -> Recording:
        path = self.place(key, name)
        one: Recording = self.attempt(f"{key}, {name}", lambda: load_recording(path))
        self.attempt(f"{key}, {name}", lambda: one.check_images(images))
        where = f"{key}, {one.subject}"
        self.facts[f"{key}.{one.subject}"] = f"{name}, SHA-256 of size and ends {fingerprint(path)}"
        self.facts |= {f"{key}.{one.subject}.{word}": str(one.provenance[word]) for word in ("dataset",)
                       if word in one.provenance}  # fmt: skip
        self.notes += [f"{where}: {each.count} {each.what} left out: {each.reason}" for each in one.excluded]
        self.notes += [f"{where}: odd: {line}" for line in self.attempt(where, one.check)]
        if len(np.unique(one.image_ids)) < len(one.image_ids):
            if one.ncsnr is None and (one.repeats == 1).all():
                one = replace(one, ncsnr=estimate_ncsnr(one))
                self.notes.append(f"{where}: noise ceiling estimated from repeats")
            one = self.attempt(where, one.average_repeats)
        if made is not None:
            one = self.attempt(f"axis: {where}", lambda: made.added(one))
        self.notes += [f"{where}: {line}" for line in one.history]
        return one

    def judging(self) -> VerdictSettings:
        given = self.typed("judging", self.given.get("judging", {}), dict, "a table")
        self.known("judging", given, _JUDGING)
        changes: dict[str, Any] = {}
        for name, least in _LEAST.items():
            if name in given:
                value = self.typed(f"judging.{name}", given[name], int, f"a whole number of at least {least}")
                if value < least:
                    raise self.error(f"judging.{name}", f"a whole number of at least {least}", value)
                changes[name] = value
        for name, words in _WORDS.items():
            if name in given and given[name] not in words:
                raise self.error(f"judging.{name}", f"one of {', '.join(words)}", repr(given[name]))
        if "preference" in given:
            changes["preference"] = Preference(given["preference"])
        if "alphas" in given:
            alphas = self.listed("judging.alphas", given["alphas"], int | float, "a list of positive numbers")
            if not all(0 < alpha < np.inf for alpha in alphas):
                raise self.error("judging.alphas", "a list of positive numbers", alphas)
            changes["alphas"] = tuple(map(float, alphas))
        about_cv = {name: changes[name] for name in ("folds", "alphas", "seed") if name in changes}
        cv = CrossValidation(**about_cv, selection=given.get("selection", "auto"))
        changes = {name: value for name, value in changes.items() if name not in ("folds", "alphas")} | {"cv": cv}
        if "layer" in given:
            if given["layer"] not in self.names:
                raise self.error("judging.layer", f"one of {', '.join(self.names)}", repr(given["layer"]))
            changes["layer"] = self.names.index(given["layer"])
        how = VerdictSettings(**changes)
        return replace(how, latency=self.latency(given, how.latency))

    def latency(self, given: Mapping[str, Any], usual: Latency) -> Latency:
        window = usual.window
        if "window" in given:
            wanted = "two times in s, the first before the second"
            times = self.listed("judging.window", given["window"], int | float, wanted)
            if len(times) != 2 or not times[0] < times[1]:
                raise self.error("judging.window", wanted, times)
            window = (float(times[0]), float(times[1]))
        return Latency(given.get("latency", usual.estimator), window)


def _scaled(kind: str, values: Any, raw: bool) -> Any:
    return values if raw or kind == "activation" else unit_length(values)
