"""RSA and CKA of a study: feature spaces and recordings as in `score`, region by region or time by time.

Both compare all pairs of images. A representation becomes a vector of length 1 over the n (n - 1) / 2 pairs, so that a
score is the inner product of two vectors, and a permutation of the images only moves the pairs of one of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

import gradkern
from gradkern._device import chosen_device
from gradkern._progress import advanced, tracked
from gradkern.encoding._matching import check_rows
from gradkern.encoding._rsa import DISTANCES, centered_products, rdm, rdm_ceiling
from gradkern.encoding._scale import check_first
from gradkern.encoding._spaces import feature_coordinates
from gradkern.errors import Refused, naming
from gradkern.recordings._recording import Recording
from gradkern.ridge._engine.precision import multiplying
from gradkern.stats._bootstrap import Floats
from gradkern.stats._exchangeable import draw_permutations

BY = ("roi", "time", "all")
MEASURES = ("rsa", "cka")
_COMPARISONS = ("Spearman", "Pearson")  # correlations, which an inner product of vectors can be
_ROUNDING = 1e-5  # of products in float32
_LEAST_IMAGES = 4


@dataclass(frozen=True)
class RSASettings:
    """How representations are compared.

    Parameters
    ----------
    by : channels that belong together: targets of a "roi" (voxels), of a "time" (sensors), or "all". None: by time
        where times are known, otherwise by roi where regions are known, otherwise all
    distance : of two images, in responses and in features: "correlation", "euclidean" or "cosine". Sketches keep
        lengths and angles: between sketches the correlation is nearly the cosine of the features themselves
    comparison : of RDMs, "Spearman" or "Pearson"
    permutations : of the images
    images : largest number of images, drawn at random; None: all
    seed : of the images and their permutations
    """

    by: str | None = None
    distance: str = "correlation"
    comparison: str = "Spearman"
    permutations: int = 1000
    images: int | None = 1000
    seed: int = 0

    @naming("RSASettings")
    def __post_init__(self) -> None:
        options = {"by": (*BY, None), "distance": DISTANCES, "comparison": _COMPARISONS}
        for name, choices in options.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if self.images is not None and self.images < _LEAST_IMAGES:
            raise ValueError(f"images must be at least {_LEAST_IMAGES} or None, got {self.images}")


@naming("rsa_scores")
def rsa_scores(
    features: Mapping[Any, Any], recordings: Recording | Sequence[Recording], settings: RSASettings | None = None
) -> xr.Dataset:
    """Compare every feature space with every region or time of every subject by RSA and unbiased linear CKA.

    The images are those that all subjects saw; responses to repeats are averaged. p is by permutation of the images: if
    features tell nothing about the responses, every order of the images in the features is as likely as the measured
    one. All subjects, features and regions see the same permutations. Nothing is fitted. Memory: 8 bytes for each pair
    of images, for every feature space and every region of every subject.

    Parameters
    ----------
    features : as in `score`
    recordings : of subjects with different names; targets that belong to no region ("") are left out

    Returns
    -------
    Dataset with the variables

        rsa, cka : [subject, feature, roi | time]
        rsa_p, cka_p : one-sided, (1 + permutations that reach the score) / (1 + permutations)
        rsa_p_max, cka_p_max : the same for the largest score of all features and regions of a subject
        channels : [subject, roi | time], number of targets
        rsa_ceiling : [bound, roi | time], of `rdm_ceiling` over subjects, NaN where fewer than 2 have the region

    `attrs` hold the provenance.

    Raises
    ------
    ValueError : features of other images or sizes; subjects with one name; responses that are not finite; regions or
        times that are not known
    Refused : subjects with fewer than 4 images in common; a row without a distance
    """
    settings = settings or RSASettings()
    subjects = [recordings] if isinstance(recordings, Recording) else list(recordings)
    named = feature_coordinates(features)
    spaces = dict(zip(named["feature"], features.values(), strict=True))
    odd = _checked(spaces, subjects)
    channels = _channels(subjects, settings.by)
    images, common = _images(subjects, settings)
    orders = draw_permutations(len(images), settings.permutations, settings.seed)
    models = _side_by_side([_vectors(f"feature {name}", np.asarray(X)[images], settings) for name, X in spaces.items()])
    columns, brains, ceiling = _responses(subjects, channels, images, settings)
    along, labels = channels.along, channels.labels
    result = xr.Dataset(coords={"subject": [one.subject for one in subjects], **named, along: list(labels)})
    for measure in MEASURES:
        for name, values in _tested(models[measure], brains[measure], orders.rows, columns[:, 0]).items():
            filled = np.full((len(subjects), len(spaces), len(labels)), np.nan)
            filled[columns[:, 0], :, columns[:, 1]] = values.T
            result[measure + name] = (("subject", "feature", along), filled)
    counts = [[len(targets.get(label, ())) for label in labels] for targets in channels.targets]
    result["channels"] = (("subject", along), counts)
    result["rsa_ceiling"] = (("bound", along), ceiling)
    facts = {
        **asdict(settings),
        "by": channels.by,
        "images": f"{len(images)} of {common} that {len(subjects)} subjects saw, of {len(next(iter(spaces.values())))}",
        "permuted": f"images of the features, {settings.permutations} orders of {orders.what}",
        "outside": {one.subject: count for one, count in zip(subjects, channels.outside, strict=True)},
        "odd": odd,
    }
    return result.assign_coords(bound=["lower", "upper"]).assign_attrs(_provenance(facts, subjects))


@naming("best_layers_by_measure")
def best_layers_by_measure(similar: xr.Dataset, scores: Iterable[xr.Dataset]) -> pd.DataFrame:
    """List the best layer by RSA, by CKA and by the encoding score side by side.

    Parameters
    ----------
    similar : of `rsa_scores`
    scores : of `score`, one for each subject, found by the subject in their `attrs`; of the same feature spaces

    Returns
    -------
    A row for each subject, region or time, model, objective and kind (as far as features have them). The columns
    "rsa", "cka" and "r" hold layers; "r" is the mean over folds and over the targets of the region that have a score.
    A layer is missing where there is no score.

    Raises
    ------
    ValueError : features without layers; a subject without scores or with two, or without those of a region that
        `similar` has; other feature spaces
    """
    along = "time" if "time" in similar.dims else "roi"
    if "layer" not in similar.coords:
        raise ValueError(f"similar must be of features that have layers, got {similar.feature.values.tolist()}")
    listed = list(scores)
    rows: list[dict[str, Any]] = []
    for subject in similar.subject.values:
        r = _encoding_scores(similar, listed, str(subject))
        for label in similar[along].values:
            where = {"subject": subject, along: label}
            in_region = r if similar.attrs["by"] == "all" else r[:, (r[along] == label).values]
            if not in_region.shape[1] and similar.channels.sel(where) > 0:
                raise ValueError(
                    f"scores of {str(subject)!r} must have targets of every {along}, got none of {str(label)!r}"
                )
            measures = {name: similar[name].sel(where).values for name in MEASURES}
            measures["r"] = _mean_over_scored_targets(in_region.values)
            rows += _best_layers(similar, measures, {"subject": str(subject), along: label})
    return pd.DataFrame(rows)


def _encoding_scores(similar: xr.Dataset, scores: Sequence[xr.Dataset], subject: str) -> xr.DataArray:
    """r [feature, target] of a subject, mean over folds, of the features of `similar`."""
    of_subject = [dataset for dataset in scores if dataset.attrs.get("subject") == subject]
    if len(of_subject) != 1:
        raise ValueError(f"scores must hold one Dataset of subject {subject!r}, got {len(of_subject)}")
    missing = set(similar.feature.values.tolist()) - set(of_subject[0].feature.values.tolist())
    if missing:
        raise ValueError(f"scores of {subject!r} must be of the same features, got no {sorted(missing)}")
    r: xr.DataArray = of_subject[0].r.sel(feature=similar.feature.values).mean("fold", skipna=False)
    return r


@dataclass(frozen=True)
class _Channels:
    """Targets that belong together: indices by label for every subject, and how many targets have no label."""

    by: str
    along: str
    labels: tuple[Any, ...]
    targets: list[dict[Any, NDArray[np.int64]]]
    outside: list[int]


def _checked(spaces: Mapping[str, Any], subjects: Sequence[Recording]) -> dict[str, tuple[str, ...]]:
    """What is odd in each recording, by its own check."""
    names = [one.subject for one in subjects]
    if not subjects or len(set(names)) < len(names):
        raise ValueError(f"recordings must be of at least one subject, each with another name, got {names}")
    sizes = {len(X) for X in spaces.values()}
    for name, X in spaces.items():
        if len(X.shape) != 2 or len(sizes) > 1:
            raise ValueError(
                f"features must be [images, d] of as many images, got {list(X.shape)} of {name!r} (images: "
                f"{sorted(sizes)})"
            )
    for one in subjects:
        check_rows(one, next(iter(sizes)))
    return {one.subject: check_first("rsa_scores", one) for one in subjects}


def _channels(subjects: Sequence[Recording], by: str | None) -> _Channels:
    columns = set.intersection(*(set(one.targets) for one in subjects))
    by = by or next((name for name in ("time", "roi") if name in columns), "all")
    if by != "all" and by not in columns:
        raise ValueError(f"{by!r} must be known of the targets of every subject, got only {sorted(columns)}")
    targets, outside = [], []
    for one in subjects:
        labels = one.targets[by].to_numpy() if by != "all" else np.full(len(one.targets), "all")
        names = [label for label in pd.unique(labels) if not pd.isna(label) and label != ""]
        by_label = {label: np.flatnonzero(labels == label) for label in names}
        outside.append(len(labels) - sum(map(len, by_label.values())))
        targets.append(by_label)
    every = list(dict.fromkeys(label for by_label in targets for label in by_label))
    if not every:
        raise ValueError("some targets must belong to a region, got none")
    along = "time" if by == "time" else "roi"
    return _Channels(by, along, tuple(sorted(every) if by == "time" else every), targets, outside)


def _images(subjects: Sequence[Recording], settings: RSASettings) -> tuple[NDArray[np.int64], int]:
    """Images to compare, and how many all subjects saw."""
    common = subjects[0].image_ids
    for one in subjects[1:]:
        common = np.intersect1d(common, one.image_ids)
    common = np.unique(common)
    if len(common) < _LEAST_IMAGES:
        raise Refused(f"subjects must have at least {_LEAST_IMAGES} images in common, got {len(common)}")
    if settings.images is None or settings.images >= len(common):
        return common, len(common)
    drawn = np.random.default_rng(settings.seed).choice(common, settings.images, replace=False)
    return np.sort(drawn), len(common)


def _provenance(facts: Mapping[str, Any], subjects: Sequence[Recording]) -> dict[str, str | int]:
    """The provenance, in types that attributes of a file can have."""
    every = {
        "gradkern": gradkern.__version__,
        "cka": "linear, unbiased",
        **facts,
        "history": {
            one.subject: [*one.history, *(("averaged over repeats for similarity",) if _has_repeats(one) else ())]
            for one in subjects
        },
        "recordings": {one.subject: one.provenance for one in subjects},
    }
    return {
        name: value if isinstance(value, str | int) else json.dumps(value, default=str) for name, value in every.items()
    }


def _has_repeats(recording: Recording) -> bool:
    return len(np.unique(recording.image_ids)) < len(recording.image_ids)


def _responses(
    subjects: Sequence[Recording], channels: _Channels, images: NDArray[np.int64], settings: RSASettings
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]], Floats]:
    """Subject and label of every column [c, 2], columns [pairs, c] by measure, and the ceiling of RDMs [2, labels]."""
    means = [one.average_repeats(estimate=False) if _has_repeats(one) else one for one in subjects]
    shown = [
        one.select_presentations(np.flatnonzero(np.isin(one.image_ids, images)), "of images compared") for one in means
    ]
    columns, vectors, ceiling = [], [], np.full((2, len(channels.labels)), np.nan)
    for number, label in enumerate(channels.labels):
        rdms = []
        for subject, (one, targets) in enumerate(zip(shown, channels.targets, strict=True)):
            if label not in targets:
                continue
            responses = one.select_targets(targets[label], f"of {label}").responses
            values = np.asarray(responses)[np.argsort(one.image_ids)]
            of_region = _vectors(f"{channels.by} {label!s} of {one.subject}", values, settings)
            columns.append((subject, number))
            vectors.append(of_region)
            rdms.append(of_region["rsa"])
        if len(rdms) > 1:
            # ranks and unit length are what `rdm_ceiling` would make of the RDMs first
            over_subjects = rdm_ceiling(rdms, settings.comparison)
            ceiling[:, number] = over_subjects.lower, over_subjects.upper
    return np.array(columns), _side_by_side(vectors), ceiling


def _vectors(what: str, X: NDArray[Any], settings: RSASettings) -> dict[str, NDArray[np.float32]]:
    """Vectors of length 1 over the pairs of rows of X [n, d], by measure: inner products of two are scores."""
    from scipy import stats

    try:
        distances = rdm(X, settings.distance)
        if np.ptp(distances) == 0:
            raise Refused("all images are as far from each other")
        compared = stats.rankdata(distances) if settings.comparison == "Spearman" else distances
        aligned = centered_products(X)
    except ValueError as error:
        kind = Refused if isinstance(error, Refused) else ValueError
        raise kind(f"{what}: {error}") from error
    compared = compared - compared.mean()
    return {
        name: (values / np.linalg.norm(values)).astype(np.float32)
        for name, values in (("rsa", compared), ("cka", aligned))
    }


def _side_by_side(vectors: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {measure: np.stack([by_measure[measure] for by_measure in vectors], axis=1) for measure in MEASURES}


def _tested(
    features: NDArray[np.float32], brains: NDArray[np.float32], orders: NDArray[np.int64], subject: NDArray[np.int64]
) -> dict[str, Floats]:
    """Scores (""), and their p ("_p" and "_p_max"), [features, columns], by orders [permutations, n] of the images.

    Parameters
    ----------
    features, brains : [pairs, features], [pairs, columns]
    subject : [columns], subject of each column; the largest score is taken over all features and columns of a subject
    """
    n = orders.shape[1]
    upper = np.triu_indices(n, 1)
    pair = np.zeros((n, n), dtype=np.int64)  # index of the pair of two images
    pair[upper] = np.arange(len(features))
    pair += pair.T
    device = chosen_device() or torch.device("cpu")
    X, Y = (torch.from_numpy(values).to(device) for values in (features, brains))
    of_subject = [torch.from_numpy(np.flatnonzero(subject == number)).to(device) for number in range(subject.max() + 1)]
    its_subject = torch.from_numpy(subject).to(device)
    with torch.no_grad(), multiplying("float32"), tracked("similarity", len(orders), "permutations"):
        observed = X.T @ Y
        reached, reached_max = torch.zeros_like(observed), torch.zeros_like(observed)
        for order in orders:
            null = X[torch.from_numpy(pair[order[upper[0]], order[upper[1]]]).to(device)].T @ Y
            reached += null >= observed - _ROUNDING
            largest = torch.stack([null[:, columns].max() for columns in of_subject])
            reached_max += largest[its_subject] >= observed - _ROUNDING
            advanced(1, "permutations")
    scores = {"": observed.cpu().numpy().astype(np.float64)}
    return scores | {
        name: (1 + count.cpu().numpy().astype(np.float64)) / (1 + len(orders))
        for name, count in (("_p", reached), ("_p_max", reached_max))
    }


def _mean_over_scored_targets(r: NDArray[Any]) -> Floats:
    """Mean of r [features, targets] over the targets at which all features have a score; NaN where there are none."""
    scored = r[:, ~np.isnan(r).any(0)]
    return np.asarray(scored.mean(1) if scored.shape[1] else np.full(len(r), np.nan), dtype=np.float64)


def _best_layers(similar: xr.Dataset, measures: Mapping[str, Floats], where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best layers of every model, objective and kind by each measure [features]."""
    named = [name for name in ("model", "objective", "kind") if name in similar.coords]
    layers, keys = similar.layer.values, list(zip(*(similar[name].values.tolist() for name in named), strict=True))
    rows = []
    for key in dict.fromkeys(keys):
        of_key = np.array([number for number, other in enumerate(keys) if other == key])
        best = {
            name: None if np.isnan(values[of_key]).any() else str(layers[of_key[values[of_key].argmax()]])
            for name, values in measures.items()
        }
        rows.append({**where, **dict(zip(named, key, strict=True)), **best})
    return rows
