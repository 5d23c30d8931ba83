"""A verdict's claims of space: are layers, and is what gradients predict, laid out over the hierarchy?"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.hierarchy._layer_permutation import LayerPermutationTest, layer_permutation_test
from gradkern.hierarchy._layers import predicted_targets
from gradkern.hierarchy._maps import (
    LEAST_PLACES,
    Measure,
    SubjectMap,
    average_maps,
    mirror_hemispheres,
    predictability,
    variogram_null_test,
)
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._intervals import cross, crossed_interval, interval
from gradkern.study._settings import VerdictSettings
from gradkern.study.claims._evidence import Row, ScoredStudy, Subject


class InSpace:
    """Tests of the fMRI's targets at their places, beside maps of the same smoothness."""

    def __init__(self, evidence: ScoredStudy) -> None:
        self.evidence, self.how = evidence, evidence.how
        self._placed: dict[str, Row] = {}

    def order(self, kind: str) -> Row:
        """The spatial score with its interval; p of the preferred depths by maps of the same smoothness."""
        own = self.placed(kind)
        row = self._beside_smooth_maps(self._maps(kind), self._depths(), own.against)
        usual = row.as_simulated and self.how.preference == VerdictSettings().preference
        return replace(row, estimate=own.estimate, low=own.low, high=own.high, as_simulated=usual)

    def placed(self, kind: str) -> Row:
        """The spatial score with its interval, no p: of the mean scores where all subjects have the same places."""
        if kind not in self._placed:
            self._placed[kind] = self._place(kind)
        return self._placed[kind]

    def _place(self, kind: str) -> Row:
        fmri = self.evidence.fmri
        scores, maps = [self.evidence.scores(one, kind) for one in fmri], self._maps(kind)
        kept = [np.isfinite(self._preferred(one.r)) for one in average_maps(maps)]
        there = [int(keep.sum()) for keep in kept]
        if min(there) < LEAST_PLACES:
            raise ValueError(f"targets that a layer predicts must be at least {LEAST_PLACES}, got {there}")
        together = len(kept) < len(maps)
        depths = Measure(partial(self.how.preference.depth_of, depth=self.evidence.study.depth), predictability)

        def of(subjects: Any, resampling: int) -> float:
            """Of the same targets in every resampling."""
            drawn = []
            for i in subjects:
                r = scores[i].resampled[resampling - 1] if resampling else scores[i].r
                drawn.append(_of_targets(replace(maps[i], r=r), kept[0 if together else i]))
            return float(np.mean([depths.correlation(one) for one in (average_maps(drawn) if together else drawn)]))

        s, images, ceiling = len(fmri), f"{scores[0].images} images", self.evidence.ceiling(fmri)
        value, drawn = of(range(s), 0), cross(of, s, self.how.bootstraps, self.how.seed)
        over = interval(value, drawn.images, images, bound=1)
        if s > 1:
            over = crossed_interval(value, drawn, s, f"{images} and {s} subjects", bound=1)
        against = f"maps of the same variogram, of {sum(there)} targets that a layer predicts, beside how well it does"
        return Row(value, np.nan, over.low, over.high, np.nan, ceiling, against)

    def in_another_order(self) -> LayerPermutationTest:
        """The gradients' spatial score beside that of layers in another order."""
        maps = average_maps(self._maps("gradient"))

        def spatial(depth: Floats) -> float:
            return float(np.mean([self._depths(depth).correlation(one) for one in maps]))

        depth, how = self.evidence.study.depth, self.how
        return layer_permutation_test(spatial, depth, permutations=how.permutations, seed=how.seed)

    def higher(self) -> Row:
        """Is r of gradients larger where the axis is, among targets that activations predict? As a share of the
        ceiling, if that is known in all subjects."""
        maps, ceilings = self._maps("activation"), []
        least = 2 / np.sqrt(self.evidence.images(self.evidence.fmri))
        for one in self.evidence.fmri:
            ceiling = one.ceiling()
            # a share of a ceiling that is noise itself is no share
            ceilings.append(np.where(np.isfinite(ceiling) & (ceiling > least), ceiling, np.nan))
        gradients = [self.evidence.scores(one, "gradient").r[self.evidence.layer] for one in self.evidence.fmri]
        against = "maps of the same variogram; r as it is"
        if all(np.isfinite(ceiling).any() for ceiling in ceilings):
            gradients = [r / ceiling for r, ceiling in zip(gradients, ceilings, strict=True)]
            against = "maps of the same variogram; r as a share of its ceiling"
        both = [replace(one, r=np.vstack([r, one.r])) for one, r in zip(maps, gradients, strict=True)]
        return self._beside_smooth_maps(both, Measure(self._where_predicted), against)

    def _where_predicted(self, r: Floats) -> Floats:
        """The first of scores [1 + l, v] where one of the others is above noise."""
        return np.where(predicted_targets(r[1:], self.evidence.images(self.evidence.fmri)), r[0], np.nan)

    def _depths(self, depth: Floats | None = None) -> Measure:
        return Measure(partial(self._preferred, depth=depth), predictability)

    def _preferred(self, r: Floats, depth: Floats | None = None) -> Floats:
        """Depth that targets prefer, NaN where no layer predicts them."""
        found = self.how.preference.depth_of(r, self.evidence.study.depth if depth is None else depth)
        return np.where(predicted_targets(r, self.evidence.images(self.evidence.fmri)), found, np.nan)

    def _beside_smooth_maps(self, maps: Sequence[SubjectMap], of: Measure, against: str) -> Row:
        """Of every subject's scores."""
        how = self.how
        p = variogram_null_test(
            average_maps(maps), of, max_locations=how.places, permutations=how.permutations, seed=how.seed
        )
        return self.evidence.over([of.correlation(one) for one in maps], p, self.evidence.fmri, against, halves=True)

    def _maps(self, kind: str) -> list[SubjectMap]:
        return [self._map(one, self.evidence.scores(one, kind)) for one in self.evidence.fmri]

    def _map(self, one: Subject, scores: Scores) -> SubjectMap:
        deviations = scores.resampled - scores.resampled.mean(0)
        noise = np.einsum("blv,bmv->lm", deviations, deviations)
        return SubjectMap(one.recording.subject, _points(one), self._axis(one), scores.r, noise)

    def _axis(self, one: Subject) -> Floats:
        who, name = one.recording.subject, self.evidence.study.axis
        if name not in one.targets:
            raise ValueError(f"targets of {who} must have {name!r}, got {list(one.targets)}")
        if one.targets[name].dtype.kind not in "biuf":
            raise ValueError(f"{name!r} of the targets of {who} must be numbers, got {one.targets[name].dtype}")
        axis: Floats = one.targets[name].to_numpy(dtype=np.float64)
        known = axis[np.isfinite(axis)]
        if not len(known) or np.ptp(known) == 0:
            got = f"{known[0]:g} for all {len(known)}" if len(known) else f"none of {len(axis)}"
            raise ValueError(f"{name!r} must be known and differ between the targets of {who}, got {got}")
        return axis


def _of_targets(one: SubjectMap, kept: NDArray[np.bool_]) -> SubjectMap:
    return replace(one, points=one.points[kept], hierarchy=one.hierarchy[kept], r=one.r[:, kept])


def _points(one: Subject) -> Floats:
    for column in ("x", "y", "z"):
        if column not in one.targets:
            raise ValueError(f"targets of {one.recording.subject} must have {column!r}, got {list(one.targets)}")
    points: Floats = one.targets[["x", "y", "z"]].to_numpy(dtype=np.float64)
    return mirror_hemispheres(points, one.targets["hemisphere"]) if "hemisphere" in one.targets else points
