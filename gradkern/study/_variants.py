"""The choices that a study's verdict may hang on, and the verdict under each of them.

A choice is a name, and options by name; an option changes a `Study`, or the settings of its verdict. The first option
of each choice is that of the study as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from gradkern.errors import Refused, naming
from gradkern.features._features import Features
from gradkern.hierarchy._latency import ESTIMATORS, Latency
from gradkern.hierarchy._layers import PREFERENCES, Preference
from gradkern.recordings._recording import Recording
from gradkern.study._means import region_means, subject_mean
from gradkern.study._multiverse import Estimate, multiverse
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study.claims._claim import FMRI, MEG, Claim
from gradkern.study.claims._registry import claims_of
from gradkern.study.claims._verdict import NOT_TESTED, verdict

Change = Callable[[Study, VerdictSettings], tuple[Study, VerdictSettings]]


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """Features of one capture: kind -> features [images, d] of every layer, shallow to deep; their depth [l]; and
    `nuisances` [images, m], `outputs` [images, c] and `captured`, see `Study`."""

    kinds: Mapping[str, Sequence[Any]]
    depth: Any
    nuisances: Any = None
    outputs: Any = None
    captured: Features | None = None

    def __repr__(self) -> str:
        layers = self.kinds["activation"]
        return f"FeatureSet({', '.join(self.kinds)}; {len(layers)} layers, {len(layers[0])} images)"


@dataclass(frozen=True, eq=False, repr=False)
class StudyVariants:
    """The features and recordings that a study can be made of.

    Each of `features`, `fmri` and `meg` maps a name to features, or to one recording per subject; the first is the
    study as it is. `labels`, `images`, `image_statistics` and `test_images` are those of `Study`, whatever is varied.

    Raises
    ------
    ValueError : no features
    """

    features: Mapping[str, FeatureSet]
    fmri: Mapping[str, Sequence[Recording]]
    meg: Mapping[str, Sequence[Recording]]
    hierarchy: str = "distance"
    labels: Any = None
    images: Any = None
    image_statistics: Any = None
    test_images: Any = None

    @naming("StudyVariants")
    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("features must have at least one name, got none")

    def study(self) -> Study:
        """The study as it is: the first of each."""
        features = next(iter(self.features.values()))
        fmri, meg = (next(iter(recordings.values()), ()) for recordings in (self.fmri, self.meg))
        return Study(
            features.kinds,
            features.depth,
            fmri,
            meg,
            self.hierarchy,
            features.nuisances,
            labels=self.labels,
            images=self.images,
            image_statistics=self.image_statistics,
            outputs=features.outputs,
            test_images=self.test_images,
            captured=features.captured,
        )

    def __repr__(self) -> str:
        named = {"features": self.features, "fmri": self.fmri, "meg": self.meg}
        words = [f"{key}: {', '.join(names)}" for key, names in named.items() if names]
        return f"StudyVariants({'; '.join(words)})"


def choices(variants: StudyVariants, settings: VerdictSettings) -> dict[str, dict[str, Change]]:
    """Every choice that the study leaves open: choice -> option -> the change.

    "features", "fmri" and "meg" where there are variants; "targets" of the fMRI as they are or as means of regions;
    subjects of either modality in the mean of their results or of their responses; "penalty" for each target by another
    criterion, or one for all; "preference", how scores over layers become a depth; "latency", how time courses become
    times.
    """
    recordings = {"fmri": variants.fmri, "meg": variants.meg}
    options: dict[str, dict[str, Change]] = {
        "features": {name: partial(_features, features) for name, features in variants.features.items()}
    }
    options |= {
        modality: {name: partial(_recordings, modality, subjects) for name, subjects in named.items()}
        for modality, named in recordings.items()
    }
    options = {name: changes for name, changes in options.items() if len(changes) > 1}
    if variants.fmri:
        options["targets"] = {"each by itself": _unchanged, "means of regions": _regions}
    for modality in recordings:
        if recordings[modality]:
            averaged = partial(_subjects_averaged, modality)
            options[f"{modality} subjects"] = {"results averaged": _unchanged, "responses averaged": averaged}
    options["penalty"] = _penalties(settings)
    if variants.fmri:
        preferences = [Preference(by) for by in PREFERENCES if by != settings.preference.by]
        options["preference"] = {settings.preference.variant: _unchanged}
        options["preference"] |= {other.variant: partial(_with_settings, preference=other) for other in preferences}
    if variants.meg:
        usual = settings.latency
        latencies = [Latency(name, usual.window) for name in ESTIMATORS if name != usual.estimator]
        options["latency"] = {usual.estimator: _unchanged}
        options["latency"] |= {other.estimator: partial(_with_settings, latency=other) for other in latencies}
    return options


def _unchanged(study: Study, settings: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return study, settings


def _features(features: FeatureSet, study: Study, settings: VerdictSettings) -> tuple[Study, VerdictSettings]:
    if settings.layer is not None:  # the layer of the nearest depth
        depth = np.asarray(study.depth)[settings.layer]
        settings = replace(settings, layer=int(np.abs(np.asarray(features.depth) - depth).argmin()))
    other = replace(
        study,
        features=features.kinds,
        depth=features.depth,
        nuisances=features.nuisances,
        outputs=features.outputs,
        captured=features.captured,
    )
    return other, settings


def _recordings(
    modality: str, recordings: Sequence[Recording], study: Study, settings: VerdictSettings
) -> tuple[Study, VerdictSettings]:
    changes: dict[str, Any] = {modality: recordings}
    return replace(study, **changes), settings


def _regions(study: Study, settings: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return replace(study, fmri=[region_means(recording, study.hierarchy) for recording in study.fmri]), settings


def _subjects_averaged(modality: str, study: Study, settings: VerdictSettings) -> tuple[Study, VerdictSettings]:
    return _recordings(modality, [subject_mean(getattr(study, modality), study.hierarchy)], study, settings)


def _with_settings(study: Study, settings: VerdictSettings, **changes: Any) -> tuple[Study, VerdictSettings]:
    return study, replace(settings, **changes)


def _with_cv(study: Study, settings: VerdictSettings, **changes: Any) -> tuple[Study, VerdictSettings]:
    return study, replace(settings, cv=replace(settings.cv, **changes))


def _penalties(settings: VerdictSettings) -> dict[str, Change]:
    """The criteria, and one alpha for all targets, fixed before any data: permuted responses cannot choose it."""
    words = {"gcv": "by GCV", "kfold": "by k-fold", "loo": "by leave-one-out"}
    alphas, selection = settings.cv.alphas, settings.cv.selection_for([0])  # one row per image
    middle = sorted(alphas)[len(alphas) // 2]
    options: dict[str, Change] = {words[selection]: _unchanged}
    options |= {words[other]: partial(_with_cv, selection=other) for other in ("gcv", "kfold") if other != selection}
    if len(alphas) > 1:
        options[f"{middle:.3g} for all"] = partial(_with_cv, alphas=(middle,))
    return options


@naming("verdict_multiverse")
def verdict_multiverse(
    variants: StudyVariants,
    settings: VerdictSettings | None = None,
    base: pd.DataFrame | None = None,
    *,
    together: bool = False,
) -> pd.DataFrame:
    """The verdict of a study under each of its `choices`.

    A run has a row for a claim only if the claim hangs on all that was changed: claims about fMRI are the same whatever
    is chosen for the MEG, and would survive every such choice for no reason. A claim that only some runs can test
    (about a control that not all captures have) is "not tested" in the others.

    Parameters
    ----------
    base : the `verdict` of the study as it is, if that is known: it is then not computed again
    together : run every combination of options, instead of changing one choice at a time

    Returns
    -------
    DataFrame : as of `multiverse`, with "id" and "claim" (the text) instead of its "claim"; "conclusion" as in the
        verdict, or "refused"

    Raises
    ------
    ValueError : every run was refused
    """
    settings = settings or VerdictSettings()
    options = choices(variants, settings)
    study = variants.study()
    as_it_is = {name: next(iter(changes.values())) for name, changes in options.items()}
    claims = _claims(options, study, settings)

    @cache
    def verdict_under(**changes: Change) -> pd.DataFrame:
        changed = [name for name, change in changes.items() if change != as_it_is[name]]
        modalities = {claim.modality for claim in claims.values() if set(changed) <= set(claim.hangs_on)}
        if changed and not modalities:
            return verdict_under(**as_it_is)
        if not changed and base is not None:
            return base
        other, others = study, settings
        for change in changes.values():
            other, others = change(other, others)
        # no claim about the other modality hangs on all that was changed
        other = replace(other, fmri=other.fmri if FMRI in modalities else ())
        other = replace(other, meg=other.meg if MEG in modalities else ())
        return verdict(other, replace(others, subject_checks=False))  # which change no conclusion

    def estimates(**changes: Change) -> dict[str, Estimate]:
        rows = verdict_under(**changes).set_index("id")
        return {id: _estimate(rows.loc[id]) if id in rows.index else _ABSENT for id in claims}

    table = multiverse(estimates, options, together=together)
    first = {name: next(iter(changes)) for name, changes in options.items()}
    hangs = [
        all(name in claims[row["claim"]].hangs_on for name in options if row[name] != first[name])
        for row in table.to_dict("records")
    ]
    table = table[hangs].reset_index(drop=True).rename(columns={"claim": "id"})
    table.insert(table.columns.get_loc("id") + 1, "claim", [claims[id].text for id in table["id"]])
    return table


_ABSENT = Estimate(
    np.nan,
    conclusion=NOT_TESTED,
    why="these features have no such test: their capture lacks the control, or their gradients all have the same norm",
)


def _claims(options: Mapping[str, Mapping[str, Change]], study: Study, settings: VerdictSettings) -> dict[str, Claim]:
    """Claims of the study, and those of other features, which may have other controls, by id."""
    claims = {claim.id: claim for claim in claims_of(study)}
    for change in options.get("features", {}).values():
        try:
            other = change(study, settings)
        except Refused:  # `multiverse` meets it again, and keeps its reason
            continue
        claims |= {claim.id: claim for claim in claims_of(other[0]) if claim.id not in claims}
    return claims


def _estimate(row: pd.Series) -> Estimate:
    return Estimate(row["estimate"], row["low"], row["high"], row["p"], row["conclusion"], row["why"])
