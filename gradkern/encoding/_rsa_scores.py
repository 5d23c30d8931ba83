"""RSA and CKA of a study: feature spaces and recordings as of `score`, region by region or time by time.

Both compare all pairs of images. A representation becomes a vector of length 1 over the n (n - 1) / 2 pairs, so that a
score is a product of two, and another order of the images only moves the pairs of one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import gradkern
from gradkern.encoding._rsa import DISTANCES, centred_products, rdm, rdm_ceiling
from gradkern.encoding._scale import check_first
from gradkern.encoding._spaces import named_spaces
from gradkern.recordings._recording import Recording
from gradkern.stats._bootstrap import Floats
from gradkern.stats._exchangeable import draw_permutations

BY = ("roi", "time", "all")
MEASURES = ("rsa", "cka")
_COMPARISONS = ("Spearman", "Pearson")  # correlations, which a product of vectors can be
_ROUNDING = 1e-5  # of products in float32
_LEAST_IMAGES = 4
_OP = "similarity_scores"


@dataclass(frozen=True)
class RSASettings:
    """How representations are compared.

    Parameters
    ----------
    by : channels that belong together: targets of a "roi" (voxels), of a "time" (sensors), or "all". None: of a time
        where times are known, else of a roi where those are, else all
    distance : of two images, in responses and in features: "correlation", "euclidean" or "cosine". Sketches keep
        lengths and angles: of them the correlation is nearly the cosine of the features themselves
    comparison : of RDMs, "Spearman" or "Pearson"
    permutations : orders of the images
    images : at most so many, drawn at random; None: all
    seed : of the images and their orders
    """

    by: str | None = None
    distance: str = "correlation"
    comparison: str = "Spearman"
    permutations: int = 1000
    images: int | None = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        known = {"by": (*BY, None), "distance": DISTANCES, "comparison": _COMPARISONS}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"RSASettings: {name} must be one of {choices}, got {getattr(self, name)!r}")
        if self.images is not None and self.images < _LEAST_IMAGES:
            raise ValueError(f"RSASettings: images must be at least {_LEAST_IMAGES} or None, got {self.images}")


def similarity_scores(
    features: Mapping[Any, Any], recordings: Recording | Sequence[Recording], how: RSASettings | None = None
) -> xr.Dataset:
    """RSA and unbiased linear CKA of every feature space with every region or time of every subject.

    Compared on the images that all subjects saw, one row an image: responses to repeats are averaged. p is by
    permutation of the images: if features tell nothing of the responses, every order of the images in the features is
    as likely as the measured one. All subjects, features and regions see the same orders. Nothing is fitted. Memory: 8
    bytes a pair of images, for every feature space and every region of every subject.

    Parameters
    ----------
    features : as of `score`
    recordings : of subjects with different names; targets that belong to no region ("") are left out of regions

    Returns
    -------
    Dataset : rsa and cka [subject, feature, roi | time]; rsa_p and cka_p, one-sided, (1 + orders that reach the score)
        / (1 + permutations); rsa_p_max and cka_p_max, the same with the largest score of all features and regions of
        the subject; channels [subject, roi | time], how many targets, 0 and scores NaN where a subject has no such;
        rsa_ceiling [bound, roi | time], of `rdm_ceiling` over subjects, NaN where fewer than 2 have the region. `attrs`
        hold the provenance.

    Raises
    ------
    ValueError : features of other images or sizes; subjects of one name or without images in common; responses that
        are not finite; a row that has no distance; regions or times that are not known
    """
    how = how or RSASettings()
    subjects = [recordings] if isinstance(recordings, Recording) else list(recordings)
    named = named_spaces(_OP, features)
    given = dict(zip(named["feature"], features.values(), strict=True))
    odd = _checked(given, subjects)
    parts = _parts(subjects, how.by)
    images, common = _images(subjects, how)
    orders = draw_permutations(len(images), how.permutations, how.seed)
    spaces = _side_by_side([_vectors(f"feature {name}", np.asarray(X)[images], how) for name, X in given.items()])
    columns, brains, ceiling = _responses(subjects, parts, images, how)
    result = xr.Dataset(coords={"subject": [one.subject for one in subjects], **named, parts.along: list(parts.labels)})
    for measure in MEASURES:
        for name, values in _tested(spaces[measure], brains[measure], orders.rows, columns[:, 0]).items():
            filled = np.full((len(subjects), len(given), len(parts.labels)), np.nan)
            filled[columns[:, 0], :, columns[:, 1]] = values.T
            result[measure + name] = (("subject", "feature", parts.along), filled)
    channels = [[len(places.get(label, ())) for label in parts.labels] for places in parts.places]
    result["channels"] = (("subject", parts.along), channels)
    result["rsa_ceiling"] = (("bound", parts.along), ceiling)
    facts = {
        **asdict(how),
        "by": parts.by,
        "images": f"{len(images)} of {common} that {len(subjects)} subjects saw, of {len(next(iter(given.values())))}",
        "permuted": f"images of the features, {how.permutations} orders of {orders.what}",
        "outside": {one.subject: count for one, count in zip(subjects, parts.outside, strict=True)},
        "odd": odd,
    }
    return result.assign_coords(bound=["lower", "upper"]).assign_attrs(_stated(facts, subjects))


def best_layers_by_measure(similar: xr.Dataset, scores: Iterable[xr.Dataset]) -> pd.DataFrame:
    """Which layer is best by RSA, by CKA and by the encoding score, side by side.

    Parameters
    ----------
    similar : of `similarity_scores`
    scores : of `score`, one a subject, found by the subject in their `attrs`; of the same feature spaces

    Returns
    -------
    A row a subject, region or time, and model, objective and kind (as far as features tell them); columns "rsa", "cka"
    and "r" are layers, "r" by the mean over folds and the targets of the region that have a score. A layer is missing
    where there is no score.

    Raises
    ------
    ValueError : features without layers; a subject without scores or with two, or without those of a region that
        `similar` has; other feature spaces
    """
    op, along = "best_layers_by_measure", "time" if "time" in similar.dims else "roi"
    if "layer" not in similar.coords:
        raise ValueError(f"{op}: similar must be of features that have layers, got {similar.feature.values.tolist()}")
    given = list(scores)
    rows: list[dict[str, Any]] = []
    for subject in similar.subject.values:
        found = [each for each in given if each.attrs.get("subject") == subject]
        if len(found) != 1:
            raise ValueError(f"{op}: scores must hold one Dataset of subject {str(subject)!r}, got {len(found)}")
        missing = set(similar.feature.values.tolist()) - set(found[0].feature.values.tolist())
        if missing:
            raise ValueError(f"{op}: scores of {str(subject)!r} must be of the same features, got no {sorted(missing)}")
        r = found[0].r.sel(feature=similar.feature.values).mean("fold", skipna=False)
        for label in similar[along].values:
            here = r if similar.attrs["by"] == "all" else r[:, (r[along] == label).values]
            if not here.shape[1] and similar.channels.sel({"subject": subject, along: label}) > 0:
                raise ValueError(
                    f"{op}: scores of {str(subject)!r} must have targets of every {along}, got none of {str(label)!r}"
                )
            measures = {name: similar[name].sel({"subject": subject, along: label}).values for name in MEASURES}
            measures["r"] = _mean_of_known(here.values)
            rows += _best(similar, measures, {"subject": str(subject), along: label})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Parts:
    """Channels that belong together: `places` of targets by label, of every subject; so many targets `outside`."""

    by: str
    along: str
    labels: tuple[Any, ...]
    places: list[dict[Any, NDArray[np.int64]]]
    outside: list[int]


def _checked(spaces: Mapping[str, Any], subjects: Sequence[Recording]) -> dict[str, tuple[str, ...]]:
    """What the recordings' own check finds odd."""
    names = [one.subject for one in subjects]
    if not subjects or len(set(names)) < len(names):
        raise ValueError(f"{_OP}: recordings must be of at least one subject, each with another name, got {names}")
    sizes = {len(X) for X in spaces.values()}
    for name, X in spaces.items():
        if len(X.shape) != 2 or len(sizes) > 1:
            raise ValueError(
                f"{_OP}: features must be [images, d] of as many images, got {list(X.shape)} of {name!r} (images: "
                f"{sorted(sizes)})"
            )
    for one in subjects:
        one.check_images(sizes.copy().pop())
    return {one.subject: check_first(_OP, one) for one in subjects}


def _parts(subjects: Sequence[Recording], by: str | None) -> _Parts:
    known = set.intersection(*(set(one.targets) for one in subjects))
    by = by or next((name for name in ("time", "roi") if name in known), "all")
    if by != "all" and by not in known:
        raise ValueError(f"{_OP}: {by!r} must be known of the targets of every subject, got only {sorted(known)}")
    places, outside = [], []
    for one in subjects:
        labels = one.targets[by].to_numpy() if by != "all" else np.full(len(one.targets), "all")
        known_labels = [label for label in pd.unique(labels) if not pd.isna(label) and label != ""]
        found = {label: np.flatnonzero(labels == label) for label in known_labels}
        outside.append(len(labels) - sum(map(len, found.values())))
        places.append(found)
    every = list(dict.fromkeys(label for found in places for label in found))
    if not every:
        raise ValueError(f"{_OP}: some targets must belong to a region, got none")
    along = "time" if by == "time" else "roi"
    return _Parts(by, along, tuple(sorted(every) if by == "time" else every), places, outside)


def _images(subjects: Sequence[Recording], how: RSASettings) -> tuple[NDArray[np.int64], int]:
    """Images to compare, and how many all subjects saw."""
    common = subjects[0].image_ids
    for one in subjects[1:]:
        common = np.intersect1d(common, one.image_ids)
    common = np.unique(common)
    if len(common) < _LEAST_IMAGES:
        raise ValueError(f"{_OP}: subjects must have at least {_LEAST_IMAGES} images in common, got {len(common)}")
    if how.images is None or how.images >= len(common):
        return common, len(common)
    drawn = np.random.default_rng(how.seed).choice(common, how.images, replace=False)
    return np.sort(drawn), len(common)


def _stated(facts: Mapping[str, Any], subjects: Sequence[Recording]) -> dict[str, str | int]:
    """The provenance, as attributes of a file can be."""
    every = {
        "gradkern": gradkern.__version__,
        "cka": "linear, unbiased",
        **facts,
        "history": {one.subject: [*one.history, *_averaged(one)] for one in subjects},
        "recordings": {one.subject: one.provenance for one in subjects},
    }
    return {
        name: value if isinstance(value, str | int) else json.dumps(value, default=str) for name, value in every.items()
    }


def _averaged(one: Recording) -> tuple[str, ...]:
    """What is done to the recording here, in words."""
    return ("averaged over repeats for similarity",) if _repeated(one) else ()


def _repeated(one: Recording) -> bool:
    return len(np.unique(one.image_ids)) < len(one.image_ids)


def _responses(
    subjects: Sequence[Recording], parts: _Parts, images: NDArray[np.int64], how: RSASettings
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]], Floats]:
    """Subject and label of every column [c, 2], columns [pairs, c] by measure, and the ceiling of RDMs [2, labels]."""
    means = [one.average_repeats() if _repeated(one) else one for one in subjects]
    shown = [
        one.select_presentations(np.flatnonzero(np.isin(one.image_ids, images)), "of images compared") for one in means
    ]
    where, found, ceiling = [], [], np.full((2, len(parts.labels)), np.nan)
    for number, label in enumerate(parts.labels):
        rdms = []
        for subject, (one, places) in enumerate(zip(shown, parts.places, strict=True)):
            if label not in places:
                continue
            chosen = one.select_targets(places[label], f"of {label}").responses
            values = np.asarray(chosen)[np.argsort(one.image_ids)]
            vectors = _vectors(f"{parts.by} {label!s} of {one.subject}", values, how)
            where.append((subject, number))
            found.append(vectors)
            rdms.append(vectors["rsa"])
        if len(rdms) > 1:
            ceiling[:, number] = _ceiling(rdms, how)
    return np.array(where), _side_by_side(found), ceiling


def _ceiling(rdms: Sequence[Any], how: RSASettings) -> tuple[float, float]:
    """Ranks and sizes without their mean are what `rdm_ceiling` would make of the RDMs first."""
    found = rdm_ceiling(rdms, how.comparison)
    return found.lower, found.upper


def _vectors(what: str, X: NDArray[Any], how: RSASettings) -> dict[str, NDArray[np.float32]]:
    """Of X [n, d] the vectors over pairs by measure, of length 1: products of two are scores."""
    from scipy import stats

    try:
        distances = rdm(X, how.distance)
        if np.ptp(distances) == 0:
            raise ValueError("all images are as far from each other")
        compared = stats.rankdata(distances) if how.comparison == "Spearman" else distances
        aligned = centred_products(X)
    except ValueError as error:
        raise ValueError(f"{_OP}: {what}: {error}") from error
    compared = compared - compared.mean()
    return {
        name: (values / np.linalg.norm(values)).astype(np.float32)
        for name, values in (("rsa", compared), ("cka", aligned))
    }


def _side_by_side(vectors: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {measure: np.stack([each[measure] for each in vectors], axis=1) for measure in MEASURES}


def _tested(
    features: NDArray[np.float32], brains: NDArray[np.float32], orders: NDArray[np.int64], subject: NDArray[np.int64]
) -> dict[str, Floats]:
    """Scores "" and their p, "_p" and "_p_max", [features, columns], by orders [permutations, n] of the images.

    Parameters
    ----------
    features, brains : [pairs, features], [pairs, columns]
    subject : [columns], among whose columns and all features the largest score is taken
    """
    n = orders.shape[1]
    upper = np.triu_indices(n, 1)
    place = np.zeros((n, n), dtype=np.int64)
    place[upper] = np.arange(len(features))
    place += place.T
    observed = features.T @ brains
    reached, reached_max = np.zeros(observed.shape), np.zeros(observed.shape)
    for order in orders:
        null = features[place[order[upper[0]], order[upper[1]]]].T @ brains
        reached += null >= observed - _ROUNDING
        largest = null.max(0)
        of_subject = np.array([largest[subject == each].max() for each in range(subject.max() + 1)])
        reached_max += of_subject[subject] >= observed - _ROUNDING
    scores = {"": observed.astype(np.float64)}
    return scores | {
        name: (1 + count) / (1 + len(orders)) for name, count in (("_p", reached), ("_p_max", reached_max))
    }


def _mean_of_known(r: NDArray[Any]) -> Floats:
    """Of [features, targets] the mean over targets that all features have a score at; NaN where there is none."""
    known = r[:, ~np.isnan(r).any(0)]
    return np.asarray(known.mean(1) if known.shape[1] else np.full(len(r), np.nan), dtype=np.float64)


def _best(similar: xr.Dataset, measures: Mapping[str, Floats], where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best layers of every model, objective and kind by each measure [features]."""
    named = [name for name in ("model", "objective", "kind") if name in similar.coords]
    layers, keys = similar.layer.values, list(zip(*(similar[name].values.tolist() for name in named), strict=True))
    rows = []
    for key in dict.fromkeys(keys):
        places = np.array([place for place, each in enumerate(keys) if each == key])
        best = {
            name: None if np.isnan(values[places]).any() else str(layers[places[values[places].argmax()]])
            for name, values in measures.items()
        }
        rows.append({**where, **dict(zip(named, key, strict=True)), **best})
    return rows
