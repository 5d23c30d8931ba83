"""Claims about space: do the layers, and what gradients predict, follow the cortical hierarchy?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gradkern.errors import Refused
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
from gradkern.study.claims._claim import FMRI, Row
from gradkern.study.claims._scored import ScoredStudy, Subject


def spatial_order(scored: ScoredStudy, kind: str) -> Row:
    """The spatial score of a kind with its interval; p of the preferred depths against variogram-matched maps."""
    score = spatial_score(scored, kind)
    row = _variogram_null(scored, _maps(scored, kind), _preferred_depth(scored), score.against)
    usual = row.as_simulated and scored.settings.preference == VerdictSettings().preference
    return replace(row, estimate=score.estimate, low=score.low, high=score.high, as_simulated=usual)


def spatial_order_of_layers(scored: ScoredStudy) -> Row:
    """The gradients' spatial score, against the same score with the layers permuted."""
    score, permuted = spatial_score(scored, "gradient"), spatial_layer_permutation(scored)
    return replace(score, p=permuted.p, smallest_p=permuted.smallest_p, against=permuted.against)


def spatial_layer_permutation(scored: ScoredStudy) -> LayerPermutationTest:
    """The gradients' spatial score among those of permuted layers."""
    maps = average_maps(_maps(scored, "gradient"))

    def score(depth: Floats) -> float:
        return float(np.mean([_preferred_depth(scored, depth).correlation(values) for values in maps]))

    settings = scored.settings
    return layer_permutation_test(score, scored.study.depth, permutations=settings.permutations, seed=settings.seed)


def higher_areas(scored: ScoredStudy) -> Row:
    """Does gradient r increase along the hierarchy, among targets predicted by activations?

    r is divided by the noise ceiling if that is known in all subjects.
    """
    maps, ceilings = _maps(scored, "activation"), []
    noise = 2 / np.sqrt(scored.images(FMRI))
    for subject in scored.subjects[FMRI]:
        ceiling = subject.ceiling()
        # r relative to a ceiling that is noise itself means nothing
        ceilings.append(np.where(np.isfinite(ceiling) & (ceiling > noise), ceiling, np.nan))
    gradients = [scored.scores(subject, "gradient").r[scored.layer] for subject in scored.subjects[FMRI]]
    against = "maps of the same variogram; r as it is"
    if all(np.isfinite(ceiling).any() for ceiling in ceilings):
        gradients = [r / ceiling for r, ceiling in zip(gradients, ceilings, strict=True)]
        against = "maps of the same variogram; r as a share of its ceiling"
    stacked = [replace(values, r=np.vstack([r, values.r])) for values, r in zip(maps, gradients, strict=True)]
    return _variogram_null(
        scored, stacked, Measure(partial(_first_where_predicted, images=scored.images(FMRI))), against
    )


def spatial_score(scored: ScoredStudy, kind: str) -> Row:
    """The spatial score with its interval, without p."""
    return scored.once(("spatial score", kind), lambda: _spatial_score(scored, kind))


def _spatial_score(scored: ScoredStudy, kind: str) -> Row:
    subjects, settings = scored.subjects[FMRI], scored.settings
    scores, maps = [scored.scores(subject, kind) for subject in subjects], _maps(scored, kind)
    preferred = _preferred_depth(scored).value
    predicted_targets = [np.isfinite(preferred(values.r)) for values in average_maps(maps)]
    counts = [int(chosen.sum()) for chosen in predicted_targets]
    if min(counts) < LEAST_PLACES:
        raise Refused(f"targets that a layer predicts must be at least {LEAST_PLACES}, got {counts}")
    depths = Measure(partial(settings.preference.depth_of, depth=scored.study.depth), predictability)
    resampled = _ResampledScore(scores, maps, predicted_targets, depths)
    value = resampled.of(range(len(subjects)), 0)
    drawn = cross(resampled.of, len(subjects), settings.bootstraps, settings.seed)
    images = f"{scores[0].images} images"
    over = interval(value, drawn.images, images, bound=1)
    if len(subjects) > 1:
        over = crossed_interval(value, drawn, len(subjects), f"{images} and {len(subjects)} subjects", bound=1)
    against = (
        f"maps of the same variogram, at {sum(counts)} targets that a layer predicts, with predictability as covariate"
    )
    return Row(value, np.nan, over.low, over.high, np.nan, scored.ceiling(FMRI), against)


@dataclass(frozen=True, eq=False)
class _ResampledScore:
    """The spatial score at the same targets in every resampling.

    Subjects with targets at the same points are averaged into one map first; `predicted_targets` has one mask then.
    """

    scores: Sequence[Scores]
    maps: Sequence[SubjectMap]
    predicted_targets: Sequence[NDArray[np.bool_]]
    depths: Measure

    def of(self, subjects: Sequence[int], resampling: int) -> float:
        """The score of these subjects: resampling 0 is the data as they are."""
        averaged = len(self.predicted_targets) < len(self.maps)
        drawn = []
        for subject in subjects:
            scores = self.scores[subject]
            r = scores.resampled[resampling - 1] if resampling else scores.r
            chosen = self.predicted_targets[0 if averaged else subject]
            drawn.append(_at_targets(replace(self.maps[subject], r=r), chosen))
        return float(
            np.mean([self.depths.correlation(values) for values in (average_maps(drawn) if averaged else drawn)])
        )


def _at_targets(values: SubjectMap, chosen: NDArray[np.bool_]) -> SubjectMap:
    return replace(values, points=values.points[chosen], hierarchy=values.hierarchy[chosen], r=values.r[:, chosen])


def _preferred_depth(scored: ScoredStudy, depth: Floats | None = None) -> Measure:
    """The depth that targets prefer, NaN where no layer predicts them; `depth`: of permuted layers."""
    at = scored.study.depth if depth is None else depth
    depth_of = partial(scored.settings.preference.depth_of, depth=at)
    return Measure(partial(_where_predicted, depth_of=depth_of, images=scored.images(FMRI)), predictability)


def _where_predicted(r: Floats, depth_of: "partial[Floats]", images: int) -> Floats:
    """Preferred depth [v] by scores r [l, v]."""
    depth = depth_of(r)
    return np.where(predicted_targets(r, images), depth, np.nan)


def _first_where_predicted(r: Floats, images: int) -> Floats:
    """The first row of scores [1 + l, v] where one of the other rows is above noise."""
    return np.where(predicted_targets(r[1:], images), r[0], np.nan)


def _variogram_null(scored: ScoredStudy, maps: Sequence[SubjectMap], measure: Measure, against: str) -> Row:
    """Test each subject's map against variogram-matched surrogates."""
    settings = scored.settings
    p = variogram_null_test(
        average_maps(maps),
        measure,
        max_locations=settings.max_locations,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    return scored.group_row([measure.correlation(values) for values in maps], p, FMRI, against, halves=True)


def _maps(scored: ScoredStudy, kind: str) -> list[SubjectMap]:
    return [_map(scored, subject, kind) for subject in scored.subjects[FMRI]]


def _map(scored: ScoredStudy, subject: Subject, kind: str) -> SubjectMap:
    scores = scored.scores(subject, kind)
    deviations = scores.resampled - scores.resampled.mean(0)
    noise = np.einsum("blv,bmv->lm", deviations, deviations)
    return SubjectMap(subject.name, _points(subject), _hierarchy(scored, subject), scores.r, noise)


def _hierarchy(scored: ScoredStudy, subject: Subject) -> Floats:
    column = scored.study.hierarchy
    _check_column(subject, column)
    kind = subject.targets[column].dtype
    if kind.kind not in "biuf":
        raise Refused(f"{column!r} of the targets of {subject.name} must be numbers, got {kind}")
    values: Floats = subject.targets[column].to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not len(finite) or np.ptp(finite) == 0:
        got = f"{finite[0]:g} for all {len(finite)}" if len(finite) else f"none of {len(values)}"
        raise Refused(f"{column!r} must be known and differ between the targets of {subject.name}, got {got}")
    return values


def _points(subject: Subject) -> Floats:
    for column in ("x", "y", "z"):
        _check_column(subject, column)
    points: Floats = subject.targets[["x", "y", "z"]].to_numpy(dtype=np.float64)
    return mirror_hemispheres(points, subject.targets["hemisphere"]) if "hemisphere" in subject.targets else points


def _check_column(subject: Subject, column: str) -> None:
    if column not in subject.targets:
        raise Refused(f"targets of {subject.name} must have {column!r}, got {list(subject.targets)}")
