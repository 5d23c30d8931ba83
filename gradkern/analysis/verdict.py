"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p of a null of its own with the smallest it could be, how many
subjects, images and targets it is of, their noise ceiling, what it was held against, and how often the same test finds
the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no number.

Gradients residualised on activations have no row. A ridge leaves some of the activations in what it leaves of the
gradients, and its errors in held-out images are activations again: at a level of 5 % what was left predicted responses
made of activations alone in 21 of 100 simulations. "Beyond activations" is the same question with a test that holds:
all axes of the activations are taken out of gradients and responses alike (`unique.beyond_test`).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.analysis.bootstrap import Floats, Resampling, Scores, layer_scores, resample_images
from gradkern.analysis.comparison import more_test
from gradkern.analysis.controls import effective_rank, image_permuted, unit_length
from gradkern.analysis.encode import check_first, unit_scale
from gradkern.analysis.held_out import ceiling_of
from gradkern.analysis.hierarchy import Mapped, SpatialVariant, correlate, spatial_score
from gradkern.analysis.inference import combine
from gradkern.analysis.intervals import over_subjects
from gradkern.analysis.judging import (
    ALL_LAYERS,
    EVERYTHING,
    IMAGE_PERMUTED,
    KINDS,
    NUISANCES,
    SAME_LAYER,
    Judging,
    Study,
)
from gradkern.analysis.latency import time_courses
from gradkern.analysis.layer_orders import LayerOrderTest, layer_order_test
from gradkern.analysis.maps import SubjectMap, beside_smooth_maps
from gradkern.analysis.order import PREDICTED, Courses, Order, OrderTest, order_test, slope
from gradkern.analysis.permutation import PermutationTest, permutation_test
from gradkern.analysis.rates import power_of, simulated_rates
from gradkern.analysis.unique import beyond_test
from gradkern.recordings.recording import Recording

__all__ = ["NOT_FOUND", "NOT_TESTED", "SUPPORTED", "Judging", "Study", "verdict"]

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"
LEVEL = 0.05
TESTS = {  # whose power in simulated brains is a claim's
    "activations map the hierarchy": "activation: spatial order",
    "gradients predict fMRI": "gradient: r, all subjects",
    "gradients predict fMRI beyond activations": "gradient beyond activations: all subjects",
    "gradients predict MEG beyond activations": "gradient beyond activations: in MEG, all subjects",
    "gradients have the spatial order of backpropagation": "gradient: spatial order",
    "gradients have the temporal order of backpropagation": "gradient: order in time",
}
_SECONDS = ("gradients predict later than activations", "gradients have the temporal order of backpropagation")


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
    as_one: bool = True  # all subjects in one test, as in the simulated studies


def verdict(study: Study, how: Judging | None = None, power: pd.DataFrame | None = None) -> pd.DataFrame:
    """Test every claim that the study's recordings allow.

    Parameters
    ----------
    power : of `rates.rates`: how often the same tests find what is there in simulated brains; None: those that come
        with the package

    Returns
    -------
    DataFrame : "claim", "data" ("fMRI" or "MEG"), "conclusion" ("supported": p is at most .05 in the direction of the
        claim, or for claims in seconds .025, by their interval; "not found"; "not tested"), "estimate", "low", "high",
        "p", "units" (of the estimate: "r" or "s"), "smallest p", "subjects", "images", "targets", "ceiling", "against",
        "power" and "simulated" (how often the test found what was there in simulated studies, and in which), "why"
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
        row = _carried(test())
    except ValueError as error:
        why = str(error)
    supported = row.p <= LEVEL if row.supported is None else row.supported
    known, like = np.nan, ""
    if claim in TESTS and not why and row.as_one:
        known, like = power_of(power, TESTS[claim], judge.images(of), len(of), judge.best_ceiling(of))
    return {
        "claim": claim,
        "data": "fMRI" if of is judge.fmri else "MEG",
        "conclusion": NOT_TESTED if why else SUPPORTED if supported else NOT_FOUND,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "units": "s" if claim.startswith(_SECONDS) else "r",
        "smallest p": row.smallest_p,
        "subjects": len(of),
        "images": judge.images(of),
        "targets": sum(one.Y.shape[1] for one in of),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": known,
        "simulated": like,
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
    if row.smallest_p > LEVEL:
        raise ValueError(f"p could not go under {row.smallest_p:.3g}, so that a level of {LEVEL} cannot be reached")
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
        self._orders: OrderTest | None = None
        self._scores: dict[tuple[int, str], Scores] = {}
        self._scored_places: dict[str, _Row] = {}

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
        Y, rows = np.asarray(recording.responses, dtype=np.float64), recording.image_ids
        dead = np.ptp(Y, axis=0) == 0
        if some and dead.any() and not dead.all():
            recording, Y = recording.select_targets(~dead, "that vary"), Y[:, ~dead]
            warnings.warn(f"verdict: {dead.sum()} targets of {recording.subject} do not vary, left out", stacklevel=4)
        by_image = np.argsort(rows)  # so that subjects who saw the same have the same rows
        return _Subject(recording, Y[by_image], rows[by_image])

    def claims(self) -> Iterator[tuple[str, Sequence[_Subject], Callable[[], _Row]]]:
        yield "activations map the hierarchy", self.fmri, partial(self.spatial, "activation")
        for name, of in (("fMRI", self.fmri), ("MEG", self.meg)):
            G = self.features["gradient"][self.layer]
            predict = f"gradients predict {name}"
            yield predict, of, partial(self.predicts, of)
            yield f"{predict} beyond activations", of, partial(self.beyond, of, ALL_LAYERS, G)
            if not of:
                continue
            yield f"{predict} beyond activations of the same layer", of, partial(self.beyond, of, SAME_LAYER, G)
            unit, size = f"gradients of unit norm predict {name} beyond activations", np.linalg.norm(G, axis=1)
            if np.ptp(size) > 1e-6 * size.max():  # else they are the same
                yield unit, of, partial(self.beyond, of, ALL_LAYERS, unit_length(G))
            yield f"{predict} beyond nuisances", of, partial(self.beyond, of, NUISANCES, G)
            yield f"{predict} beyond {EVERYTHING}", of, partial(self.beyond, of, EVERYTHING, G)
            for control in self._control:
                yield f"{predict} beyond {control}", of, partial(self.beyond, of, control, G)
                yield f"{predict} more than {control}", of, partial(self.more, of, control)
        yield "gradients predict higher areas more", self.fmri, self.higher
        yield "gradients predict later than activations", self.meg, self.later
        for where, of, test, own, other in (
            (
                "spatial",
                self.fmri,
                partial(self.spatial, "gradient"),
                partial(self._placed, "gradient"),
                self._other_places,
            ),
            ("temporal", self.meg, self.in_time, self.in_time, self._other_times),
        ):
            claim = f"gradients have the {where} order of backpropagation"
            yield claim, of, test
            if not of:
                continue
            moved = partial(self._in_another_order, own, other)
            yield f"{claim} more than with layers in another order", of, moved

    def _sizes(self) -> dict[str, Any]:
        how = self.how
        shared = {"alphas": how.alphas, "cv": how.folds, "selection": how.selection}
        return {**shared, "permutations": how.permutations, "seed": how.seed}

    def scores(self, one: _Subject, kind: str) -> Scores:
        """Of every layer, resampled over images, the same of all subjects."""
        key = id(one), kind
        if key not in self._scores:
            self._scores[key] = self._scored(one, self.features[kind])
        return self._scores[key]

    def _scored(self, one: _Subject, layers: Sequence[Any]) -> Scores:
        rows, how = [X[one.rows] for X in layers], self.how
        return layer_scores(rows, one.Y, how.alphas, how.folds, self._resampled(one), how.selection)

    def _resampled(self, one: _Subject) -> Resampling:
        """Images of all subjects are drawn together: one that several saw counts alike in each of them."""
        images = np.unique(np.concatenate([other.rows for other in (self.fmri if one in self.fmri else self.meg)]))
        drawn = resample_images(images, self.how.bootstraps, self.how.seed)
        return replace(drawn, counts=drawn.counts[:, np.searchsorted(images, one.rows)])

    def predicts(self, of: Sequence[_Subject]) -> _Row:
        X = self.features["gradient"][self.layer].astype(np.float32)

        def test(rows: NDArray[np.int64], Y: NDArray[np.float32], pools: Any) -> PermutationTest:
            return permutation_test(X[rows], Y, pools=pools, **self._sizes())

        return self._permuted(of, test, "images in random order")

    def beyond(self, of: Sequence[_Subject], what: str, G: Floats) -> _Row:
        """What gradients of one layer tell beyond activations, nuisances, or the control of that layer."""
        given, axes, against = self._given(what)
        X = G.astype(np.float32)

        def test(rows: NDArray[np.int64], Y: NDArray[np.float32], pools: Any) -> PermutationTest:
            beside = [layer[rows] for layer in given]
            return beyond_test(X[rows], beside, Y, pools=pools, axes=axes, **self._sizes())

        return self._permuted(of, test, against)

    def _permuted(self, of: Sequence[_Subject], test: Callable[..., PermutationTest], against: str) -> _Row:
        """Subjects who saw the same images are tested as one: images change places for all of them at once, so that
        what their responses share does not count as evidence of each."""
        together = all(np.array_equal(one.rows, of[0].rows) for one in of)
        groups = [list(of)] if together else [[one] for one in of]
        r: list[float] = []
        p: list[float] = []
        for group in groups:
            Y = np.hstack([one.Y.astype(np.float32) for one in group])
            ends = np.cumsum([0, *(one.Y.shape[1] for one in group)])
            pools = {str(number): np.arange(*ends[number : number + 2]) for number in range(len(group))}
            found = test(group[0].rows, Y, {**pools, "all": np.arange(Y.shape[1])}).pools
            r += [found[name].r for name in pools]
            p.append(found["all"].p)
        return self._over(r, p, of, against)

    def _given(self, what: str) -> tuple[list[Floats], int | None, str]:
        """Matrices [images, d] that the gradients must add to, how many of their axes count, and all this in words."""
        activations = self.features["activation"]
        # columns one by one: their units differ
        nuisances = [] if self.study.nuisances is None else list(np.asarray(self.study.nuisances).T[:, :, None])
        if what == NUISANCES:
            if not nuisances:
                raise ValueError("the study has no nuisances")
            return nuisances, None, f"{len(nuisances)} nuisances"
        captured = [self._control[kind] for kind in self.study.controls]
        if what == EVERYTHING and not nuisances and not captured:
            raise ValueError("the study has neither nuisances nor captured controls")
        named = {
            ALL_LAYERS: activations,
            SAME_LAYER: [activations[self.layer]],
            EVERYTHING: [*activations, *nuisances, *captured],
        }
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
        """The spatial score with its interval; p of the preferred depths by maps of the same smoothness."""
        own, axes = self._placed(kind), [self._axis(one) for one in self.fmri]
        depths = [self.how.preference.depth_of(self.scores(one, kind).r, self.study.depth) for one in self.fmri]
        row = self._beside_smooth_maps(depths, axes, "maps of the same variogram")
        return replace(row, estimate=own.estimate, low=own.low, high=own.high)

    def _placed(self, kind: str) -> _Row:
        """The spatial score with its interval, no p."""
        if kind not in self._scored_places:
            mapped = [Mapped(self.scores(one, kind), self._axis(one)) for one in self.fmri]
            found = spatial_score(mapped, self.study.depth, SpatialVariant(preference=self.how.preference))
            over = found.over_both or found.over_images
            self._scored_places[kind] = _Row(found.value, np.nan, over.low, over.high, ceiling=self._ceiling(self.fmri))
        return self._scored_places[kind]

    def higher(self) -> _Row:
        """Is r of gradients larger where the axis is? As a share of the ceiling, if that is known in all subjects."""
        maps, ceilings = [self.scores(one, "gradient").r[self.layer] for one in self.fmri], []
        for one in self.fmri:
            ceiling = one.ceiling()
            ceilings.append(np.where(np.isfinite(ceiling) & (ceiling > 0), ceiling, np.nan))
        against = "maps of the same variogram; r as it is"
        if all(np.isfinite(ceiling).any() for ceiling in ceilings):
            maps = [r / ceiling for r, ceiling in zip(maps, ceilings, strict=True)]
            against = "maps of the same variogram; r as a share of its ceiling"
        return self._beside_smooth_maps(maps, [self._axis(one) for one in self.fmri], against)

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
        found = test()
        return replace(row(), p=found.p, smallest_p=found.smallest_p, against=found.against, supported=None)

    def _other_places(self) -> LayerOrderTest:
        each = [(self.scores(one, "gradient").r, self._axis(one)) for one in self.fmri]

        def spatial(depth: Floats) -> float:
            return float(np.mean([correlate(self.how.preference.depth_of(r, depth), axis) for r, axis in each]))

        return layer_order_test(spatial, self.study.depth, permutations=self.how.permutations, seed=self.how.seed)

    def _other_times(self) -> LayerOrderTest:
        """Only layers whose latency is known change places."""
        latencies = self._order_test().latency[:, 1]
        known = np.isfinite(latencies).any(0)

        def temporal(depth: Floats) -> float:
            return float(np.mean([slope(each, depth) for each in latencies[:, known]]))

        depth = np.asarray(self.study.depth, dtype=np.float64)[known]
        how = self.how
        return layer_order_test(temporal, depth, expected=-1, permutations=how.permutations, seed=how.seed)

    def _beside_smooth_maps(self, maps: Sequence[Floats], axes: Sequence[Floats], against: str) -> _Row:
        places = [one.targets[["x", "y", "z"]].to_numpy(dtype=np.float64) for one in self.fmri]
        names = [one.recording.subject for one in self.fmri]
        each = [SubjectMap(*of) for of in zip(names, places, axes, maps, strict=True)]
        how = self.how
        p = beside_smooth_maps(each, places=how.places, permutations=how.permutations, seed=how.seed)
        r = [correlate(one.values, one.axis) for one in each]
        return self._over(r, p, self.fmri, against, halves=True)

    def later(self) -> _Row:
        """Mean over layers of the gradients' latency minus the activations', s."""
        lag = self._order_test().lag
        if lag is None:
            raise ValueError("no layer has both latencies: a curve must rise above its noise")
        return self._of_order(lag, "activations' latencies")

    def in_time(self) -> _Row:
        found = self._order_test()
        if "gradient" in found.refused:
            raise ValueError(found.refused["gradient"])
        slope = found.slope["gradient"]
        return self._of_order(slope, "no order (slope 0)")

    def _order_test(self) -> OrderTest:
        if self._orders is None:
            courses = [self._courses(one) for one in self.meg]
            self._orders = order_test(courses, self.how.latency, seed=self.how.seed)
        return self._orders

    def _of_order(self, found: Order, against: str) -> _Row:
        """Decided by the interval: p at most .025."""
        over, smallest = found.over_both or found.over_images, np.nan
        if over.freedom is None:
            smallest = 1 / (2 * (1 + self.how.bootstraps))
        right, ceiling = found.verdict == PREDICTED, self._ceiling(self.meg)
        return _Row(found.value, found.p, over.low, over.high, smallest, ceiling, against, right)

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
        """The mean over subjects with its interval, and one p of all: where each subject has one, Fisher's if no image
        was seen by two of them, else twice their mean, which holds whatever they share."""
        values, smallest = np.asarray(r, dtype=np.float64), 1 / (1 + self.how.permutations) / (2 if halves else 1)
        together, low, high = float(p[0]), np.nan, np.nan
        if len(p) > 1:
            rows = np.concatenate([one.rows for one in of])
            apart = len(np.unique(rows)) == len(rows)
            joined = combine(p, method="fisher" if apart and not halves else "mean", smallest_p=smallest)
            together, smallest = float(joined.p[0]), float(joined.smallest_p or np.nan)
        if len(values) > 1:
            over = over_subjects(values, bound=1)
            low, high = over.low, over.high
        ceiling = self._ceiling(of)
        return _Row(float(values.mean()), together, low, high, smallest, ceiling, against, as_one=len(p) == 1)

    def images(self, of: Sequence[_Subject]) -> int:
        return min((len(one.Y) for one in of), default=0)

    def best_ceiling(self, of: Sequence[_Subject]) -> float:
        """What simulated studies are made by: of all targets that respond, or of the best sensor at its best time."""
        if of is not self.meg:
            return self._ceiling(of)
        best = [np.nanmax(one.ceiling(), initial=0) for one in of]
        return float(np.mean(best)) if min(best) > 0 else np.nan

    def _ceiling(self, of: Sequence[_Subject]) -> float:
        """Mean over targets and subjects; NaN where it is not known."""
        known = np.concatenate([one.ceiling() for one in of])
        known = known[np.isfinite(known)]
        return float(known.mean()) if len(known) else np.nan
