"""Every test of the package on one simulated brain: what it would have found, had that been the truth.

`simulated_tests` makes a brain from features and returns an `Outcome`; many of them make `rates`. Where there is
nothing to find, a test's rate must be its level, and where there is, the rate is its power.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._scale import unit_scale
from gradkern.encoding._unique import partial_permutation_test
from gradkern.features._features import Features
from gradkern.hierarchy._latency import TooFewLatencies, temporal_score, time_courses
from gradkern.hierarchy._layers import Preference
from gradkern.hierarchy._temporal_order import PREDICTED, TimeCourses, temporal_order_test
from gradkern.recordings._recording import Recording
from gradkern.recordings._simulation.brain import Brain, simulate_brain
from gradkern.ridge._cross_val import cross_val_score
from gradkern.ridge._cross_validation import CrossValidation
from gradkern.ridge._variance_partition import variance_partition
from gradkern.stats._bootstrap import Scores, layer_scores, resample_images
from gradkern.stats._clusters import cluster_test
from gradkern.stats._group_tests import combine, fdr, sign_flip
from gradkern.stats._permutation import PermutationTest, TargetGroup, permutation_test
from gradkern.stats._prevalence import prevalence
from gradkern.stats._spatial_nulls import map_correlation, variogram_maps
from gradkern.study.power._rates import Outcome

_KINDS = ("activation", "gradient")
_LEVEL = 0.05
_LEAST_PLACES = 20  # of a map whose variogram can be matched
_HIGH, _LATE = 0.5, 0.2  # depth above which a vertex is high, s after which a time is late
# of gradients and activations in joint fits: a penalty each
_RATIOS = np.array([[0.02, 0.98], [0.1, 0.9], [0.3, 0.7], [0.7, 0.3]])

Layers = dict[str, list[NDArray[np.float64]]]  # by kind: [images, d] of every layer


@dataclass(frozen=True)
class PowerSettings:
    """How the simulated brains are studied.

    Parameters
    ----------
    cv : folds of images, penalties and how they are chosen
    permutations : of every permutation test and null map
    bootstraps : of images, for orders in time
    regions : of the MEG, the sensors whose name has one of these letters in third place (O occipital, P parietal, T
        temporal)
    every : only one in so many vertices goes into joint fits, which take longest
    """

    cv: CrossValidation = field(default_factory=CrossValidation)
    permutations: int = 99
    bootstraps: int = 100
    regions: str = "OT"
    every: int = 4

    def __post_init__(self) -> None:
        if self.permutations < 19:
            raise ValueError(f"PowerSettings: permutations must be at least 19, for p of .05, got {self.permutations}")
        if self.every < 1:
            raise ValueError(f"PowerSettings: every must be at least 1, got {self.every}")


def simulated_tests(brain: Brain, features: Any, how: PowerSettings | None = None, seed: int = 0) -> Outcome:
    """Simulate a brain, fMRI and MEG of all its subjects, and make every test of `rates.CLAIMS` on it.

    Features of one layer, the middle one, are tested wherever a single feature space is meant; what gradients tell
    beyond activations is beyond those of all layers. Orders use all layers. A test that refuses the data (too few
    subjects for a p of .05, too few layers with a latency) has found nothing, and `refused` says why.

    Parameters
    ----------
    brain : what to simulate; its seed is replaced
    features : "activation" and "gradient": of each layer in order, [images, d]; or `Features` of a capture
    how : the tests' sizes
    seed : of the brain, and of all permutations and resamplings

    Raises
    ------
    ValueError : features that lack a kind; fewer than 3 layers; what the tests refuse for other reasons
    """
    how = how or PowerSettings()
    layers = _layers(features)
    fmri, meg = simulate_brain(layers, replace(brain, seed=seed))
    study = _Study(layers, how, seed)
    _vertices(study, fmri)
    _sensors(study, meg)
    images = len(layers["activation"][0])
    return Outcome(
        brain.organisation, images, brain.subjects, brain.ceiling, seed, study.found, study.values, study.refused
    )


def _layers(features: Any) -> Layers:
    """Features of each kind and layer, each of one size."""
    if isinstance(features, Features):
        names = [layer for kind, layer in features if kind == "activation"]
        features = {kind: [features[kind, layer].double().numpy() for layer in names] for kind in _KINDS}
    missing = [kind for kind in _KINDS if kind not in features]
    if missing:
        raise ValueError(f"simulated_tests: features must be of {_KINDS}, got none of {missing[0]!r}")
    counts = {kind: len(features[kind]) for kind in _KINDS}
    if len(set(counts.values())) > 1 or counts["activation"] < 3:
        raise ValueError(f"simulated_tests: features must be of at least 3 layers of either kind, got {counts}")
    return {kind: [unit_scale(layer) for layer in features[kind]] for kind in _KINDS}


class _Study:
    """Features, sizes, and what was found so far."""

    def __init__(self, layers: Layers, how: PowerSettings, seed: int) -> None:
        self.layers, self.how, self.seed = layers, how, seed
        self.found: dict[str, bool] = {}
        self.values: dict[str, float] = {}
        self.refused: dict[str, str] = {}

    def middle(self, kind: str) -> NDArray[np.float64]:
        return self.layers[kind][len(self.layers[kind]) // 2]

    def note(self, test: str, value: float, found: Any) -> None:
        self.found[test], self.values[test] = bool(found), float(value)

    def refuse(self, test: str, why: str) -> None:
        self.found[test], self.refused[test] = False, why


def _vertices(study: _Study, fmri: Sequence[Recording]) -> None:
    """All that is tested in fMRI."""
    visual = fmri[0].targets["depth"].notna().to_numpy()
    each = [_responses(one)[:, visual] for one in fmri]
    together, v = np.hstack(each), int(visual.sum())
    target_groups = {f"{number}": np.arange(number * v, (number + 1) * v) for number in range(len(each))}
    target_groups["all"] = np.arange(together.shape[1])
    high = np.flatnonzero(np.tile(fmri[0].targets["depth"].to_numpy()[visual] > _HIGH, len(each)))
    for kind in _KINDS:
        test = _permuted(study, study.middle(kind), together, target_groups)
        _raw(study, kind, test, len(each), v)
        _spatial_order(study, kind, each, fmri[0].targets[visual].reset_index(drop=True))
    _beyond(study, together, target_groups | ({"high": high} if len(high) else {}))
    every = study.how.every
    _unique(study, together[:, ::every], np.repeat(np.arange(len(each)), v)[::every])


def _responses(recording: Recording) -> NDArray[np.float64]:
    """Mean over repeats, row i of image i."""
    averaged = recording if (recording.repeats > 1).any() else recording.average_repeats()
    return np.asarray(averaged.responses, dtype=np.float64)


def _permuted(
    study: _Study, X: NDArray[np.float64], Y: NDArray[np.float64], target_groups: Mapping[str, Any], keep: bool = False
) -> PermutationTest:
    how = study.how
    return permutation_test(
        X.astype(np.float32),
        Y.astype(np.float32),
        cv=how.cv,
        permutations=how.permutations,
        seed=study.seed,
        target_groups=target_groups,
        keep_null=keep,
    )


def _raw(study: _Study, kind: str, test: PermutationTest, subjects: int, v: int) -> None:
    """Is there any relation between a layer's features and vertices? By every road that leads over subjects."""
    p = [test.target_groups[f"{number}"].p for number in range(subjects)]
    r = [test.target_groups[f"{number}"].r for number in range(subjects)]
    study.note(f"{kind}: r, one subject", r[0], p[0] <= _LEVEL)
    study.note(f"{kind}: r, all subjects", test.target_groups["all"].r, test.target_groups["all"].p <= _LEVEL)
    study.note(f"{kind}: r, largest of all vertices", np.nanmax(test.r), np.nanmin(test.p_max) <= _LEVEL)
    rejected = fdr(test.p[:v], _LEVEL, smallest_p=test.smallest_p).rejected
    study.note(f"{kind}: r, FDR of vertices", rejected.mean(), rejected.any())
    _over_subjects(study, kind, np.array(p), np.array(r))


def _over_subjects(study: _Study, kind: str, p: NDArray[np.float64], r: NDArray[np.float64]) -> None:
    count, fisher = prevalence(int((p <= _LEVEL).sum()), len(p)).p, f"{kind}: r, Fisher over subjects"
    study.note(f"{kind}: r, count of subjects", count, count <= _LEVEL)
    if len(p) > 1:
        together = float(combine(p).p[0])
        study.note(fisher, together, together <= _LEVEL)
    else:
        study.refuse(fisher, "one subject")
    _signs(study, f"{kind}: r, signs of subjects", r)


def _signs(study: _Study, test: str, values: NDArray[np.float64]) -> None:
    """One-sided test of the mean over subjects by their signs, where there are enough to reach the level."""
    if 0.5 ** len(values) > _LEVEL:
        study.refuse(test, f"{len(values)} subjects cannot reach p of {_LEVEL}")
    else:
        study.note(test, values.mean(), sign_flip(values, alternative="greater").p[0] <= _LEVEL)


def _spatial_order(study: _Study, kind: str, each: Sequence[NDArray[np.float64]], places: Any) -> None:
    """Do vertices farther from V1 prefer deeper layers? Scores averaged over subjects; the left hemisphere."""
    left = (places["hemisphere"] == "left").to_numpy()
    layers, how = study.layers[kind], study.how
    mean = np.zeros((len(layers), int(left.sum())))
    for responses in each:
        for number, layer in enumerate(layers):
            r = np.asarray(cross_val_score(layer, responses[:, left], cv=how.cv))
            mean[number] += np.nan_to_num(r).mean(0) / len(each)  # predictions that do not vary score 0, as elsewhere
    preferred = Preference("centre of mass").depth_of(mean, np.linspace(0, 1, len(layers)))
    known = np.isfinite(preferred)
    test = f"{kind}: spatial order"
    if known.sum() < _LEAST_PLACES:
        study.refuse(test, f"{int(known.sum())} places with a preferred depth")
        return
    here = places[left][known]
    points = here[["x", "y", "z"]].to_numpy()
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    null = variogram_maps(preferred[known], apart, permutations=how.permutations, seed=study.seed)
    found = map_correlation(preferred[known], here["distance"].to_numpy(), null)
    study.note(test, found.r, found.r > 0 and found.p <= _LEVEL)


def _beyond(study: _Study, together: NDArray[np.float64], target_groups: Mapping[str, Any]) -> None:
    """Does one kind tell of vertices what the other, of all layers, does not?"""
    for kind, other in zip(_KINDS, reversed(_KINDS), strict=True):
        test = _beyond_test(study, kind, together, target_groups)
        name = f"{kind} beyond {other}s"
        study.note(f"{name}: one subject", test.target_groups["0"].r, test.target_groups["0"].p <= _LEVEL)
        study.note(f"{name}: all subjects", test.target_groups["all"].r, test.target_groups["all"].p <= _LEVEL)
        study.note(f"{name}: largest of all vertices", np.nanmax(test.r), np.nanmin(test.p_max) <= _LEVEL)
        _note_pool(
            study, f"{name}: high areas, all subjects", test.target_groups.get("high"), f"no depth above {_HIGH}"
        )


def _note_pool(study: _Study, test: str, pool: TargetGroup | None, why: str) -> None:
    if pool is None:
        study.refuse(test, why)
    else:
        study.note(test, pool.r, pool.p <= _LEVEL)


def _beyond_test(study: _Study, kind: str, Y: NDArray[np.float64], target_groups: Mapping[str, Any]) -> PermutationTest:
    (other,) = set(_KINDS) - {kind}
    how, given = study.how, study.layers[other]
    options: dict[str, Any] = {
        "cv": how.cv,
        "permutations": how.permutations,
        "seed": study.seed,
        "target_groups": target_groups,
    }
    return partial_permutation_test(study.middle(kind).astype(np.float32), given, Y.astype(np.float32), **options)


def _unique(study: _Study, Y: NDArray[np.float64], subject: NDArray[np.int64]) -> None:
    """Unique variance by joint fits, and the signs of its means in subjects; `subject` [v] of each target."""
    how = study.how
    for kind, other in zip(_KINDS, reversed(_KINDS), strict=True):
        bands = [study.middle(kind).astype(np.float32), np.column_stack(study.layers[other]).astype(np.float32)]
        fewer = replace(how.cv, inner_folds=3)
        parts = variance_partition(bands, Y.astype(np.float32), band_weights=_RATIOS, cv=fewer, seed=study.seed)
        unique = np.asarray(parts.unique[0], dtype=np.float64)
        means = np.array([unique[subject == number].mean() for number in np.unique(subject)])
        _signs(study, f"{kind} beyond {other}s: unique variance, signs of subjects", means)


def _sensors(study: _Study, meg: Sequence[Recording]) -> None:
    """All that is tested in MEG."""
    targets = meg[0].targets
    chosen = targets["sensor"].str[2].isin(list(study.how.regions)).to_numpy()
    here = targets[chosen].reset_index(drop=True)
    each = [_responses(one)[:, chosen] for one in meg]
    for kind in _KINDS:
        _clusters(study, kind, each[0], here)
    late = np.flatnonzero(np.tile(here["time"].to_numpy() > _LATE, len(each)))
    target_groups = {"in MEG": np.arange(len(each) * len(here))} | ({"late in MEG": late} if len(late) else {})
    beyond = _beyond_test(study, "gradient", np.hstack(each), target_groups)
    for name in ("in MEG", "late in MEG"):
        test = f"gradient beyond activations: {name}, all subjects"
        _note_pool(study, test, beyond.target_groups.get(name), f"no time after {_LATE} s")
    _orders(study, [_courses(study, Y, here, one.subject) for Y, one in zip(each, meg, strict=True)])


def _clusters(study: _Study, kind: str, Y: NDArray[np.float64], here: Any) -> None:
    """Clusters over sensors and times of one subject's r by a layer's features."""
    import mne

    sensors = list(dict.fromkeys(here["sensor"]))
    shape = (len(sensors), len(here) // len(sensors))
    adjacency, names = mne.channels.read_ch_adjacency("ctf275", picks=None)
    order = [list(names).index(sensor) for sensor in sensors]
    test = _permuted(study, study.middle(kind), Y, {}, keep=True)
    maps = np.asarray(test.null, dtype=np.float64).reshape(-1, *shape)
    # about two standard errors of r, fixed before any data
    limit = 2 / np.sqrt(len(Y))
    found = cluster_test(test.r.reshape(shape), maps, adjacency[order][:, order], threshold=limit)
    least = min((cluster.p for cluster in found.clusters), default=1.0)
    study.note(f"{kind}: r, clusters in MEG", len(found.clusters), least <= _LEVEL)


def _courses(study: _Study, Y: NDArray[np.float64], here: Any, subject: str) -> TimeCourses:
    """One subject's scores of every layer over time, in the mean over sensors, resampled over images."""
    how = study.how
    # of the same images in all subjects
    resampling = resample_images(np.arange(len(Y)), how.bootstraps, study.seed)
    curves: dict[str, Scores] = {}
    times = np.unique(here["time"])
    for kind in _KINDS:
        scores = layer_scores(study.layers[kind], Y, resampling, how.cv)
        curves[kind], times = time_courses(scores, here["sensor"], here["time"])
    count = len(study.layers["activation"])
    names = tuple(f"layer {number}" for number in range(count))
    return TimeCourses(curves["activation"], curves["gradient"], times, names, np.linspace(0, 1, count), subject)


def _orders(study: _Study, courses: Sequence[TimeCourses]) -> None:
    """Orders in time: over images and subjects by the order test, and over images alone."""
    try:
        found = temporal_order_test(courses, seed=study.seed)
        slopes, refused = found.slope, found.refused
    except TooFewLatencies as error:
        slopes, refused = {}, dict.fromkeys((*_KINDS, "difference"), str(error))
    for kind, order in slopes.items():
        study.note(f"{kind}: order in time", order.value, order.conclusion == PREDICTED)
    for kind, why in refused.items():
        study.refuse(f"{kind}: order in time", why)
    for kind, sign in (("activation", 1), ("gradient", -1)):
        each = [getattr(one, f"{kind}s") for one in courses]
        r, resampled = (np.mean([getattr(one, name) for one in each], axis=0) for name in ("r", "resampled"))
        name = f"{kind}: order in time, images alone"
        try:
            score = temporal_score(replace(each[0], r=r, resampled=resampled), courses[0].times, courses[0].depth)
        except TooFewLatencies as error:
            study.refuse(name, str(error))
        else:
            study.note(name, score.value, (score.interval.low if sign > 0 else -score.interval.high) > 0)
