"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p of a null of its own with the smallest it could be, how many
subjects, images and targets it is of, their noise ceiling, what it was held against, and how often the same test finds
the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.analysis.bootstrap import Floats, Scores, draw_subjects, interval, layer_scores, resample_images
from gradkern.analysis.encode import check_first, unit_scale
from gradkern.analysis.held_out import ceiling_of
from gradkern.analysis.hierarchy import Mapped, SpatialVariant, spatial_score
from gradkern.analysis.inference import combine
from gradkern.analysis.latency import Latency, quiet_curves, time_courses
from gradkern.analysis.layers import Preference, checked_depth
from gradkern.analysis.order import Courses, one_sided, order_test
from gradkern.analysis.permutation import PermutationTest, permutation_test
from gradkern.analysis.rates import simulated_rates
from gradkern.analysis.spatial_nulls import map_correlation, variogram_maps
from gradkern.analysis.unique import beyond_test
from gradkern.recordings.recording import Recording

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"
UNKNOWN = "not known"  # power
LEVEL = 0.05
_KINDS = ("activation", "gradient")
TESTS = {  # whose power in simulated brains is a claim's
    "activations map the hierarchy": "activation: spatial order",
    "gradients predict fMRI": "gradient: r, Fisher over subjects",
    "gradients predict MEG": "gradient: r, clusters in MEG",
    "gradients predict fMRI beyond activations": "gradient beyond activations: all subjects",
    "gradients predict MEG beyond activations": "gradient beyond activations: in MEG, all subjects",
    "gradients have the spatial order of backpropagation": "gradient: spatial order",
    "gradients have the temporal order of backpropagation": "gradient: order in time",
}
_SECONDS = ("gradients predict later than activations", "gradients have the temporal order of backpropagation")


@dataclass(frozen=True, eq=False)
class Study:
    """What a verdict is of.

    Parameters
    ----------
    features : kind -> of every layer, shallow to deep, [images, d]; "activation" and "gradient"; any other kind is a
        control that gradients are held against
    depth : [l], relative depth of the layers in [0, 1]
    fmri, meg : a recording a subject, a row an image; row i of the features is image i of the recordings
    axis : the column of the fMRI's targets that says how high in the hierarchy a target is, such as "distance" (to V1)

    Raises
    ------
    ValueError : fewer than 3 layers, depths all the same, kinds with other layers or images, an image in several rows,
        no recording, a subject twice
    """

    features: Mapping[str, Sequence[Any]]
    depth: Any
    fmri: Sequence[Recording] = ()
    meg: Sequence[Recording] = ()
    axis: str = "distance"

    def __post_init__(self) -> None:
        missing = [kind for kind in _KINDS if kind not in self.features]
        if missing:
            raise ValueError(f"Study: features must have the kinds {_KINDS}, got none of {missing[0]!r}")
        layers = len(self.features["activation"])
        if layers < 3:
            raise ValueError(f"Study: layers must be at least 3 to have an order, got {layers}")
        checked_depth("Study", self.depth, layers)
        sizes = {kind: [len(layer) for layer in each] for kind, each in self.features.items()}
        if any(each != sizes["activation"] or len(set(each)) > 1 for each in sizes.values()):
            raise ValueError(f"Study: all kinds must have the same layers and images, got images {sizes}")
        if not self.fmri and not self.meg:
            raise ValueError("Study: fmri or meg must have a recording, got none")
        for name, recordings in (("fmri", self.fmri), ("meg", self.meg)):
            subjects = [one.subject for one in recordings]
            if len(set(subjects)) < len(subjects):
                raise ValueError(f"Study: {name} must have a recording a subject, got {subjects}")
            for one in recordings:
                one.check_images(sizes["activation"][0])
                if len(np.unique(one.image_ids)) < len(one.image_ids):
                    raise ValueError(f"Study: {name} must have a row an image, got repeats: average_repeats() them")

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.features if kind not in _KINDS)


@dataclass(frozen=True)
class Judging:
    """How the claims are tested.

    Parameters
    ----------
    alphas : penalties, for features of unit size
    folds : of images
    selection : how alpha is chosen for each target inside a training part: "gcv", "kfold" or "loo"
    permutations, bootstraps : of every test, of every interval
    layer : place of the layer whose features stand for a kind where one feature space is meant; None: the middle one
    targets : at most so many of each recording's targets, drawn at random, are scored
    places : at most so many places of a map go into its spatial null
    axes : see `unique.beyond_test`
    latency, preference : how curves become latencies, and scores over layers depths
    seed : of everything drawn
    """

    alphas: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(-3, 4, 11))
    folds: int = 5
    selection: str = "gcv"
    permutations: int = 1000
    bootstraps: int = 500
    layer: int | None = None
    targets: int = 2000
    places: int = 400
    axes: int | None = None
    latency: Latency = field(default_factory=lambda: Latency("centre of mass"))
    preference: Preference = field(default_factory=lambda: Preference("centre of mass"))
    seed: int = 0


@dataclass(frozen=True)
class _Row:
    """A claim's test; NaN where there is no such number."""

    estimate: float
    p: float
    low: float = np.nan
    high: float = np.nan
    smallest_p: float = np.nan
    ceiling: float = np.nan
    against: str = ""
    supported: bool | None = None  # None: by p


def verdict(study: Study, how: Judging | None = None, power: pd.DataFrame | None = None) -> pd.DataFrame:
    """Test every claim that the study's recordings allow.

    Parameters
    ----------
    power : of `rates.rates`: how often the same tests find what is there in simulated brains; None: those that come
        with the package

    Returns
    -------
    DataFrame : "claim", "data" ("fMRI" or "MEG"), "conclusion" ("supported": p is at most .05 in the direction of the
        claim; "not found"; "not tested"), "estimate", "low", "high", "p", "units" (of the estimate: "r" or "s"),
        "smallest p", "subjects", "images", "targets", "ceiling", "against", "power", "why"
    """
    how = how or Judging()
    if how.layer is not None and not 0 <= how.layer < len(study.features["activation"]):
        raise ValueError(f"verdict: layer must be one of {len(study.features['activation'])}, got {how.layer}")
    power = simulated_rates() if power is None else power
    judge = _Judge(study, how)
    rows = [_told(judge, claim, of, test, power) for claim, of, test in judge.claims()]
    return pd.DataFrame(rows)


def _told(
    judge: "_Judge", claim: str, of: Sequence["_Subject"], test: Callable[[], _Row], power: pd.DataFrame
) -> dict[str, Any]:
    why, row = "", _Row(np.nan, np.nan)
    try:
        if not of:
            raise ValueError("the study has no such recordings")
        row = test()
    except ValueError as error:
        why = str(error)
    supported = row.p <= LEVEL if row.supported is None else row.supported
    return {
        "claim": claim,
        "data": "fMRI" if of is judge.fmri else "MEG",
        "conclusion": NOT_TESTED if why else SUPPORTED if supported else NOT_FOUND,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "units": "s" if claim in _SECONDS else "r",
        "smallest p": row.smallest_p,
        "subjects": len(of),
        "images": min((len(one.Y) for one in of), default=0),
        "targets": sum(one.Y.shape[1] for one in of),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": _power(power, TESTS.get(claim), of, row.ceiling),
        "why": why,
    }


@dataclass(frozen=True, eq=False)
class _Subject:
    """A subject's chosen targets: responses Y [n, v] of the images `rows` of the features."""

    recording: Recording
    Y: Floats
    rows: NDArray[np.int64]

    @property
    def targets(self) -> pd.DataFrame:
        return self.recording.targets

    def ceiling(self) -> Floats:
        return ceiling_of(self.recording).r


class _Judge:
    """All tests of one study; what several of them need is computed once."""

    def __init__(self, study: Study, how: Judging) -> None:
        self.study, self.how = study, how
        self.features = {kind: [unit_scale(layer) for layer in each] for kind, each in study.features.items()}
        layers = len(self.features["activation"])
        self.layer = layers // 2 if how.layer is None else how.layer
        self.fmri = [self._subject(one, some=True) for one in study.fmri]
        self.meg = [self._subject(one, some=False) for one in study.meg]
        self._raw: dict[tuple[int, str], PermutationTest] = {}
        self._scores: dict[tuple[int, str], Scores] = {}

    def _subject(self, recording: Recording, some: bool) -> _Subject:
        """Courses need every sensor at every time; of fMRI's targets those with a place, or some of them."""
        check_first("verdict", recording)
        if some and self.study.axis in recording.targets:
            placed = recording.targets[self.study.axis].notna().to_numpy()
            recording = recording.select_targets(placed, f"with a {self.study.axis}")
        v = len(recording.targets)
        if some and v > self.how.targets:
            drawn = np.random.default_rng(self.how.seed).choice(v, self.how.targets, replace=False)
            recording = recording.select_targets(np.sort(drawn), "drawn at random")
        return _Subject(recording, np.asarray(recording.responses, dtype=np.float64), recording.image_ids)

    def claims(self) -> Iterator[tuple[str, Sequence[_Subject], Callable[[], _Row]]]:
        yield "activations map the hierarchy", self.fmri, partial(self.spatial, "activation")
        for name, of in (("fMRI", self.fmri), ("MEG", self.meg)):
            yield f"gradients predict {name}", of, partial(self.predicts, of)
            yield f"gradients predict {name} beyond activations", of, partial(self.beyond, of, "activation")
            for control in self.study.controls:
                yield f"gradients predict {name} beyond {control}", of, partial(self.beyond, of, control)
        yield "gradients predict higher areas more", self.fmri, self.higher
        yield "gradients predict later than activations", self.meg, self.later
        yield "gradients have the spatial order of backpropagation", self.fmri, partial(self.spatial, "gradient")
        yield "gradients have the temporal order of backpropagation", self.meg, self.in_time

    def raw(self, one: _Subject, kind: str) -> PermutationTest:
        key = id(one), kind
        if key not in self._raw:
            X = self.features[kind][self.layer][one.rows].astype(np.float32)
            everything = {"all": np.arange(one.Y.shape[1])}
            self._raw[key] = permutation_test(X, one.Y.astype(np.float32), pools=everything, **self._sizes())
        return self._raw[key]

    def _sizes(self) -> dict[str, Any]:
        how = self.how
        shared = {"alphas": how.alphas, "cv": how.folds, "selection": how.selection}
        return {**shared, "permutations": how.permutations, "seed": how.seed}

    def scores(self, one: _Subject, kind: str) -> Scores:
        """Of every layer, resampled over images, the same of all subjects."""
        key = id(one), kind
        if key not in self._scores:
            resampling = resample_images(one.rows, self.how.bootstraps, self.how.seed)
            layers = [X[one.rows] for X in self.features[kind]]
            how = self.how
            self._scores[key] = layer_scores(layers, one.Y, how.alphas, how.folds, resampling, how.selection)
        return self._scores[key]

    def predicts(self, of: Sequence[_Subject]) -> _Row:
        tests = [self.raw(one, "gradient").pools["all"] for one in of]
        return self._over([test.r for test in tests], [test.p for test in tests], of, "images in random order")

    def beyond(self, of: Sequence[_Subject], kind: str) -> _Row:
        """What gradients of one layer tell beyond all layers of activations, or beyond the control of that layer."""
        tests = []
        for one in of:
            layers = self.features[kind] if kind == "activation" else [self.features[kind][self.layer]]
            X = self.features["gradient"][self.layer][one.rows].astype(np.float32)
            given, Y = [layer[one.rows] for layer in layers], one.Y.astype(np.float32)
            pools = {"all": np.arange(Y.shape[1])}
            tests.append(beyond_test(X, given, Y, pools=pools, axes=self.how.axes, **self._sizes()).pools["all"])
        against = "activations of all layers" if kind == "activation" else kind
        return self._over([test.r for test in tests], [test.p for test in tests], of, against)

    def spatial(self, kind: str) -> _Row:
        """The spatial score with its interval; p by maps of the same smoothness."""
        axes = [self._axis(one) for one in self.fmri]
        mapped = [Mapped(self.scores(one, kind), axis) for one, axis in zip(self.fmri, axes, strict=True)]
        found = spatial_score(mapped, self.study.depth, SpatialVariant(preference=self.how.preference))
        depths = [self.how.preference.depth_of(each.scores.r, self.study.depth) for each in mapped]
        row = self._beside_smooth_maps(depths, axes)
        over = found.over_both or found.over_images
        return replace(row, estimate=found.value, low=over.low, high=over.high)

    def higher(self) -> _Row:
        """Is r of gradients, as a share of the ceiling where that is known, larger where the axis is?"""
        axes, maps = [], []
        for one in self.fmri:
            r, ceiling = self.raw(one, "gradient").r, one.ceiling()
            known = np.isfinite(ceiling) & (ceiling > 0)
            maps.append(np.where(known, r / np.where(known, ceiling, 1), np.nan) if known.any() else r)
            axes.append(self._axis(one))
        return self._beside_smooth_maps(maps, axes)

    def _axis(self, one: _Subject) -> Floats:
        for name in (self.study.axis, "x", "y", "z"):
            if name not in one.targets:
                raise ValueError(f"targets of {one.recording.subject} must have {name!r}, got {list(one.targets)}")
        axis: Floats = one.targets[self.study.axis].to_numpy(dtype=np.float64)
        return axis

    def _beside_smooth_maps(self, maps: Sequence[Floats], axes: Sequence[Floats]) -> _Row:
        """Correlation of maps with the axis, one-sided, beside maps of the same variogram."""
        found, p = [], []
        for one, values, axis in zip(self.fmri, maps, axes, strict=True):
            known = np.flatnonzero(np.isfinite(values) & np.isfinite(axis))
            if len(known) > self.how.places:
                known = np.sort(np.random.default_rng(self.how.seed).choice(known, self.how.places, replace=False))
            points = one.targets[["x", "y", "z"]].to_numpy(dtype=np.float64)[known]
            apart = np.linalg.norm(points[:, None] - points, axis=2)
            null = variogram_maps(values[known], apart, permutations=self.how.permutations, seed=self.how.seed)
            test = map_correlation(values[known], axis[known], null)
            found.append(test.r)
            p.append(test.p / 2 if test.r > 0 else 1 - test.p / 2)
        return self._over(found, p, self.fmri, "maps of the same variogram", halves=True)

    def later(self) -> _Row:
        """Mean over layers of the gradients' latency minus the activations', s."""
        values, resampled = zip(*(self._later(self._courses(one)) for one in self.meg), strict=True)
        value, over, s = float(np.mean(values)), "images", len(values)
        at = resampled[0]
        if s > 1:
            drawn = draw_subjects(s, self.how.bootstraps, self.how.seed)
            at, over = np.stack(resampled)[drawn, np.arange(len(drawn))[:, None]].mean(1), "images and subjects"
        found = interval(value, at, over, subjects=s if s > 1 else None)
        p, smallest = one_sided(value, at, 1, found.widened), 1 / (2 * (1 + self.how.bootstraps))
        return _Row(value, p, found.low, found.high, smallest, self._ceiling(self.meg), "activations' latencies")

    def _later(self, courses: Courses) -> tuple[float, Floats]:
        latencies = []
        for kind in (courses.gradients, courses.activations):
            curves = np.concatenate([kind.r[None], kind.resampled])
            quiet = quiet_curves(*(self.how.latency.cut(each, courses.times)[0] for each in (kind.r, kind.resampled)))
            latencies.append(np.where(quiet, np.nan, self.how.latency.of(curves, courses.times)))
        difference = latencies[0] - latencies[1]
        layers = np.isfinite(difference[0])
        if not layers.any():
            raise ValueError(f"no layer of {courses.subject} has both latencies: a curve must rise above its noise")
        difference = difference[:, layers].mean(1)
        return float(difference[0]), difference[1:]

    def in_time(self) -> _Row:
        found = order_test([self._courses(one) for one in self.meg], self.how.latency, seed=self.how.seed)
        slope = found.slope["gradient"]
        over, smallest = slope.over_both or slope.over_images, 1 / (2 * (1 + self.how.bootstraps))
        right = over.known and over.high < 0
        ceiling = self._ceiling(self.meg)
        return _Row(slope.value, slope.p, over.low, over.high, smallest, ceiling, "no order (slope 0)", right)

    def _courses(self, one: _Subject) -> Courses:
        for name in ("sensor", "time"):
            if name not in one.targets:
                raise ValueError(f"targets of {one.recording.subject} must have {name!r}, got {list(one.targets)}")
        curves = [time_courses(self.scores(one, kind), one.targets["sensor"], one.targets["time"]) for kind in _KINDS]
        layers = tuple(f"layer {number}" for number in range(len(self.features["activation"])))
        (activations, times), (gradients, _) = curves
        return Courses(activations, gradients, times, layers, self.study.depth, one.recording.subject)

    def _over(
        self, r: Sequence[float], p: Sequence[float], of: Sequence[_Subject], against: str, halves: bool = False
    ) -> _Row:
        """The mean over subjects, and their p as one (Fisher's)."""
        values, smallest = np.asarray(r, dtype=np.float64), 1 / (1 + self.how.permutations) / (2 if halves else 1)
        together, low, high = float(p[0]), np.nan, np.nan
        if len(p) > 1:
            joined = combine(p, smallest_p=smallest)
            together, smallest = float(joined.p[0]), float(joined.smallest_p or np.nan)
            drawn = draw_subjects(len(p), self.how.bootstraps, self.how.seed)
            over = interval(values.mean(), values[drawn].mean(1), "subjects", subjects=len(p), bound=1)
            low, high = over.low, over.high
        return _Row(float(values.mean()), together, low, high, smallest, self._ceiling(of), against)

    def _ceiling(self, of: Sequence[_Subject]) -> float:
        """Mean over targets and subjects; NaN where it is not known."""
        known = np.concatenate([one.ceiling() for one in of])
        known = known[np.isfinite(known)]
        return float(known.mean()) if len(known) else np.nan


def _power(power: pd.DataFrame, test: str | None, of: Sequence[_Subject], ceiling: float) -> str:
    """How often the test found what was there, in the simulated study most like this one."""
    if test is None or not of:
        return UNKNOWN
    rows = power[(power["test"] == test) & (power["claim"] == "power")]
    if rows.empty:
        return UNKNOWN
    here = {"images": len(of[0].Y), "subjects": len(of), "ceiling": ceiling}
    apart = sum(
        (np.log(rows[name] / value) ** 2 for name, value in here.items() if np.isfinite(value) and value > 0),
        start=pd.Series(0.0, rows.index),
    )
    like = rows.loc[apart.idxmin()]
    return (
        f"{like['rate']:.2f} ({like['found']} of {like['runs']} simulated: {like['organisation']}, {like['images']} "
        f"images, {like['subjects']} subjects, ceiling {like['ceiling']:g})"
    )
