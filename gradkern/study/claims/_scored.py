"""The subjects of a study, and the encoding scores that several claims share, computed once."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.encoding._conditional import ResponseModel, fitted_model
from gradkern.encoding._confounds import Confounds
from gradkern.encoding._image_blocks import image_blocks
from gradkern.encoding._scale import check_first, unit_scale
from gradkern.encoding._score import ceiling_of
from gradkern.recordings._recording import Recording
from gradkern.stats._bootstrap import Floats, Resampling, Scores, layer_scores, resample_images
from gradkern.stats._group_tests import combine
from gradkern.stats._intervals import over_subjects
from gradkern.study._excluded import confounds_of, rows_of
from gradkern.study._settings import Study, VerdictSettings
from gradkern.study._usable_targets import usable_in_all, usable_targets
from gradkern.study.claims._claim import FMRI, MEG, Row

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Subject:
    """A subject's chosen targets: responses Y [n, v] to the images `rows` [n] of the features, in rising order.

    `whole` has all usable targets, also those that were not drawn, and is read block by block; `order` [n] are the
    places of the images in it. `notes` say what was left out of the targets.
    """

    modality: str
    recording: Recording
    Y: Floats
    rows: NDArray[np.int64]
    whole: Recording
    order: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.recording.subject

    @property
    def targets(self) -> pd.DataFrame:
        return self.recording.targets

    def ceiling(self) -> Floats:
        return ceiling_of(self.recording).r

    def best_ceiling(self) -> float:
        """The largest noise ceiling of all usable targets; 0 where none is known."""
        return float(np.nanmax(ceiling_of(self.whole).r, initial=0))


@dataclass(frozen=True, eq=False)
class ScoredStudy:
    """Features and subjects of a study as the claims' tests take them; made by `score_study`.

    Attributes
    ----------
    study, settings : what it was made from
    features : kind -> features [images, d] of every layer, scaled to unit size
    layer : index of the layer that is tested where a claim is about one feature space
    subjects : "fMRI" and "MEG" -> the subjects
    exclusions : pairs of a modality and of what tests of conditional independence exclude (`rows_of` the study),
        which are computed together
    computed : results that several tests share, by their names; filled as tests ask for them
    """

    study: Study
    settings: VerdictSettings
    features: Mapping[str, Sequence[Floats]]
    layer: int
    subjects: Mapping[str, tuple[Subject, ...]]
    exclusions: tuple[tuple[str, str], ...]
    computed: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False)

    def once(self, name: tuple[str, ...], compute: Callable[[], _Value]) -> _Value:
        """The result of this name, computed at the first request."""
        if name not in self.computed:
            self.computed[name] = compute()
        value: _Value = self.computed[name]
        return value

    @property
    def gradients(self) -> Floats:
        """Gradients of the tested layer [images, d]."""
        return self.features["gradient"][self.layer]

    def excluded(self) -> Confounds:
        """What claims about gradients exclude, for all images of the features."""
        return self.once(("confounds",), lambda: confounds_of(self.study))

    def scores(self, subject: Subject, kind: str) -> Scores:
        """Scores of every layer of a kind, resampled over images."""
        name = ("scores", subject.modality, subject.name, kind)
        return self.once(name, lambda: self.score(subject, self.features[kind]))

    def score(self, subject: Subject, layers: Sequence[Any]) -> Scores:
        rows = [X[subject.rows] for X in layers]
        return layer_scores(rows, subject.Y, self.resampled(subject), self.settings.cv)

    def model(self, subject: Subject) -> ResponseModel:
        """Responses as readouts of all confounds; one for all subjects, of both modalities, who saw the same images."""
        first = self.first_alike(subject)
        return self.once(("model of responses", first.modality, first.name), lambda: self._model(subject))

    def _model(self, subject: Subject) -> ResponseModel:
        everything, seed = self.excluded(), self.settings.seed
        blocks = image_blocks(everything, subject.rows, seed=seed)
        Y = np.hstack([other.Y for other in self.alike(subject)])
        return fitted_model(everything, Y, subject.rows, blocks, seed, keeps=True)

    def alike(self, subject: Subject) -> list[Subject]:
        """The subjects who saw the same images as this one, in the order of the model's targets."""
        every = (other for modality in (FMRI, MEG) for other in self.subjects[modality])
        return [other for other in every if np.array_equal(other.rows, subject.rows)]

    def first_alike(self, subject: Subject) -> Subject:
        """The first subject of the study who saw the same images."""
        return self.alike(subject)[0]

    def resampled(self, subject: Subject) -> Resampling:
        """Resampled images, drawn for all subjects together, so that an image counts alike in all who saw it."""
        images = np.unique(np.concatenate([other.rows for other in self.subjects[subject.modality]]))
        drawn = resample_images(images, self.settings.bootstraps, self.settings.seed)
        return replace(drawn, counts=drawn.counts[:, np.searchsorted(images, subject.rows)])

    def group_row(self, r: Sequence[float], p: Sequence[float], modality: str, against: str) -> Row:
        """Group estimate with its interval, and combined p.

        The p values of several subjects are combined by Fisher's method if no two subjects share an image, otherwise by
        twice their mean, which is valid under any dependence.
        """
        subjects, values = self.subjects[modality], np.asarray(r, dtype=np.float64)
        smallest = 1 / (1 + self.settings.permutations)
        combined_p, low, high = float(p[0]), np.nan, np.nan
        if len(p) > 1:
            rows = np.concatenate([subject.rows for subject in subjects])
            disjoint = len(np.unique(rows)) == len(rows)
            combined = combine(p, method="fisher" if disjoint else "mean", smallest_p=smallest)
            combined_p, smallest = float(combined.p[0]), float(combined.smallest_p or np.nan)
        if len(values) > 1:
            interval = over_subjects(values, bound=1)
            low, high = interval.low, interval.high
        ceiling = self.ceiling(modality)
        row = Row(float(values.mean()), combined_p, low, high, smallest, ceiling, against, as_simulated=len(p) == 1)
        return replace(row, by_subject={subject.name: float(x) for subject, x in zip(subjects, values, strict=True)})

    def images(self, modality: str) -> int:
        """Images of the smallest recording."""
        return min((len(subject.Y) for subject in self.subjects[modality]), default=0)

    def ceiling(self, modality: str) -> float:
        """Mean noise ceiling over targets and subjects; NaN where it is unknown."""
        ceilings = np.concatenate([subject.ceiling() for subject in self.subjects[modality]])
        ceilings = ceilings[np.isfinite(ceilings)]
        return float(ceilings.mean()) if len(ceilings) else np.nan

    def simulated_ceiling(self, modality: str) -> float:
        """The ceiling as simulated studies define it: for fMRI the mean, for MEG the best sensor's at its best time."""
        if modality == FMRI:
            return self.ceiling(modality)
        best = [subject.best_ceiling() for subject in self.subjects[modality]]
        return float(np.mean(best)) if min(best) > 0 else np.nan


def score_study(
    study: Study, settings: VerdictSettings, exclusions: Collection[tuple[str, str]] | None = None
) -> ScoredStudy:
    """Scale the features and choose the targets; scores are computed when a test asks for them.

    `exclusions` are those that will be asked for; None: all of `rows_of`, of the modalities that there are.
    """
    features = {kind: [unit_scale(layer) for layer in layers] for kind, layers in study.features.items()}
    count = len(features["activation"])
    for recording in (*study.fmri, *study.meg):
        check_first("verdict", recording)
    fmri = _subjects(
        FMRI, [_chosen_targets(recording, study.hierarchy, settings) for recording in study.fmri], settings
    )
    meg = _subjects(MEG, study.meg, settings)
    layer = count // 2 if settings.layer is None else settings.layer
    subjects = {FMRI: fmri, MEG: meg}
    every = ((modality, row) for modality in subjects if subjects[modality] for row in rows_of(study))
    asked = tuple(pair for pair in every if exclusions is None or pair in exclusions)
    return ScoredStudy(study, settings, features, layer, subjects, asked)


def _chosen_targets(recording: Recording, hierarchy: str, settings: VerdictSettings) -> Recording:
    """fMRI targets that have a hierarchy value, at most `settings.max_targets` of them."""
    if hierarchy in recording.targets:
        valued = recording.targets[hierarchy].notna().to_numpy()
        if valued.any():  # otherwise claims about prediction use all targets, and claims about the hierarchy refuse
            recording = recording.select_targets(valued, f"with a {hierarchy}")
    return _drawn(recording, settings)


def _drawn(recording: Recording, settings: VerdictSettings) -> Recording:
    """At most `settings.max_targets` targets of a recording."""
    v = len(recording.targets)
    if v <= settings.max_targets:
        return recording
    drawn = np.random.default_rng(settings.seed).choice(v, settings.max_targets, replace=False)
    return recording.select_targets(np.sort(drawn), "drawn at random")


def _subjects(modality: str, recordings: Sequence[Recording], settings: VerdictSettings) -> tuple[Subject, ...]:
    """Leave out targets without a score, and sort rows by image: subjects who saw the same images have the same."""
    if not recordings:
        return ()
    usable, notes = map(list, zip(*map(usable_targets, recordings), strict=True))
    if modality == FMRI:  # time courses are means over sensors, which may differ
        usable, others = usable_in_all(recordings, usable)
        notes = [(*own, *filter(None, [other])) for own, other in zip(notes, others, strict=True)]
    subjects = []
    for recording, chosen, lines in zip(recordings, usable, notes, strict=True):
        for line in lines:
            warnings.warn(f"verdict: {line}", stacklevel=5)
        order = np.argsort(recording.image_ids)
        whole = recording if chosen.all() else recording.select_targets(chosen, "that vary and have no NaN")
        kept = _drawn(whole, settings)
        Y = np.asarray(kept.responses, dtype=np.float64)[order]
        subjects.append(Subject(modality, kept, Y, recording.image_ids[order], whole, order, lines))
    return tuple(subjects)
