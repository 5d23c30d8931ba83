"""The verdict: a table of a study, each row a claim of Raugel et al. (2026), and what its test can carry.

Every row has an estimate with its 95 % interval, a p of a null of its own with the smallest it could be, how many
subjects, images and targets it is of, their noise ceiling, what it was held against, and how often the same test finds
the same thing in simulated brains. A claim that the data cannot carry has a row that says why, and no number.

Gradients residualised on activations have no row. A ridge leaves some of the activations in what it leaves of the
gradients, and its errors in held-out images are activations again: at a level of 5 % what was left predicted responses
made of activations alone in 21 of 100 simulations. "Beyond activations" is the same question with a test that holds:
all axes of the activations are taken out of gradients and responses alike (`unique.partial_permutation_test`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.encoding._dimension import effective_rank
from gradkern.encoding._transforms import image_permuted, unit_length
from gradkern.encoding._unique import partial_permutation_test
from gradkern.hierarchy._layer_permutation import LayerPermutationTest
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._paired import paired_test
from gradkern.stats._permutation import PermutationTest, permutation_test
from gradkern.study._settings import (
    ALL_LAYERS,
    EVERYTHING,
    IMAGE_PERMUTED,
    NUISANCES,
    SAME_LAYER,
    Study,
    VerdictSettings,
)
from gradkern.study.claims._evidence import Row, ScoredStudy, Subject
from gradkern.study.claims._spatial import InSpace
from gradkern.study.claims._temporal import InTime
from gradkern.study.power._rates import power_of, simulated_rates

__all__ = ["NOT_FOUND", "NOT_TESTED", "SUPPORTED", "Study", "VerdictSettings", "verdict"]

SUPPORTED, NOT_FOUND, NOT_TESTED = "supported", "not found", "not tested"
LEVEL = 0.05
_MOVED = "more than with layers in another order"
_SECONDS = ("gradients predict later than activations", "gradients have the temporal order of backpropagation")


def verdict(study: Study, how: VerdictSettings | None = None, power: pd.DataFrame | None = None) -> pd.DataFrame:
    """Test every claim that the study's recordings allow.

    Parameters
    ----------
    power : of `rates.rates`: how often the same tests find what is there in simulated brains; None: those that come
        with the package

    Returns
    -------
    DataFrame : "claim", "data" ("fMRI" or "MEG"), "conclusion" ("supported": p is at most .05 in the direction of the
        claim, or for claims in seconds .025, by their interval; "not found"; "not tested"), "estimate", "low", "high",
        "p", "units" (of the estimate: "r" or "s"), "smallest p", "subjects", "images", "rows" (what is left of the
        images where axes are taken out), "targets", "ceiling", "against", "power" and "simulated" (how often the test
        found what was there in simulated studies, and in which), "why"
    """
    how = how or VerdictSettings()
    if how.layer is not None and not 0 <= how.layer < len(study.features["activation"]):
        raise ValueError(f"verdict: layer must be one of {len(study.features['activation'])}, got {how.layer}")
    power = simulated_rates() if power is None else power
    evidence = ScoredStudy(study, how)
    rows = [_told(evidence, claim, of, test, power) for claim, of, test in _Claims(evidence).all()]
    return pd.DataFrame(rows)


def _told(
    evidence: ScoredStudy, claim: str, of: Sequence[Subject], test: Callable[[], Row], power: pd.DataFrame
) -> dict[str, Any]:
    why, row = "", Row(np.nan, np.nan)
    try:
        if not of:
            raise ValueError("the study has no such recordings")
        row = _carried(test())
    except ValueError as error:
        why = str(error)
    supported = row.p <= LEVEL if row.supported is None else row.supported
    known, like, rows = np.nan, "", row.rows or evidence.images(of)
    if not why and row.as_simulated:
        known, like = power_of(power, claim, rows, len(of), evidence.best_ceiling(of))
    return {
        "claim": claim,
        "data": "fMRI" if of is evidence.fmri else "MEG",
        "conclusion": NOT_TESTED if why else SUPPORTED if supported else NOT_FOUND,
        **{name: getattr(row, name) for name in ("estimate", "low", "high", "p")},
        "units": "s" if claim.startswith(_SECONDS) else "r",
        "smallest p": row.smallest_p,
        "subjects": len(of),
        "images": evidence.images(of),
        "rows": rows,
        "targets": sum(one.Y.shape[1] for one in of),
        "ceiling": row.ceiling,
        "against": row.against,
        "power": known,
        "simulated": like,
        "why": why,
    }


def _carried(row: Row) -> Row:
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


class _Claims:
    """All tests of one study, claim by claim."""

    def __init__(self, evidence: ScoredStudy) -> None:
        self.evidence, self.study, self.how, self.layer = evidence, evidence.study, evidence.how, evidence.layer
        self.gradients = evidence.features["gradient"][self.layer]
        self._control = {IMAGE_PERMUTED: image_permuted(self.gradients, self.how.seed)}
        self._own: dict[int, list[Scores]] = {}  # of the gradients, by the subjects' list
        self._control |= {kind: evidence.features[kind][self.layer] for kind in self.study.controls}

    def all(self) -> Iterator[tuple[str, Sequence[Subject], Callable[[], Row]]]:
        """Each claim, the subjects that it is tested in, and the test."""
        fmri, meg = self.evidence.fmri, self.evidence.meg
        space, time = InSpace(self.evidence), InTime(self.evidence)
        yield "activations map the hierarchy", fmri, partial(space.order, "activation")
        for name, of in (("fMRI", fmri), ("MEG", meg)):
            yield from self._of_prediction(f"gradients predict {name}", name, of)
        yield "gradients predict higher areas more", fmri, space.higher
        yield "gradients predict later than activations", meg, time.later
        claim = "gradients have the spatial order of backpropagation"
        yield claim, fmri, partial(space.order, "gradient")
        if fmri:
            placed = partial(space.placed, "gradient")
            yield f"{claim} {_MOVED}", fmri, partial(_in_another_order, placed, space.in_another_order)
        claim = "gradients have the temporal order of backpropagation"
        yield claim, meg, time.order
        if meg:
            yield f"{claim} {_MOVED}", meg, partial(_in_another_order, time.order, time.in_another_order)

    def _of_prediction(
        self, predict: str, name: str, of: Sequence[Subject]
    ) -> Iterator[tuple[str, Sequence[Subject], Callable[[], Row]]]:
        G = self.gradients
        yield predict, of, partial(self.predicts, of)
        yield f"{predict} beyond activations", of, partial(self.beyond, of, ALL_LAYERS, G)
        if not of:
            return
        yield f"{predict} beyond activations of the same layer", of, partial(self.beyond, of, SAME_LAYER, G)
        size = np.linalg.norm(G, axis=1)
        if np.ptp(size) > 1e-6 * size.max():  # else they are the same
            unit = partial(self.beyond, of, ALL_LAYERS, unit_length(G))
            yield f"gradients of unit norm predict {name} beyond activations", of, unit
        yield f"{predict} beyond nuisances", of, partial(self.beyond, of, NUISANCES, G)
        yield f"{predict} beyond {EVERYTHING}", of, partial(self.beyond, of, EVERYTHING, G)
        for control in self._control:
            yield f"{predict} beyond {control}", of, partial(self.beyond, of, control, G)
            yield f"{predict} more than {control}", of, partial(self.more, of, control)

    def _sizes(self) -> dict[str, Any]:
        how = self.how
        return {"cv": how.cv, "permutations": how.permutations, "seed": how.seed}

    def predicts(self, of: Sequence[Subject]) -> Row:
        X = self.gradients.astype(np.float32)

        def test(rows: NDArray[np.int64], Y: NDArray[np.float32], target_groups: Any) -> PermutationTest:
            return permutation_test(X[rows], Y, target_groups=target_groups, **self._sizes())

        return self._permuted(of, test, "images in random order")

    def beyond(self, of: Sequence[Subject], what: str, G: Floats) -> Row:
        """What gradients of one layer tell beyond activations, nuisances, or the control of that layer."""
        given, axes, against = self._given(what)
        X = G.astype(np.float32)

        def test(rows: NDArray[np.int64], Y: NDArray[np.float32], target_groups: Any) -> PermutationTest:
            beside = [layer[rows] for layer in given]
            return partial_permutation_test(
                X[rows], beside, Y, target_groups=target_groups, n_components=axes, **self._sizes()
            )

        return self._permuted(of, test, against)

    def _permuted(self, of: Sequence[Subject], test: Callable[..., PermutationTest], against: str) -> Row:
        """Subjects who saw the same images are tested as one: images change places for all of them at once, so that
        what their responses share does not count as evidence of each."""
        together = all(np.array_equal(one.rows, of[0].rows) for one in of)
        groups = [list(of)] if together else [[one] for one in of]
        r: list[float] = []
        p: list[float] = []
        rows: list[int] = []
        for group in groups:
            Y = np.hstack([one.Y.astype(np.float32) for one in group])
            ends = np.cumsum([0, *(one.Y.shape[1] for one in group)])
            target_groups = {str(number): np.arange(*ends[number : number + 2]) for number in range(len(group))}
            found = test(group[0].rows, Y, {**target_groups, "all": np.arange(Y.shape[1])})
            r += [found.target_groups[name].r for name in target_groups]
            p.append(found.target_groups["all"].p)
            rows.append(found.n)
        return replace(self.evidence.over(r, p, of, against), rows=min(rows))

    def _given(self, what: str) -> tuple[list[Floats], int | None, str]:
        """Matrices [images, d] that the gradients must add to, how many of their axes count, and all this in words."""
        activations = self.evidence.features["activation"]
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

    def more(self, of: Sequence[Subject], control: str) -> Row:
        """By how much r of gradients is above that of the control of their layer."""
        if id(of) not in self._own:
            self._own[id(of)] = [self.evidence.scored(one, [self.gradients]) for one in of]
        second = [self.evidence.scored(one, [self._control[control]]) for one in of]
        found = paired_test(self._own[id(of)], second, self.how.cv.folds, seed=self.how.seed)
        over, ceiling = found.interval, self.evidence.ceiling(of)
        return Row(found.value, found.p, over.low, over.high, found.smallest_p, ceiling, self._in_words(control))

    def _in_words(self, control: str) -> str:
        """A control with what a difference may owe to its dimension, or with its seed."""
        if control == IMAGE_PERMUTED:
            return f"{control}, seed {self.how.seed}"
        sizes = [
            f"{X.shape[1]} columns of effective rank {effective_rank(X).participation:.1f}"
            for X in (self._control[control], self.gradients)
        ]
        return f"{control} ({sizes[0]}; gradients {sizes[1]})"


def _in_another_order(row: Callable[[], Row], test: Callable[[], LayerPermutationTest]) -> Row:
    """The row of an order, beside the layers' other orders instead of its own null."""
    own, found = row(), test()
    return replace(own, p=found.p, smallest_p=found.smallest_p, against=found.against, supported=None)
