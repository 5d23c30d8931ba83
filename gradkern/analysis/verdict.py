"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p of a null of its own with the smallest it could be, how many
subjects, images and targets it is of, their noise ceiling, what it was held against, and how often the same test finds
the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no number.

Gradients residualised on activations have no row. A ridge leaves some of the activations in what it leaves of the
gradients, and its errors in held-out images are activations again: at a level of 5 % what was left predicted responses
made of activations alone in 21 of 100 simulations. "Beyond activations" is the same question with a test that holds:
all axes of the activations are taken out of gradients and responses alike (`unique.beyond_test`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.analysis.bootstrap import (
    Floats,
    Resampling,
    Scores,
    draw_subjects,
    interval,
    layer_scores,
    resample_images,
)
from gradkern.analysis.comparison import more_test
from gradkern.analysis.controls import effective_rank, image_permuted, unit_length
from gradkern.analysis.encode import check_first, unit_scale
from gradkern.analysis.held_out import ceiling_of
from gradkern.analysis.hierarchy import Mapped, SpatialVariant, correlate, spatial_score
from gradkern.analysis.inference import combine
from gradkern.analysis.judging import ALL_LAYERS, IMAGE_PERMUTED, KINDS, NUISANCES, SAME_LAYER, Judging, Study
from gradkern.analysis.latency import quiet_curves, time_courses
from gradkern.analysis.layer_orders import LayerOrderTest, layer_order_test
from gradkern.analysis.order import Courses, one_sided, order_test, slope
from gradkern.analysis.permutation import PermutationTest, permutation_test
from gradkern.analysis.spatial_nulls import map_correlation, variogram_maps
from gradkern.analysis.unique import beyond_test
from gradkern.recordings.recording import Recording

__all__ = ["NOT_FOUND", "NOT_TESTED", "SUPPORTED", "Judging", "Study", "verdict"]

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"
_LEVEL = 0.05
_TESTS = {  # whose power in simulated brains is a claim's
    "activations map the hierarchy": "activation: spatial order",
    "gradients predict fMRI": "gradient: r, Fisher over subjects",
    "gradients predict MEG": "gradient: r, clusters in MEG",
    "gradients predict fMRI beyond activations": "gradient beyond activations: all subjects",
    "gradients predict MEG beyond activations": "gradient beyond activations: in MEG, all subjects",
    "gradients have the spatial order of backpropagation": "gradient: spatial order",
    "gradients have the temporal order of backpropagation": "gradient: order in time",
}


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
    power : of `rates.rates`: how often the same tests find what is there in simulated brains

    Returns
    -------
    DataFrame : "claim", "conclusion" ("supported": p is at most .05 in the direction of the claim; "not found"; "not
        tested"), "estimate", "low", "high", "p", "smallest p", "subjects", "images", "targets", "ceiling", "against",
        "power", "why"
    """
    how = how or Judging()
    if how.layer is not None and not 0 <= how.layer < len(study.features["activation"]):
        raise ValueError(f"verdict: layer must be one of {len(study.features['activation'])}, got {how.layer}")
    judge = _Judge(study, how)
    rows = [_told(judge, claim, of, test, power) for claim, of, test in judge.claims()]
    return pd.DataFrame(rows)


def _told(
    judge: "_Judge", claim: str, of: Sequence["_Subject"], test: Callable[[], _Row], power: pd.DataFrame | None
) -> dict[str, Any]:
    why, row = "", _Row(np.nan, np.nan)
    try:
        if not of:
            raise ValueError("the study has no such recordings")
        row = _carried(test())
    except ValueError as error:
        why = str(error)
    supported = row.p <= _LEVEL if row.supported is None else row.supported
    return {
        "claim": claim,
        "conclusion": NOT_TESTED if why else SUPPORTED if supported else NOT_FOUND,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "smallest p": row.smallest_p,
        "subjects": len(of),
        "images": min((len(one.Y) for one in of), default=0),
        "targets": sum(one.Y.shape[1] for one in of),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": _power(power, _TESTS.get(claim), of, row.ceiling),
        "why": why,
    }


def _carried(row: _Row) -> _Row:
    """The row, of a test that could have said something.

    Raises
    ------
    ValueError : no p, or one that could not reach the level whatever the data were: nothing found is no finding then
    """
    if np.isnan(row.p):
        raise ValueError("the test has no p: more than 5 % of the resamplings gave no value")
    if row.smallest_p > _LEVEL:
        raise ValueError(f"p could not go under {row.smallest_p:.3g}, so that a level of {_LEVEL} cannot be reached")
    return row


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
        G = self.features["gradient"][self.layer]
        self._control = {IMAGE_PERMUTED: image_permuted(G, how.seed)}
        self._control |= {kind: self.features[kind][self.layer] for kind in study.controls}
        self.fmri = [self._subject(one, some=True) for one in study.fmri]
        self.meg = [self._subject(one, some=False) for one in study.meg]
        self._raw: dict[tuple[int, str], PermutationTest] = {}
        self._scores: dict[tuple[int, str], Scores] = {}
        self._rows: dict[str, _Row] = {}

    def _subject(self, recording: Recording, some: bool) -> _Subject:
        """Courses need every sensor at every time; of fMRI's targets those with a place, or some of them."""
        check_first("verdict", recording)
        if some and self.study.axis in recording.targets:
            placed = recording.targets[self.study.axis].notna().to_numpy()
            if placed.any():  # else claims that need no place are of all targets; `_axis` refuses the others
                recording = recording.select_targets(placed, f"with a {self.study.axis}")
        v = len(recording.targets)
        if some and v > self.how.targets:
            drawn = np.random.default_rng(self.how.seed).choice(v, self.how.targets, replace=False)
            recording = recording.select_targets(np.sort(drawn), "drawn at random")
        return _Subject(recording, np.asarray(recording.responses, dtype=np.float64), recording.image_ids)

    def claims(self) -> Iterator[tuple[str, Sequence[_Subject], Callable[[], _Row]]]:
        yield "activations map the hierarchy", self.fmri, partial(self.spatial, "activation")
        for name, of in (("fMRI", self.fmri), ("MEG", self.meg)):
            G = self.features["gradient"][self.layer]
            predict = f"gradients predict {name}"
            yield predict, of, partial(self.predicts, of)
            yield f"{predict} beyond activations", of, partial(self.beyond, of, ALL_LAYERS, G)
            yield f"{predict} beyond activations of the same layer", of, partial(self.beyond, of, SAME_LAYER, G)
            unit = f"gradients of unit norm predict {name} beyond activations"
            yield unit, of, partial(self.beyond, of, ALL_LAYERS, unit_length(G))
            yield f"{predict} beyond nuisances", of, partial(self.beyond, of, NUISANCES, G)
            for control in self._control:
                yield f"{predict} beyond {control}", of, partial(self.beyond, of, control, G)
                yield f"{predict} more than {control}", of, partial(self.more, of, control)
        yield "gradients predict higher areas more", self.fmri, self.higher
        yield "gradients predict later than activations", self.meg, self.later
        for where, of, test, other in (
            ("spatial", self.fmri, partial(self.spatial, "gradient"), self._other_places),
            ("temporal", self.meg, self.in_time, self._other_times),
        ):
            claim = f"gradients have the {where} order of backpropagation"
            yield claim, of, partial(self._once, where, test)
            moved = partial(self._in_another_order, partial(self._once, where, test), other)
            yield f"{claim} more than with layers in another order", of, moved

    def _once(self, name: str, test: Callable[[], _Row]) -> _Row:
        if name not in self._rows:
            self._rows[name] = test()
        return self._rows[name]

    def raw(self, one: _Subject, kind: str) -> PermutationTest:
        key = id(one), kind
        if key not in self._raw:
            X = self.features[kind][self.layer][one.rows].astype(np.float32)
            everything = {"all": np.arange(one.Y.shape[1])}
            self._raw[key] = permutation_test(X, one.Y.astype(np.float32), pools=everything, **self._sizes())
        return self._raw[key]

    def _sizes(self) -> dict[str, Any]:
        how = self.how
        return {"alphas": how.alphas, "cv": how.folds, "permutations": how.permutations, "seed": how.seed}

    def scores(self, one: _Subject, kind: str) -> Scores:
        """Of every layer, resampled over images, the same of all subjects."""
        key = id(one), kind
        if key not in self._scores:
            self._scores[key] = self._scored(one, self.features[kind])
        return self._scores[key]

    def _scored(self, one: _Subject, layers: Sequence[Any]) -> Scores:
        rows = [X[one.rows] for X in layers]
        return layer_scores(rows, one.Y, self.how.alphas, self.how.folds, self._resampled(one))

    def _resampled(self, one: _Subject) -> Resampling:
        """Images of all subjects are drawn together: one that several saw counts alike in each of them."""
        images = np.unique(np.concatenate([other.rows for other in (self.fmri if one in self.fmri else self.meg)]))
        drawn = resample_images(images, self.how.bootstraps, self.how.seed)
        return replace(drawn, counts=drawn.counts[:, np.searchsorted(images, one.rows)])

    def predicts(self, of: Sequence[_Subject]) -> _Row:
        tests = [self.raw(one, "gradient").pools["all"] for one in of]
        return self._over([test.r for test in tests], [test.p for test in tests], of, "images in random order")

    def beyond(self, of: Sequence[_Subject], what: str, G: Floats) -> _Row:
        """What gradients of one layer tell beyond activations, nuisances, or the control of that layer."""
        given, axes, against = self._given(what)
        tests = []
        for one in of:
            X, Y = G[one.rows].astype(np.float32), one.Y.astype(np.float32)
            beside, pools = [layer[one.rows] for layer in given], {"all": np.arange(Y.shape[1])}
            tests.append(beyond_test(X, beside, Y, pools=pools, axes=axes, **self._sizes()).pools["all"])
        return self._over([test.r for test in tests], [test.p for test in tests], of, against)

    def _given(self, what: str) -> tuple[list[Floats], int | None, str]:
        """Matrices [images, d] that the gradients must add to, how many of their axes count, and all this in words."""
        if what == NUISANCES:
            if self.study.nuisances is None:
                raise ValueError("the study has no nuisances")
            columns = np.asarray(self.study.nuisances, dtype=np.float64)
            return list(columns.T[:, :, None]), None, f"{columns.shape[1]} nuisances"
        named = {ALL_LAYERS: self.features["activation"], SAME_LAYER: self.features["activation"][self.layer :][:1]}
        given = named[what] if what in named else [self._control[what]]
        axes = self.how.axes if sum(layer.shape[1] for layer in given) > (self.how.axes or np.inf) else None
        against = what if what in named else self._in_words(what)
        return given, axes, against if axes is None else f"{against}, {axes} axes"

    def more(self, of: Sequence[_Subject], control: str) -> _Row:
        """By how much r of gradients is above that of the control of their layer."""
        here, first, second = [self.layer], [], []
        for one in of:
            scores = self.scores(one, "gradient")
            first.append(replace(scores, r=scores.r[here], resampled=scores.resampled[:, here]))
            second.append(self._scored(one, [self._control[control]]))
        found = more_test(first, second, self.how.folds, seed=self.how.seed)
        over, ceiling = found.interval, self._ceiling(of)
        return _Row(found.value, found.p, over.low, over.high, found.smallest_p, ceiling, self._in_words(control))

    def _in_words(self, control: str) -> str:
        """A control with what a difference may owe to its dimension, or with its seed."""
        if control == IMAGE_PERMUTED:
            return f"{control}, seed {self.how.seed}"
        sizes = [
            f"{X.shape[1]} columns of effective rank {effective_rank(X).participation:.1f}"
            for X in (self._control[control], self.features["gradient"][self.layer])
        ]
        return f"{control} ({sizes[0]}; gradients {sizes[1]})"

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
        who, name = one.recording.subject, self.study.axis
        for column in (name, "x", "y", "z"):
            if column not in one.targets:
                raise ValueError(f"targets of {who} must have {column!r}, got {list(one.targets)}")
        if one.targets[name].dtype.kind not in "biuf":
            raise ValueError(f"{name!r} of the targets of {who} must be numbers, got {one.targets[name].dtype}")
        axis: Floats = one.targets[name].to_numpy(dtype=np.float64)
        known = axis[np.isfinite(axis)]
        if not len(known) or np.ptp(known) == 0:
            got = f"{known[0]:g} for all {len(known)}" if len(known) else f"none of {len(axis)}"
            raise ValueError(f"{name!r} must be known and differ between the targets of {who}, got {got}")
        return axis

    def _in_another_order(self, row: Callable[[], _Row], test: Callable[[], LayerOrderTest]) -> _Row:
        """The row of an order, beside the layers' other orders instead of its own null."""
        own, found = row(), test()
        return replace(own, p=found.p, smallest_p=found.smallest_p, against=found.against, supported=None)

    def _other_places(self) -> LayerOrderTest:
        each = [(self.scores(one, "gradient").r, self._axis(one)) for one in self.fmri]

        def spatial(depth: Floats) -> float:
            return float(np.mean([correlate(self.how.preference.depth_of(r, depth), axis) for r, axis in each]))

        return layer_order_test(spatial, self.study.depth, permutations=self.how.permutations, seed=self.how.seed)

    def _other_times(self) -> LayerOrderTest:
        """Only layers whose latency is known change places."""
        latencies = np.stack([self._latencies(self._courses(one), "gradients")[0] for one in self.meg])
        known = np.isfinite(latencies).any(0)

        def temporal(depth: Floats) -> float:
            return float(np.mean([slope(each, depth) for each in latencies[:, known]]))

        depth = np.asarray(self.study.depth, dtype=np.float64)[known]
        how = self.how
        return layer_order_test(temporal, depth, expected=-1, permutations=how.permutations, seed=how.seed)

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
        difference = self._latencies(courses, "gradients") - self._latencies(courses, "activations")
        layers = np.isfinite(difference[0])
        if not layers.any():
            raise ValueError(f"no layer of {courses.subject} has both latencies: a curve must rise above its noise")
        difference = difference[:, layers].mean(1)
        return float(difference[0]), difference[1:]

    def _latencies(self, courses: Courses, kind: str) -> Floats:
        """[1 + b, l], the first without resampling; NaN where there is none."""
        scores, times = getattr(courses, kind), courses.times
        curves = np.concatenate([scores.r[None], scores.resampled])
        quiet = quiet_curves(*(self.how.latency.cut(each, times)[0] for each in (scores.r, scores.resampled)))
        return np.where(quiet, np.nan, self.how.latency.of(curves, times))

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
        curves = [time_courses(self.scores(one, kind), one.targets["sensor"], one.targets["time"]) for kind in KINDS]
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


def _power(power: pd.DataFrame | None, test: str | None, of: Sequence[_Subject], ceiling: float) -> str:
    """How often the test found what was there, in the simulated study most like this one."""
    if power is None or test is None or not of:
        return "not known"
    rows = power[(power["test"] == test) & (power["claim"] == "power")]
    if rows.empty:
        return "not known"
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
