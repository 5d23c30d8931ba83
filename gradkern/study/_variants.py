"""The choices that a study's verdict may hang on, and the verdict under each of them.

A choice is a name, and options by name; an option changes a `Study`, or how it is judged. The first option of each is
that of the study as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from gradkern.errors import naming
from gradkern.hierarchy._latency import ESTIMATORS, Latency
from gradkern.hierarchy._layers import PREFERENCES, Preference
from gradkern.hierarchy._regions import Regions
from gradkern.recordings._recording import Recording
from gradkern.recordings._responses import Mean, as_responses
from gradkern.study._multiverse import Estimate, multiverse
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study.claims._verdict import NOT_TESTED, verdict

Change = Callable[[Study, VerdictSettings], tuple[Study, VerdictSettings]]

_PLACE = ("x", "y", "z")
_DATA = {  # that a choice is about; others are about both
    "fmri": "fMRI",
    "targets": "fMRI",
    "fmri subjects": "fMRI",
    "preference": "fMRI",
    "meg": "MEG",
    "meg subjects": "MEG",
    "latency": "MEG",
}
_BY_PREFERENCE = ("activations map the hierarchy", "gradients have the spatial order of backpropagation")
_READ = ("label", "hemisphere", "roi", *_PLACE, "sensor", "time")  # of targets, by the tests


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one capture: kind -> of every layer, shallow to deep, [images, d]; their depth [l]; and `nuisances`
    [images, m], see `Study`."""

    kinds: Mapping[str, Sequence[Any]]
    depth: Any
    nuisances: Any = None


@dataclass(frozen=True, eq=False)
class StudyVariants:
    """What a study can be made of: name -> features, or -> a recording a subject; the first is the study as it is.

    Raises
    ------
    ValueError : no features
    """

    features: Mapping[str, FeatureSet]
    fmri: Mapping[str, Sequence[Recording]]
    meg: Mapping[str, Sequence[Recording]]
    axis: str = "distance"

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("StudyVariants: features must have at least one name, got none")

    def study(self) -> Study:
        """The first of each."""
        features = next(iter(self.features.values()))
        fmri, meg = (next(iter(each.values()), ()) for each in (self.fmri, self.meg))
        return Study(features.kinds, features.depth, fmri, meg, self.axis, features.nuisances)


def region_means(recording: Recording, axis: str) -> Recording:
    """One target a region, and hemisphere where that is told: the mean response of its targets.

    Places and the axis are means too. Targets outside all regions, or without hemisphere or axis, are left out; regions
    where no target has the axis are, and `excluded` names them; a region's ncsnr is not known.

    Raises
    ------
    ValueError : targets without "roi", or none in a region; a region where targets have the axis but no hemisphere
    """
    if "roi" not in recording.targets:
        raise ValueError(f"region_means: targets of {recording.subject} must have 'roi', got {list(recording.targets)}")
    table = recording.targets
    regions, everywhere = Regions.from_names(table["roi"]), np.ones(len(table), dtype=bool)
    sided = table["hemisphere"].notna().to_numpy() if "hemisphere" in table else everywhere
    placed = table[axis].notna().to_numpy() if axis in table else everywhere
    inside = regions.inside & sided & placed
    if not inside.any():
        raise ValueError(f"region_means: targets of {recording.subject} must lie in regions, got none that does")
    lost = {"without a hemisphere": placed & ~sided, f"without a {axis}": ~placed}
    with naming("region_means"):
        regions.check(placed, inside, lost, f" of {recording.subject}")
    chosen = recording.select_targets(inside, f"in a region, with a {axis}")
    by = [name for name in ("hemisphere", "roi") if name in table]
    each = zip(table[by].itertuples(index=False), regions.inside & sided, strict=True)
    sides = Regions.from_names([" ".join(map(str, words)) if known else "" for words, known in each])
    unplaced = sides.left_out(sides.inside, placed, f"no target has a {axis}")
    if unplaced.count:
        chosen = chosen.leave_out(unplaced)
    groups = chosen.targets.groupby(by, sort=False)
    which, count = groups.ngroup().to_numpy(), groups.size().to_numpy()
    means = np.zeros((len(chosen.presentations), len(count)))
    for columns, block in chosen.blocks():
        here = which[columns]
        for group in np.unique(here):
            means[:, group] += block[:, here == group].sum(1, dtype=np.float64) / count[group]
    numbers = list(dict.fromkeys(name for name in (*_PLACE, axis) if name in table))
    targets = groups[numbers].mean().reset_index() if numbers else groups.size().reset_index()[by]
    words = targets[by].astype(str).agg(" ".join, axis=1)
    done = f"averaged {len(chosen.targets)} targets within {len(count)} regions"
    return replace(
        chosen,
        responses=as_responses(means.astype(chosen.responses.dtype)),
        targets=targets.assign(label=words, targets=count),
        ncsnr=None,
        history=(*chosen.history, done),
    )


def subject_mean(recordings: Sequence[Recording], axis: str) -> Recording:
    """The mean response of subjects who saw the same images and have the same targets, as one subject's.

    Its ncsnr is not known.

    Raises
    ------
    ValueError : one subject; other images, targets or units in one of them
    """
    if len(recordings) < 2:
        raise ValueError(f"subject_mean: subjects must be at least 2, got {len(recordings)}")
    sorted_ = [one.select_presentations(np.argsort(one.image_ids), "by image") for one in recordings]
    first = sorted_[0]
    for one in sorted_[1:]:
        who = f"{first.subject} and {one.subject}"
        if not np.array_equal(one.image_ids, first.image_ids):
            common = len(np.intersect1d(one.image_ids, first.image_ids))
            counts = f"{len(first.image_ids)} and {len(one.image_ids)}, {common} of them in common"
            raise ValueError(f"subject_mean: subjects must have seen the same images, got {counts} of {who}")
        other = [name for name in (*_READ, axis) if not _same(name, one.targets, first.targets)]
        if other:
            raise ValueError(f"subject_mean: subjects must have the same targets, got other {other} of {who}")
        if one.units != first.units:
            raise ValueError(f"subject_mean: units must be the same, got {first.units!r} and {one.units!r} of {who}")
    names = [one.subject for one in recordings]
    repeats = np.sum([one.repeats for one in sorted_], axis=0)
    return Recording(
        responses=Mean([one.responses for one in sorted_]),
        presentations=pd.DataFrame({"image": first.image_ids, "repeats": repeats}),
        targets=first.targets[[name for name in dict.fromkeys((*_READ, axis)) if name in first.targets]],
        subject=f"mean of {len(names)} subjects",
        units=first.units,
        space=first.space,
        history=(f"averaged over subjects {', '.join(names)}",),
    )


def _same(name: str, one: pd.DataFrame, other: pd.DataFrame) -> bool:
    if name not in one and name not in other:
        return True
    return name in one and name in other and one[name].equals(other[name])


def choices(alternatives: StudyVariants, how: VerdictSettings) -> dict[str, dict[str, Change]]:
    """Every choice that the study leaves open: choice -> option -> the change.

    "features", "fmri" and "meg" where there are alternatives; "targets" of the fMRI as they are or as means of
    regions; subjects of either modality in the mean of their results or of their responses; "penalty" for each target
    by another criterion, or one for all; "preference", how scores over layers become a depth; "latency", how curves
    become times.
    """
    given = {
        "features": {name: partial(_features, each) for name, each in alternatives.features.items()},
        "fmri": {name: partial(_recordings, "fmri", each) for name, each in alternatives.fmri.items()},
        "meg": {name: partial(_recordings, "meg", each) for name, each in alternatives.meg.items()},
    }
    made: dict[str, dict[str, Change]] = {name: dict(each) for name, each in given.items() if len(each) > 1}
    if alternatives.fmri:
        made["targets"] = {"each by itself": _as_it_is, "means of regions": _regions}
    for modality in ("fmri", "meg"):
        if getattr(alternatives, modality):
            last, first = "results averaged", "responses averaged"
            made[f"{modality} subjects"] = {last: _as_it_is, first: partial(_subjects_first, modality)}
    made["penalty"] = _penalties(how)
    if alternatives.fmri:
        others = [Preference(by) for by in PREFERENCES if by != how.preference.by]
        made["preference"] = {how.preference.variant: _as_it_is}
        made["preference"] |= {each.variant: partial(_judged, preference=each) for each in others}
    if alternatives.meg:
        estimators = [name for name in ESTIMATORS if name != how.latency.estimator]
        made["latency"] = {how.latency.estimator: _as_it_is}
        made["latency"] |= {name: partial(_judged, latency=Latency(name, how.latency.window)) for name in estimators}
    return made


def _as_it_is(study: Study, how: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return study, how


def _features(features: FeatureSet, study: Study, how: VerdictSettings) -> tuple[Study, VerdictSettings]:
    if how.layer is not None:  # that of the nearest depth
        at = np.asarray(study.depth)[how.layer]
        how = replace(how, layer=int(np.abs(np.asarray(features.depth) - at).argmin()))
    return replace(study, features=features.kinds, depth=features.depth, nuisances=features.nuisances), how


def _recordings(
    modality: str, recordings: Sequence[Recording], study: Study, how: VerdictSettings
) -> tuple[Study, VerdictSettings]:
    changed: dict[str, Any] = {modality: recordings}
    return replace(study, **changed), how


def _regions(study: Study, how: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return replace(study, fmri=[region_means(one, study.axis) for one in study.fmri]), how


def _subjects_first(modality: str, study: Study, how: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return _recordings(modality, [subject_mean(getattr(study, modality), study.axis)], study, how)


def _judged(study: Study, how: VerdictSettings, **changes: Any) -> tuple[Study, VerdictSettings]:
    return study, replace(how, **changes)


def _cross_validated(study: Study, how: VerdictSettings, **changes: Any) -> tuple[Study, VerdictSettings]:
    return study, replace(how, cv=replace(how.cv, **changes))


def _penalties(how: VerdictSettings) -> dict[str, Change]:
    """The criteria, and one penalty fixed before any data: an order of the responses cannot choose it."""
    words = {"gcv": "by GCV", "kfold": "by k-fold", "loo": "by leave-one-out"}
    alphas, selection = how.cv.alphas, how.cv.selection_for([0])  # a row an image
    middle = sorted(alphas)[len(alphas) // 2]
    options: dict[str, Change] = {words[selection]: _as_it_is}
    options |= {
        words[other]: partial(_cross_validated, selection=other) for other in words if other not in (selection, "loo")
    }
    if len(alphas) > 1:
        options[f"{middle:.3g} for all"] = partial(_cross_validated, alphas=(middle,))
    return options


def verdict_multiverse(
    alternatives: StudyVariants,
    how: VerdictSettings | None = None,
    base: pd.DataFrame | None = None,
    *,
    together: bool = False,
) -> pd.DataFrame:
    """The verdict of a study under each of its `choices`.

    A run has a row for a claim only if the claim can hang on all that was changed: those of fMRI are the same whatever
    becomes of the MEG, and would survive by that. A claim that only some runs can make (of a control that not all
    captures have) is "not tested" in the others.

    Parameters
    ----------
    base : the `verdict` of the study as it is, if that is known: it is then not computed again
    together : every combination, instead of one choice at a time

    Returns
    -------
    DataFrame : as of `multiverse.multiverse`; "conclusion" as in the verdict, or "refused"

    Raises
    ------
    ValueError : every run refused
    """
    how = how or VerdictSettings()
    made = choices(alternatives, how)
    study = alternatives.study()
    as_it_is = {name: next(iter(options.values())) for name, options in made.items()}

    @cache
    def judged(**changes: Change) -> pd.DataFrame:
        if base is not None and changes == as_it_is:
            return base
        about = {_DATA.get(name) for name, change in changes.items() if change != as_it_is[name]}
        if about >= {"fMRI", "MEG"}:
            return judged(**as_it_is)  # no claim hangs on all of it
        changed, asked = study, how
        for change in changes.values():
            changed, asked = change(changed, asked)
        # no claim of the other hangs on it
        changed = replace(changed, meg=() if "fMRI" in about else changed.meg)
        changed = replace(changed, fmri=() if "MEG" in about else changed.fmri)
        return verdict(changed, asked)

    known = _claims(made, as_it_is, judged)

    def estimates(**changes: Change) -> dict[str, Estimate]:
        rows = judged(**changes).set_index("claim")
        return {claim: _estimate(rows.loc[claim]) if claim in rows.index else _ABSENT for claim in known}

    table = multiverse(estimates, made, together=together)
    first = {name: next(iter(options)) for name, options in made.items()}
    kept = [
        all(_touches(name, known[row["claim"]]) for name in made if row[name] != first[name])
        for row in table.to_dict("records")
    ]
    return table[kept].reset_index(drop=True)


_ABSENT = Estimate(
    np.nan,
    conclusion=NOT_TESTED,
    why="these features have no such test: their capture lacks the control, or their gradients are all of one length",
)


def _claims(
    made: Mapping[str, Mapping[str, Change]], as_it_is: Mapping[str, Change], judged: Callable[..., pd.DataFrame]
) -> dict[str, Mapping[str, Any]]:
    """Claims with a row of a verdict: also those of other features, which may have other controls."""
    found = {row["claim"]: row for row in judged(**as_it_is).to_dict("records")}
    for option in made.get("features", {}).values():
        try:
            table = judged(**{**as_it_is, "features": option})
        except ValueError:  # `multiverse` meets it again, and keeps its reason
            continue
        found |= {row["claim"]: row for row in table.to_dict("records") if row["claim"] not in found}
    return found


def _touches(choice: str, row: Mapping[str, Any]) -> bool:
    """Whether a claim, by its row in a verdict, can hang on a choice."""
    if choice == "preference":
        return str(row["claim"]).startswith(_BY_PREFERENCE)
    if choice == "latency":
        return bool(row["units"] == "s")
    return _DATA.get(choice) in (None, row["data"])


def _estimate(row: pd.Series) -> Estimate:
    return Estimate(row["estimate"], row["low"], row["high"], row["p"], row["conclusion"], row["why"])
