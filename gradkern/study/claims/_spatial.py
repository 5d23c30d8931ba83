"""Claims about space: do the layers, and what gradients predict, follow the cortical hierarchy?"""

from collections.abc import Callable, Sequence
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
    shared_places,
    smooth_order_tests,
)
from gradkern.stats._bootstrap import Floats, Scores
from gradkern.stats._group_tests import combine
from gradkern.stats._intervals import cross, crossed_interval, interval
from gradkern.study._settings import VerdictSettings
from gradkern.study.claims._claim import FMRI, Row
from gradkern.study.claims._scored import ScoredStudy, Subject
from gradkern.study.claims._shares import shares_of_targets

_SMOOTH = "random maps of the same smoothness"


def spatial_order(scored: ScoredStudy, kind: str) -> Row:
    """The spatial score of a kind with its interval; p of the preferred depths beside maps of the same smoothness.

    That of gradients is also compared with other orders of the layers, and the larger p decides: neighboring layers
    are alike, so that an order of the layers in space may be the order of any of them.
    """
    score = spatial_score(scored, kind)
    row = _beside_smooth_maps(scored, _maps(scored, kind), _preferred_depth(scored, kind), score.against)
    usual = row.as_simulated and scored.settings.preference == VerdictSettings().preference
    row = replace(
        row,
        estimate=score.estimate,
        low=np.fmin(score.low, row.low),
        high=np.fmax(score.high, row.high),
        as_simulated=usual,
    )
    if kind != "gradient":
        return row
    permuted = spatial_layer_permutation(scored)
    return replace(
        row,
        p=max(row.p, permuted.p),
        smallest_p=max(row.smallest_p, permuted.smallest_p),
        against=f"{row.against} (p {row.p:.2g}), and {permuted.against} (p {permuted.p:.2g}): the larger p",
    )


def spatial_order_of_layers(scored: ScoredStudy) -> Row:
    """The gradients' spatial score, against other orders of the layers; supported only if the order itself is."""
    row, permuted = spatial_order(scored, "gradient"), spatial_layer_permutation(scored)
    supported = row.is_supported()  # which asks for this control too
    return replace(row, p=permuted.p, smallest_p=permuted.smallest_p, against=permuted.against, supported=supported)


def spatial_layer_permutation(scored: ScoredStudy) -> LayerPermutationTest:
    """The gradients' spatial score among those of permuted layers."""
    return scored.once(("spatial layer permutation",), lambda: _spatial_layer_permutation(scored))


def _spatial_layer_permutation(scored: ScoredStudy) -> LayerPermutationTest:
    maps = average_maps(_maps(scored, "gradient"))

    def score(depth: Floats) -> float:
        return float(np.mean([_preferred_depth(scored, "gradient", depth).correlation(values) for values in maps]))

    settings = scored.settings
    return layer_permutation_test(score, scored.study.depth, permutations=settings.permutations, seed=settings.seed)


def higher_areas(scored: ScoredStudy) -> Row:
    """Does what gradients add to the confounds increase along the hierarchy, among targets predicted by activations?

    What they add is a share of variance. It is divided by the square of the noise ceiling where all subjects have
    targets enough whose ceiling is known well. Otherwise how well activations predict a target is regressed out.
    """
    images, maps = scored.images(FMRI), _maps(scored, "activation")
    subjects = list(zip(scored.subjects[FMRI], _kept_targets(scored), strict=True))
    ceilings = [_certain_ceiling(subject, images)[kept] for subject, kept in subjects]
    gradients = [_shares(scored, subject)[kept] for subject, kept in subjects]
    predicted = [predicted_targets(values.r, images) for values in maps]
    covariates: Callable[[SubjectMap], Floats] | None = _predictability_of_rest
    what = "share of variance, with the activations' predictability as covariate"
    known = [np.isfinite(ceiling) & chosen for ceiling, chosen in zip(ceilings, predicted, strict=True)]
    if all(chosen.sum() >= LEAST_PLACES for chosen in known):
        gradients = [share / ceiling**2 for share, ceiling in zip(gradients, ceilings, strict=True)]
        covariates, what = None, "share of the variance that is not noise"
    stacked = [replace(values, r=np.vstack([share, values.r])) for values, share in zip(maps, gradients, strict=True)]
    measure = Measure(partial(_first_where_predicted, images=images), covariates)
    return _beside_smooth_maps(scored, stacked, measure, f"{_SMOOTH}; {what}")


def _certain_ceiling(subject: Subject, images: int) -> Floats:
    """Noise ceilings [v], NaN where they may be noise.

    A ceiling c is computed from the correlation h of two measurements, c^2 = 2 h / (1 + h). Where h is above
    5 / sqrt(images), its error of about 1 / sqrt(images) changes c by a tenth at most. Below it, shares of a ceiling
    are ratios of noise, and keeping those that happen to be large makes shares small where responses are weak.
    """
    ceiling = subject.ceiling()
    with np.errstate(invalid="ignore"):
        certain = predicted_targets(ceiling[None] ** 2 / (2 - ceiling[None] ** 2), images)
    return np.where(certain, ceiling, np.nan)


def _predictability_of_rest(subject: SubjectMap) -> Floats:
    return predictability(replace(subject, r=subject.r[1:]))


def spatial_score(scored: ScoredStudy, kind: str) -> Row:
    """The spatial score with its interval over images and subjects, without p."""
    return scored.once(("spatial score", kind), lambda: _spatial_score(scored, kind))


def _spatial_score(scored: ScoredStudy, kind: str) -> Row:
    subjects, settings = scored.subjects[FMRI], scored.settings
    scores, maps = [_scores(scored, subject, kind) for subject in subjects], _maps(scored, kind)
    preferred = _preferred_depth(scored, kind).value
    chosen = [np.isfinite(preferred(values.r)) for values in average_maps(maps)]
    counts = [int(targets.sum()) for targets in chosen]
    if min(counts) < LEAST_PLACES:
        beyond = " beyond the confounds" if kind == "gradient" else ""
        names = [values.subject for values in average_maps(maps)]
        got = ", ".join(f"{count} of {name}" for count, name in zip(counts, names, strict=True))
        raise Refused(f"targets that a layer predicts{beyond} must be at least {LEAST_PLACES} per map, got {got}")
    depths = Measure(partial(settings.preference.depth_of, depth=scored.study.depth), predictability)
    resampled = _ResampledScore(scores, maps, _kept_targets(scored), chosen, depths)
    value = resampled.of(range(len(subjects)), 0)
    drawn = cross(resampled.of, len(subjects), settings.bootstraps, settings.seed)
    images = f"{scores[0].images} images"
    over = interval(value, drawn.images, images, bound=1)
    if len(subjects) > 1:
        over = crossed_interval(value, drawn, len(subjects), f"{images} and {len(subjects)} subjects", bound=1)
    against = f"{_SMOOTH}, at {sum(counts)} targets that a layer predicts, with predictability as covariate"
    return Row(value, np.nan, over.low, over.high, np.nan, scored.ceiling(FMRI), against)


@dataclass(frozen=True, eq=False)
class _ResampledScore:
    """The spatial score at the same targets in every resampling.

    Subjects with targets at the same points are averaged into one map first; `predicted_targets` has one mask then.
    """

    scores: Sequence[Scores]
    maps: Sequence[SubjectMap]
    kept: Sequence[NDArray[np.int64]]
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
            drawn.append(replace(self.maps[subject], r=r[:, self.kept[subject]]).at(chosen))
        return float(
            np.mean([self.depths.correlation(values) for values in (average_maps(drawn) if averaged else drawn)])
        )


def _preferred_depth(scored: ScoredStudy, kind: str, depth: Floats | None = None) -> Measure:
    """The depth that targets prefer, NaN where no layer predicts them; `depth`: of permuted layers."""
    at = scored.study.depth if depth is None else depth
    images = scored.images(FMRI)
    if kind == "gradient":  # whose noise is that of the images, and less in the mean of subjects
        images *= len(scored.subjects[FMRI]) // len(average_maps(_maps(scored, kind)))
    depth_of = partial(scored.settings.preference.depth_of, depth=at)
    return Measure(partial(_where_predicted, depth_of=depth_of, images=images), predictability)


def _where_predicted(r: Floats, depth_of: "partial[Floats]", images: int) -> Floats:
    """Preferred depth [v] by scores r [l, v]."""
    depth = depth_of(r)
    return np.where(predicted_targets(r, images), depth, np.nan)


def _first_where_predicted(r: Floats, images: int) -> Floats:
    """The first row of scores [1 + l, v] where one of the other rows is above noise."""
    return np.where(predicted_targets(r[1:], images), r[0], np.nan)


def _beside_smooth_maps(scored: ScoredStudy, maps: Sequence[SubjectMap], measure: Measure, against: str) -> Row:
    """Test each subject's map beside random ones, and the mean over subjects as if they were one: cortices are alike.

    p is that of the mean z, and the interval the mean of the intervals over random maps. More subjects make neither
    smaller.
    """
    settings = scored.settings
    tests = smooth_order_tests(
        average_maps(maps),
        measure,
        max_locations=settings.max_locations,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    p, smallest = tests[0].p, tests[0].smallest_p
    if len(tests) > 1:
        combined = combine([test.p for test in tests], method="mean-z", smallest_p=smallest)
        p, smallest = float(combined.p[0]), float(combined.smallest_p or np.nan)
    estimate, low, high = (float(np.mean([getattr(test, name) for test in tests])) for name in ("r", "low", "high"))
    independent = " and ".join(f"{test.independent:.2g}" for test in tests)
    against = f"{against}; as many as {independent} independent places"
    return Row(estimate, p, low, high, smallest, scored.ceiling(FMRI), against, as_simulated=len(tests) == 1)


def _maps(scored: ScoredStudy, kind: str) -> list[SubjectMap]:
    """Maps of all subjects, at the places that they share if these are most of everybody's."""

    def maps() -> list[SubjectMap]:
        every = [_map(scored, subject, kind) for subject in scored.subjects[FMRI]]
        return [values.at(kept) for values, kept in zip(every, _kept_targets(scored), strict=True)]

    return scored.once(("maps", kind), maps)


def _kept_targets(scored: ScoredStudy) -> list[NDArray[np.int64]]:
    """Indices of each subject's targets in its map.

    Subjects on one surface, of whom one has a few dead vertices, are averaged at the others.
    """

    def kept() -> list[NDArray[np.int64]]:
        places = [np.column_stack([_points(subject), _hierarchy(scored, subject)]) for subject in scored.subjects[FMRI]]
        return shared_places(places) or [np.arange(len(rows)) for rows in places]

    return scored.once(("kept targets",), kept)


def _scores(scored: ScoredStudy, subject: Subject, kind: str) -> Scores:
    """Scores of every layer of a kind; of gradients, how clear it is what they add to the confounds.

    Gradients are functions of activations. What they predict, and where, is first of all what these predict. Sums over
    pairs of images (`_shares`) are scaled so that noise alone has a standard deviation of 1 / sqrt(images), as r has.
    The layer whose gradients are in a response has the largest: products of kernels of norm 1 are.
    """
    if kind != "gradient":
        return scored.scores(subject, kind)
    return scored.once(("scores beyond confounds", subject.name), lambda: _scores_beyond(scored, subject))


def _scores_beyond(scored: ScoredStudy, subject: Subject) -> Scores:
    sums = shares_of_targets(scored, subject)
    r, resampled = sums.over(sums.errors * np.sqrt(len(subject.Y)))
    return Scores(r, resampled, scored.resampled(subject).images)


def _shares(scored: ScoredStudy, subject: Subject) -> Floats:
    """Share of each target's variance [v] that the tested layer's gradients add to the confounds."""
    sums = shares_of_targets(scored, subject)
    shares: Floats = sums.over(sums.sizes)[0][scored.layer]
    return shares


def _map(scored: ScoredStudy, subject: Subject, kind: str) -> SubjectMap:
    scores = _scores(scored, subject, kind)
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
        derived = "" if column in ("x", "y", "z") else " (`hierarchy =` in a study file derives or names it)"
        raise Refused(f"targets of {subject.name} must have {column!r}, got {list(subject.targets)}{derived}")
