"""Simulated fMRI and MEG whose signal is made from features of a model, so that the true answer is known.

Every vertex of visual cortex has a depth, the share of visual cortex that is nearer to V1 (0 in V1 itself), and prefers
layers of that depth. The organisation of the brain says which features it responds to, where and when, so that results
of an analysis can be compared with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern._columns import unit_size
from gradkern.errors import naming
from gradkern.recordings._maps.known import FSLR
from gradkern.recordings._maps.sensors import Sensors, plain_info
from gradkern.recordings._maps.surfaces import SurfaceMesh
from gradkern.recordings._readers.dataset import check_choice
from gradkern.recordings._recording import Recording
from gradkern.recordings._simulation.alternatives import (
    ALTERNATIVES,
    NOISES,
    READOUTS,
    alternative_layers,
    check_arguments,
    noise_sizes,
    read_out,
)
from gradkern.recordings._simulation.cortex import HCP_ORDER, load_cortex
from gradkern.recordings._simulation.meg_forward import forward_field, sensor_info, sensor_names
from gradkern.recordings._targets import sensor_targets

ORGANISATIONS = ("forward", "forward-then-backward", "gradient-misplaced", "none")
_VISUAL = HCP_ORDER  # areas that respond to images
_TUNING = 0.15  # standard deviation, in depth, of a vertex's preference for layers
_FORWARD = (0.08, 0.20)  # s: latencies of layers of depth 0 and 1 in the forward sweep
_BACKWARD = (0.34, 0.22)  # s: latencies of gradients of layers of depth 0 and 1; deep layers come first
_LATE = 0.30  # s: latency of gradients without order
_DURATION = 0.025  # s: standard deviation of a response in time
_SMOOTH = 8.0  # mm: standard deviation of the spatial blur of the noise
_SHARED = 0.5  # share of a readout's variance that subjects have in common, and of the noise's that is blurred
_PERSISTENCE = 0.3  # correlation of the noise between successive presentations
_LEAST, _MOST = 0.1, 0.97  # ceilings that differ between vertices stay within these
_HEAD = np.array([0.0, -18.0, 10.0])  # mm: center of the head in the coordinates of the cortex
_MOMENT = 1e-8  # Am


@dataclass(frozen=True, repr=False)
class Brain:
    """A study to simulate: the organisation of the brains, the numbers of subjects, vertices and repeats, the noise.

    Parameters
    ----------
    organisation : "forward" (activations alone, shallow layers early and in low areas, deep layers late and in high
        areas), "forward-then-backward" (the same, followed by gradients, deep layers first, in the areas of their
        depth), "gradient-misplaced" (the forward sweep, and late gradients of all layers at once in high areas) or
        "none" (responses to properties of the images that the features do not have). Organisations without gradients
        that tests must not take for them, in space and time like "forward": "softmax" (activations in low areas, the
        network's own sharpened softmax in high ones), "category and image statistics" (image statistics in low areas,
        categories in high ones), "image statistics" (they, and their squares in high areas), "difficulty" (the
        forward sweep, and at .3 s in high areas a response to the loss alone)
    subjects : number of subjects; half the variance of a subject's readout is its own
    repeats : number of presentations of each image, each in another session
    ceiling : noise ceiling r of the mean over repeats: in every vertex that responds, and in the best sensor at its
        best time
    vertices : number of vertices of the visual areas, drawn at random
    silent : number of vertices of other areas, without signal
    times : of the MEG, in s after onset
    seed : for all random numbers
    readout : of the forward sweep: "linear", "rectified" (max(d - .3, 0) of a linear readout d), "energy" (d^2) or
        "normalized" (d divided by other places' d); gradients are read linearly
    noise : "even", or "grows with the loss": its standard deviation is 5 times as large for the hardest image as for
        the easiest
    spread : standard deviation of the vertices' ceilings about `ceiling`, within .1 and .97; each subject has its own
    unresponsive : number of further vertices of the visual areas, which have a depth, but no signal
    strength : of gradients, relative to the forward sweep
    """

    organisation: str = "forward-then-backward"
    subjects: int = 4
    repeats: int = 3
    ceiling: float = 0.7
    vertices: int = 400
    silent: int = 100
    times: Sequence[float] = field(default_factory=lambda: tuple(np.arange(-2, 27) * 0.02))
    seed: int = 0
    readout: str = "linear"
    noise: str = "even"
    spread: float = 0.0
    unresponsive: int = 0
    strength: float = 1.0

    @naming("Brain")
    def __post_init__(self) -> None:
        check_choice("organisation", self.organisation, (*ORGANISATIONS, *ALTERNATIVES))
        check_choice("readout", self.readout, READOUTS)
        check_choice("noise", self.noise, NOISES)
        if not 0 < self.ceiling < 1:
            raise ValueError(f"ceiling must lie between 0 and 1, got {self.ceiling}")
        counts = (("subjects", 1), ("repeats", 1), ("vertices", 1), ("silent", 0), ("unresponsive", 0))
        for name, least in (*counts, ("spread", 0), ("strength", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def __repr__(self) -> str:
        others = {"readout": "linear", "noise": "even", "spread": 0.0, "unresponsive": 0, "strength": 1.0}
        changed = [
            f", {name}={getattr(self, name)!r}" for name, usual in others.items() if getattr(self, name) != usual
        ]
        return (
            f"Brain({self.organisation!r}, subjects={self.subjects}, repeats={self.repeats}, ceiling={self.ceiling}, "
            f"vertices={self.vertices}, silent={self.silent}, {len(self.times)} times, seed={self.seed}"
            f"{''.join(changed)})"
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """What `simulate_brain` must be given as `extra`."""
        by_loss = ("loss",) if self.noise != "even" else ()
        return tuple(dict.fromkeys((*ALTERNATIVES.get(self.organisation, ()), *by_loss)))


@naming("simulate_brain")
def simulate_brain(
    features: Mapping[str, Sequence[Any]],
    brain: Brain | None = None,
    *,
    images: Any = None,
    extra: Mapping[str, Any] | None = None,
) -> tuple[list[Recording], list[Recording]]:
    """Simulated fMRI and MEG of every subject.

    Parameters
    ----------
    features : "activation" and, for organisations with gradients, "gradient": [images, d] for each layer in order
    brain : the study to simulate
    images : the image source of the recordings
    extra : what `brain.needs` names: "logits" [images, classes], "categories" [images] of any type, "image statistics"
        [images, s], "loss" [images]

    Returns
    -------
    fmri, meg : one recording per subject. `ncsnr` is the true value. Targets of the fMRI have a "depth" (NaN if
        silent), and `provenance["truth"]` describes the simulated signal

    Raises
    ------
    ValueError : layers have different numbers of images, there are fewer than 2 layers, or gradients or what the brain
        needs is missing
    """
    brain = brain or Brain()
    planted = _planted(features, brain, extra)
    random = np.random.default_rng(brain.seed)
    places = _vertices(brain, random)
    shared = np.random.default_rng(random.integers(2**63))
    fields = _fields()
    common = {name: _readout(planted, len(table), shared) for name, table in (("fmri", places), ("meg", fields[0]))}
    fmri, meg = [], []
    for number in range(1, brain.subjects + 1):
        own = np.random.default_rng(random.integers(2**63))
        fmri.append(_fmri(planted, brain, places, common["fmri"], own, f"simulated {number}"))
        meg.append(_meg(planted, brain, fields, common["meg"], own, f"simulated {number}"))
    fmri, meg = ([replace(recording, images=images) for recording in recordings] for recordings in (fmri, meg))
    return fmri, meg


@dataclass(frozen=True)
class _Planted:
    """What responses are made from.

    Attributes
    ----------
    layers : by kind: [images, d] of every layer, centered, with total variance 1
    noise : [images], standard deviations of the noise; None where they are all 1
    """

    layers: dict[str, list[NDArray[np.float64]]]
    noise: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.layers["activation"][0])

    def louder(self, noise: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
        """Noise [rows, ...] of the sizes of the rows' images."""
        if self.noise is None:
            return noise
        louder: NDArray[Any] = noise * self.noise[images].reshape(-1, *[1] * (noise.ndim - 1))
        return louder


def _planted(features: Mapping[str, Sequence[Any]], brain: Brain, extra: Mapping[str, Any] | None) -> _Planted:
    with_gradients = brain.organisation in ("forward-then-backward", "gradient-misplaced")
    kinds = ("activation", "gradient") if with_gradients else ("activation",)
    for kind in kinds:
        if kind not in features:
            raise ValueError(f"{brain.organisation!r} needs features of {kind!r}, got {list(features)}")
    shapes = {np.shape(layer)[0] if np.ndim(layer) == 2 else None for kind in kinds for layer in features[kind]}
    counts = {len(features[kind]) for kind in kinds}
    if len(shapes) != 1 or None in shapes or len(counts) != 1 or min(counts) < 2:
        raise ValueError(
            "features must be as many layers of each kind, at least 2, each [images, d] of the same "
            f"images, got {[[np.shape(layer) for layer in features[kind]] for kind in kinds]}"
        )
    n = len(features["activation"][0])
    given = check_arguments(extra, brain.needs, n)
    noise = noise_sizes(given["loss"]) if brain.noise != "even" else None
    if brain.organisation == "none":
        other = np.random.default_rng([brain.seed, 1])
        unknown = [_unit_scale(other.standard_normal((n, 50))) for _ in features["activation"]]
        return _Planted({"activation": unknown}, noise)
    layers = {kind: [_unit_scale(np.asarray(layer, dtype=np.float64)) for layer in features[kind]] for kind in kinds}
    if brain.organisation in ALTERNATIVES:
        read = alternative_layers(brain.organisation, layers["activation"], given, brain.seed)
        layers = {"activation": [_unit_scale(layer) for layer in read]}
    if brain.organisation == "difficulty":
        layers["difficulty"] = [_unit_scale(np.asarray(given["loss"], dtype=np.float64)[:, None])]
    return _Planted(layers, noise)


def _unit_scale(layer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features centered over images, divided by the root mean square of the images' norms."""
    size = unit_size(layer)
    if not np.isfinite(size) or size == 0:
        raise ValueError(f"features must be finite and vary over images, got a size of {size}")
    unit: NDArray[np.float64] = (layer - layer.mean(0)) / size
    return unit


def _vertices(brain: Brain, random: np.random.Generator) -> pd.DataFrame:
    """Vertices of visual areas, which have a depth, and respond or not, and silent vertices, which have none."""
    cortex = load_cortex()
    visual = cortex["roi"].isin(_VISUAL)
    pools = (("vertices", brain.vertices + brain.unresponsive, visual), ("silent", brain.silent, ~visual))
    for name, count, pool in pools:
        if count > pool.sum():
            raise ValueError(f"{name} must be at most {pool.sum()}, got {count}")
    counts = (brain.vertices, brain.silent)
    chosen = [
        random.choice(np.flatnonzero(pool), count, replace=False)
        for count, (_, _, pool) in zip(counts, pools, strict=True)
    ]
    if brain.unresponsive:
        left = np.setdiff1d(np.flatnonzero(visual), chosen[0])
        chosen.append(random.choice(left, brain.unresponsive, replace=False))
    responds = np.isin(np.arange(len(cortex)), chosen[0])
    table = (
        cortex.assign(depth=_depth(cortex), responds=responds)
        .iloc[np.sort(np.concatenate(chosen))]
        .reset_index(drop=True)
    )
    return table.assign(label=[f"{h}.{v}" for h, v in zip(table["hemisphere"], table["vertex"], strict=True)])


def _depth(cortex: pd.DataFrame) -> pd.Series:
    """Depth of every vertex: 0 to 1 in visual areas, NaN in others."""
    ranks = cortex["distance"].where(cortex["roi"].isin(_VISUAL)).rank(method="min") - 1
    return ranks / ranks.max()


def _fields() -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The visual areas as dipoles at their center along their mean normal, and their fields [sensors, areas]."""
    cortex = load_cortex()
    visual = cortex.assign(depth=_depth(cortex)).dropna(subset="depth")
    columns = ["x", "y", "z", "nx", "ny", "nz", "depth"]
    areas = visual.groupby(["hemisphere", "roi"], as_index=False)[columns].mean()
    normals = areas[["nx", "ny", "nz"]].to_numpy()
    moments = _MOMENT * normals / np.linalg.norm(normals, axis=1, keepdims=True)
    forward = forward_field((areas[["x", "y", "z"]].to_numpy() - _HEAD) / 1000, moments)
    return areas, forward


def _readout(planted: _Planted, count: int, random: np.random.Generator) -> dict[str, list[NDArray[np.float64]]]:
    """Random directions in the features of every layer, [d, count]: one for each vertex or area."""
    return {
        kind: [random.standard_normal((layer.shape[1], count)) for layer in layers]
        for kind, layers in planted.layers.items()
    }


def _preference(depths: NDArray[Any], n_layers: int) -> NDArray[np.float64]:
    """Weights of the layers, [places, layers], whose squares add up to 1; all are 0 without a depth."""
    layers = np.linspace(0, 1, n_layers)
    weights = np.exp(-((layers - depths[:, None]) ** 2) / (2 * _TUNING**2))
    weights /= np.sqrt((weights**2).sum(1, keepdims=True))
    filled: NDArray[np.float64] = np.nan_to_num(weights)
    return filled


def _is_ordered(brain: Brain, kind: str) -> bool:
    """Whether layers of a kind differ in place and time; else they respond late, in high areas, all at once."""
    return kind != "difficulty" and (kind, brain.organisation) != ("gradient", "gradient-misplaced")


def _shares(brain: Brain, kind: str, depths: NDArray[Any], n_layers: int) -> NDArray[np.float64]:
    """Weights of the layers of a kind, [places, layers]."""
    if not _is_ordered(brain, kind):
        return np.outer(np.nan_to_num(depths) > 0.5, np.full(n_layers, n_layers**-0.5))
    return _preference(depths, n_layers)


def _layer_signals(
    planted: _Planted, brain: Brain, depths: NDArray[Any], common: dict[str, Any], own: np.random.Generator
) -> dict[str, list[NDArray[np.float64]]]:
    """The signal of every layer in every place, [images, places], by kind."""
    individual = _readout(planted, len(depths), own)
    signals = {}
    for kind, layers in planted.layers.items():
        shares = _shares(brain, kind, depths, len(layers))
        drives = [
            layer @ (np.sqrt(_SHARED) * common[kind][i] + np.sqrt(1 - _SHARED) * individual[kind][i])
            for i, layer in enumerate(layers)
        ]
        readout = brain.readout if kind == "activation" else "linear"
        signals[kind] = [read_out(drive, readout) * shares[:, i] for i, drive in enumerate(drives)]
    return signals


def _fmri(
    planted: _Planted,
    brain: Brain,
    places: pd.DataFrame,
    common: dict[str, Any],
    own: np.random.Generator,
    subject: str,
) -> Recording:
    ceilings = _ceilings(brain, len(places), own)
    depths = places["depth"].to_numpy()
    by_layer = _layer_signals(planted, brain, depths, common, own)
    weighted = [layer * _weight(brain, kind) for kind, layers in by_layer.items() for layer in layers]
    signal = np.sum(weighted, axis=0) * places["responds"].to_numpy()
    size = signal.std(0)
    signal /= np.where(size > 0, size, 1)
    ncsnr = np.where(size > 0, _ncsnr(ceilings, brain.repeats), 0.0)
    rows = _shown(brain, len(signal), own)
    noise = _persist(own.standard_normal((len(rows), len(places))) @ _blur(places), rows)
    noise = planted.louder(noise, rows["image"].to_numpy())
    return Recording(
        responses=(signal * ncsnr)[rows["image"]].astype(np.float32) + noise.astype(np.float32),
        presentations=rows,
        targets=places[["label", "hemisphere", "vertex", "roi", "x", "y", "z", "distance", "depth"]],
        subject=subject,
        units="standard deviations of the noise",
        space="fs_LR 32k",
        ncsnr=ncsnr,
        history=("simulated fMRI",),
        provenance=_truth(brain, planted),
        geometry=SurfaceMesh(dict.fromkeys(("left", "right"), FSLR), "fs_LR 32k"),
    )


def _meg(
    planted: _Planted,
    brain: Brain,
    fields: tuple[pd.DataFrame, NDArray[np.float64]],
    common: dict[str, Any],
    own: np.random.Generator,
    subject: str,
) -> Recording:
    areas, field = fields
    times = np.asarray(brain.times, dtype=np.float64)
    by_layer = _layer_signals(planted, brain, areas["depth"].to_numpy(), common, own)
    signal = np.zeros((len(planted), len(field), len(times)))
    for kind, layers in by_layer.items():
        at_sensors = np.stack([layer @ field.T for layer in layers])
        # else layers whose sources are deep, or cancel each other, would not be visible
        at_sensors /= at_sensors.std(1).max(1)[:, None, None]
        at_sensors *= _weight(brain, kind)
        signal += np.einsum("lis,lt->ist", at_sensors, _courses(brain, kind, len(layers), times))
    scale = _ncsnr(brain.ceiling, brain.repeats) / signal.std(0).max()
    rows = _shown(brain, len(signal), own)
    white = own.standard_normal((len(rows), *signal.shape[1:]))
    from_brain = np.einsum("nat,sa->nst", own.standard_normal((len(rows), len(areas), len(times))), field)
    from_brain /= from_brain.std((0, 2)).mean()
    noise = np.sqrt(_SHARED) * from_brain + np.sqrt(1 - _SHARED) * white
    noise = planted.louder(_persist(_along_time(noise), rows), rows["image"].to_numpy())
    level = noise.std((0, 2), keepdims=True)
    values = (signal * scale)[rows["image"]] + noise / level
    return Recording(
        responses=values.reshape(len(values), -1).astype(np.float32),
        presentations=rows,
        targets=sensor_targets(sensor_names(), times),
        subject=subject,
        units="standard deviations of the noise",
        space="sensors",
        ncsnr=(signal * scale).std(0).ravel(),
        history=("simulated MEG",),
        provenance=_truth(brain, planted),
        geometry=Sensors(sensor_names(), None, _helmet()),
    )


@lru_cache
def _helmet() -> dict[str, Any]:
    return plain_info(sensor_info())


def _courses(brain: Brain, kind: str, n_layers: int, times: NDArray[Any]) -> NDArray[np.float64]:
    """Time courses of the layers of a kind, [layers, times]."""
    depth = np.linspace(0, 1, n_layers)
    first, last = _FORWARD if kind == "activation" else _BACKWARD
    latency = first + (last - first) * depth
    if not _is_ordered(brain, kind):
        latency = np.full(n_layers, _LATE)
    courses: NDArray[np.float64] = np.exp(-((times - latency[:, None]) ** 2) / (2 * _DURATION**2))
    return courses


def _weight(brain: Brain, kind: str) -> float:
    return brain.strength if kind == "gradient" else 1.0


def _ceilings(brain: Brain, count: int, own: np.random.Generator) -> NDArray[np.float64]:
    """The ceilings of vertices; what they draw leaves the other random numbers of a subject as they are."""
    if brain.spread == 0:
        return np.full(count, brain.ceiling)
    drawn = own.spawn(1)[0].standard_normal(count)
    return np.clip(brain.ceiling + brain.spread * drawn, _LEAST, _MOST)


def _ncsnr(ceiling: Any, repeats: int) -> Any:
    """The ncsnr s with which the mean over repeats has the ceiling r: r^2 = s^2 / (s^2 + 1 / repeats)."""
    r2 = ceiling**2
    return np.sqrt(r2 / (1 - r2) / repeats)


def _shown(brain: Brain, n_images: int, own: np.random.Generator) -> pd.DataFrame:
    """Every image once per session, in random order."""
    order = np.concatenate([own.permutation(n_images) for _ in range(brain.repeats)])
    return pd.DataFrame({"image": order, "session": np.repeat(np.arange(1, brain.repeats + 1), n_images)})


def _blur(places: pd.DataFrame) -> NDArray[np.float64]:
    """A factor [v, v]: white noise [n, v] times it has variance 1 and is correlated between near vertices."""
    points = places[["x", "y", "z"]].to_numpy()
    squared = ((points[:, None] - points) ** 2).sum(-1)
    covariance = _SHARED * np.exp(-squared / (4 * _SMOOTH**2)) + (1 - _SHARED) * np.eye(len(points))
    factor: NDArray[np.float64] = np.linalg.cholesky(covariance).T
    return factor


def _persist(noise: NDArray[Any], rows: pd.DataFrame) -> NDArray[Any]:
    """Noise of the same variance, correlated from one presentation of a session to the next."""
    for session in np.unique(rows["session"]):
        for before, now in pairwise(np.flatnonzero(rows["session"] == session)):
            noise[now] = _PERSISTENCE * noise[before] + np.sqrt(1 - _PERSISTENCE**2) * noise[now]
    return noise


def _along_time(noise: NDArray[Any]) -> NDArray[Any]:
    """Noise of the same variance, correlated from one sample [..., t] to the next."""
    for now in range(1, noise.shape[-1]):
        noise[..., now] = _SHARED * noise[..., now - 1] + np.sqrt(1 - _SHARED**2) * noise[..., now]
    return noise


def _truth(brain: Brain, planted: _Planted) -> dict[str, Any]:
    without = brain.organisation in ("none", "image statistics", "category and image statistics")
    kinds = [kind for kind in planted.layers if not (kind == "activation" and without) and _weight(brain, kind) > 0]
    ordered = [kind for kind in kinds if _is_ordered(brain, kind)]
    return {
        "dataset": "simulated",
        "truth": {
            "organisation": brain.organisation,
            "kinds": kinds,  # of features that responses are made from
            "ordered": ordered,  # kinds whose layers differ in place and time
            "readout": brain.readout,
            "noise": brain.noise,
            "ceiling": brain.ceiling,
            "seed": brain.seed,
            "latency_s": {
                kind: ([*_FORWARD] if kind == "activation" else [*_BACKWARD]) if kind in ordered else [_LATE, _LATE]
                for kind in kinds
            },  # of the first and the last layer
            "layers": len(planted.layers["activation"]),
        },
    }
