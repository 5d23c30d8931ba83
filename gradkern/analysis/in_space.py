"""A verdict's claims of space: are layers, and is what gradients predict, laid out over the hierarchy?"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gradkern.analysis.bootstrap import Floats
from gradkern.analysis.evidence import Evidence, Row, Subject
from gradkern.analysis.hierarchy import Mapped, SpatialVariant, correlate, spatial_score
from gradkern.analysis.layer_orders import LayerOrderTest, layer_order_test
from gradkern.analysis.layers import predicted
from gradkern.analysis.maps import LEAST_PLACES, SubjectMap, beside_smooth_maps, joined


class InSpace:
    """Tests of the fMRI's targets at their places, beside maps of the same smoothness."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.how = evidence, evidence.how
        self._placed: dict[str, Row] = {}

    def order(self, kind: str) -> Row:
        """The spatial score with its interval; p of the preferred depths by maps of the same smoothness."""
        own = self.placed(kind)
        row = self._beside_smooth_maps(self._scores(kind), self._preferred, own.against)
        return replace(row, estimate=own.estimate, low=own.low, high=own.high)

    def placed(self, kind: str) -> Row:
        """The spatial score with its interval, no p: of the mean scores where all subjects have the same places."""
        if kind not in self._placed:
            self._placed[kind] = self._place(kind)
        return self._placed[kind]

    def _place(self, kind: str) -> Row:
        fmri = self.evidence.fmri
        maps = self._maps(self._scores(kind))
        kept = [np.isfinite(self._preferred(one.r)) for one in joined(maps)]
        there = [int(keep.sum()) for keep in kept]
        if min(there) < LEAST_PLACES:
            raise ValueError(f"targets that a layer predicts must be at least {LEAST_PLACES}, got {there}")
        together = len(kept) < len(maps)
        mapped = [
            Mapped(self.evidence.scores(of, kind), one.axis, keep=keep, why="no layer predicts them")
            for of, one, keep in zip(fmri, maps, kept * len(maps) if together else kept, strict=True)
        ]
        subjects = "subjects averaged first" if together else "mean of subjects"
        variant = SpatialVariant(subjects=subjects, preference=self.how.preference)
        found = spatial_score(mapped, self.evidence.study.depth, variant)
        over, ceiling = found.over_both or found.over_images, self.evidence.ceiling(fmri)
        against = f"maps of the same variogram, of {sum(there)} targets that a layer predicts"
        return Row(found.value, np.nan, over.low, over.high, np.nan, ceiling, against)

    def in_another_order(self) -> LayerOrderTest:
        """The gradients' spatial score beside that of layers in another order."""
        maps = joined(self._maps(self._scores("gradient")))

        def spatial(depth: Floats) -> float:
            return float(np.mean([correlate(self._preferred(one.r, depth), one.axis) for one in maps]))

        depth, how = self.evidence.study.depth, self.how
        return layer_order_test(spatial, depth, permutations=how.permutations, seed=how.seed)

    def higher(self) -> Row:
        """Is r of gradients larger where the axis is? As a share of the ceiling, if that is known in all subjects."""
        maps, ceilings = [r[self.evidence.layer] for r in self._scores("gradient")], []
        for one in self.evidence.fmri:
            ceiling = one.ceiling()
            ceilings.append(np.where(np.isfinite(ceiling) & (ceiling > 0), ceiling, np.nan))
        against = "maps of the same variogram; r as it is"
        if all(np.isfinite(ceiling).any() for ceiling in ceilings):
            maps = [r / ceiling for r, ceiling in zip(maps, ceilings, strict=True)]
            against = "maps of the same variogram; r as a share of its ceiling"
        return self._beside_smooth_maps([each[None] for each in maps], lambda r: r[0], against)

    def _scores(self, kind: str) -> list[Floats]:
        """r [l, v] of every subject."""
        return [self.evidence.scores(one, kind).r for one in self.evidence.fmri]

    def _preferred(self, r: Floats, depth: Floats | None = None) -> Floats:
        """Depth that targets prefer, NaN where no layer predicts them."""
        found = self.how.preference.depth_of(r, self.evidence.study.depth if depth is None else depth)
        return np.where(predicted(r, self.evidence.images(self.evidence.fmri)), found, np.nan)

    def _beside_smooth_maps(self, scores: Sequence[Floats], value_of: Callable[[Floats], Floats], against: str) -> Row:
        """Of scores [l, v] of every subject, and what makes a map [v] of them."""
        maps, how = self._maps(scores), self.how
        p = beside_smooth_maps(joined(maps), value_of, places=how.places, permutations=how.permutations, seed=how.seed)
        r = [correlate(value_of(one.r), one.axis) for one in maps]
        return self.evidence.over(r, p, self.evidence.fmri, against, halves=True)

    def _maps(self, scores: Sequence[Floats]) -> list[SubjectMap]:
        fmri = self.evidence.fmri
        names, axes = [one.recording.subject for one in fmri], [self._axis(one) for one in fmri]
        places = [one.targets[["x", "y", "z"]].to_numpy(dtype=np.float64) for one in fmri]
        return [SubjectMap(*of) for of in zip(names, places, axes, scores, strict=True)]

    def _axis(self, one: Subject) -> Floats:
        who, name = one.recording.subject, self.evidence.study.axis
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
