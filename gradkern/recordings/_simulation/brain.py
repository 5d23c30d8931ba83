"""A simulated brain with a known answer: fMRI and MEG whose signal is planted from features of a model.

Every place of visual cortex has a depth: the share of visual cortex that is nearer to V1, 0 in V1 itself. It prefers
layers of that depth. What
it does with which features, and when, is the organisation that was asked for; what an analysis then finds can be held
against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradkern.recordings._recording import Recording
from gradkern.recordings._simulation.cortex import HCP_ORDER, load_cortex
from gradkern.recordings._simulation.meg_forward import forward_field, sensor_names

ORGANISATIONS = ("forward", "forward-then-backward", "gradient-misplaced", "none")
VISUAL = HCP_ORDER  # areas that respond to images here
_TUNING = 0.15  # standard deviation of the preference for layers, in depth
_SWEEP = (0.08, 0.20)  # s, when layers of depth 0 and 1 are active in the forward sweep
_RETURN = (0.34, 0.22)  # s, when gradients of layers of depth 0 and 1 are; deep first
_LATE = 0.30  # s, of gradients that come without order
_LASTING = 0.025  # s, standard deviation of a response in time
_SMOOTH = 8.0  # mm, standard deviation of the noise's blur over cortex
_SHARED = 0.5  # of a subject's readout, the variance that all subjects have in common; likewise of the noise, blurred
_PERSISTING = 0.3  # correlation of the noise of presentations in a row
_HEAD = np.array([0.0, -18.0, 10.0])  # mm, centre of the head in the coordinates of the cortex
_MOMENT = 1e-8  # Am


@dataclass(frozen=True)
class Brain:
    """What is simulated.

    Parameters
    ----------
    organisation : "forward" (activations alone, shallow layers early and in low areas, deep ones late and in high
        areas), "forward-then-backward" (the same, and then gradients, deep layers first, in the areas of their
        depth), "gradient-misplaced" (the forward sweep, and gradients of all layers at once in high areas, late) or
        "none" (responses to something else about the images)
    subjects : how many, with readouts that are half their own
    repeats : presentations of each image, each in another session
    ceiling : r that the signal itself reaches with the mean over repeats: in every vertex that responds, and in the
        best sensor at its best time
    vertices : of the visual areas, drawn at random
    silent : of other areas, without signal
    times : of the MEG, in s after onset
    seed : of everything
    """

    organisation: str = "forward-then-backward"
    subjects: int = 4
    repeats: int = 3
    ceiling: float = 0.7
    vertices: int = 400
    silent: int = 100
    times: Sequence[float] = field(default_factory=lambda: tuple(np.arange(-2, 27) * 0.02))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.organisation not in ORGANISATIONS:
            raise ValueError(f"Brain: organisation must be one of {ORGANISATIONS}, got {self.organisation!r}")
        if not 0 < self.ceiling < 1:
            raise ValueError(f"Brain: ceiling must lie between 0 and 1, got {self.ceiling}")
        for name, least in (("subjects", 1), ("repeats", 1), ("vertices", 1), ("silent", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"Brain: {name} must be at least {least}, got {getattr(self, name)}")


def simulate_brain(
    features: Mapping[str, Sequence[Any]], brain: Brain | None = None, *, images: Any = None
) -> tuple[list[Recording], list[Recording]]:
    """fMRI and MEG of every subject of a simulated study.

    Parameters
    ----------
    features : "activation", and for organisations with gradients "gradient": of each layer in order, [images, d]
    brain : what to simulate
    images : the image source, for the recordings

    Returns
    -------
    fmri, meg : a recording a subject. `ncsnr` is the true one. Targets of the fMRI tell "depth" (NaN where silent);
        `provenance["truth"]` says what was planted.

    Raises
    ------
    ValueError : layers of different numbers of images, fewer than 2 layers, no gradients where they are needed
    """
    brain = brain or Brain()
    planted = _planted(features, brain)
    random = np.random.default_rng(brain.seed)
    places = _places(brain, random)
    shared = np.random.default_rng(random.integers(2**63))
    fields = _fields()
    common = {name: _readout(planted, len(each), shared) for name, each in (("fmri", places), ("meg", fields[0]))}
    fmri, meg = [], []
    for number in range(1, brain.subjects + 1):
        own = np.random.default_rng(random.integers(2**63))
        fmri.append(_fmri(planted, brain, places, common["fmri"], own, f"simulated {number}", images))
        meg.append(_meg(planted, brain, fields, common["meg"], own, f"simulated {number}", images))
    return fmri, meg


_Layers = dict[str, list[NDArray[np.float64]]]  # by kind: [images, d] of every layer, centred, of variance 1 in all


def _planted(features: Mapping[str, Sequence[Any]], brain: Brain) -> _Layers:
    with_gradients = brain.organisation in ("forward-then-backward", "gradient-misplaced")
    kinds = ("activation", "gradient") if with_gradients else ("activation",)
    for kind in kinds:
        if kind not in features:
            raise ValueError(f"simulate_brain: {brain.organisation!r} needs features of {kind!r}, got {list(features)}")
    shapes = {np.shape(layer)[0] if np.ndim(layer) == 2 else None for kind in kinds for layer in features[kind]}
    counts = {len(features[kind]) for kind in kinds}
    if len(shapes) != 1 or None in shapes or len(counts) != 1 or min(counts) < 2:
        raise ValueError(
            "simulate_brain: features must be as many layers of each kind, at least 2, each [images, d] of the same "
            f"images, got {[[np.shape(layer) for layer in features[kind]] for kind in kinds]}"
        )
    if brain.organisation == "none":
        other = np.random.default_rng([brain.seed, 1])
        return {"activation": [_unit(other.standard_normal((len(x), 50))) for x in features["activation"]]}
    return {kind: [_unit(np.asarray(layer, dtype=np.float64)) for layer in features[kind]] for kind in kinds}


def _unit(layer: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = layer - layer.mean(0)
    size = np.sqrt((centred**2).sum(1).mean())
    if not np.isfinite(size) or size == 0:
        raise ValueError(f"simulate_brain: features must be finite and vary over images, got a size of {size}")
    unit: NDArray[np.float64] = centred / size
    return unit


def _places(brain: Brain, random: np.random.Generator) -> pd.DataFrame:
    """Vertices that respond, with a depth, and silent ones without."""
    cortex = load_cortex()
    visual = cortex["roi"].isin(VISUAL)
    for name, wanted, there in (("vertices", brain.vertices, visual), ("silent", brain.silent, ~visual)):
        if wanted > there.sum():
            raise ValueError(f"Brain: {name} must be at most {there.sum()}, got {wanted}")
    chosen = [
        random.choice(np.flatnonzero(there), count, replace=False)
        for there, count in ((visual, brain.vertices), (~visual, brain.silent))
    ]
    table = cortex.assign(depth=_depth(cortex)).iloc[np.sort(np.concatenate(chosen))].reset_index(drop=True)
    return table.assign(label=[f"{h}.{v}" for h, v in zip(table["hemisphere"], table["vertex"], strict=True)])


def _depth(cortex: pd.DataFrame) -> pd.Series:
    """0 to 1 in visual areas, NaN in others."""
    ranks = cortex["distance"].where(cortex["roi"].isin(VISUAL)).rank(method="min") - 1
    return ranks / ranks.max()


def _fields() -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The visual areas as dipoles at their middle along their mean normal, and the field of each [sensors, areas]."""
    cortex = load_cortex()
    visual = cortex.assign(depth=_depth(cortex)).dropna(subset="depth")
    columns = ["x", "y", "z", "nx", "ny", "nz", "depth"]
    areas = visual.groupby(["hemisphere", "roi"], as_index=False)[columns].mean()
    normals = areas[["nx", "ny", "nz"]].to_numpy()
    moments = _MOMENT * normals / np.linalg.norm(normals, axis=1, keepdims=True)
    forward = forward_field((areas[["x", "y", "z"]].to_numpy() - _HEAD) / 1000, moments)
    return areas, forward


def _readout(planted: _Layers, count: int, random: np.random.Generator) -> dict[str, list[NDArray[np.float64]]]:
    """A random direction in the features of every layer for each of so many places, [d, count]."""
    return {
        kind: [random.standard_normal((layer.shape[1], count)) for layer in layers] for kind, layers in planted.items()
    }


def _preference(depths: NDArray[Any], n_layers: int) -> NDArray[np.float64]:
    """How much each place takes from each layer, [places, layers]; squares add up to 1. Nothing without a depth."""
    layers = np.linspace(0, 1, n_layers)
    weights = np.exp(-((layers - depths[:, None]) ** 2) / (2 * _TUNING**2))
    weights /= np.sqrt((weights**2).sum(1, keepdims=True))
    filled: NDArray[np.float64] = np.nan_to_num(weights)
    return filled


def _shares(brain: Brain, kind: str, depths: NDArray[Any], n_layers: int) -> NDArray[np.float64]:
    """How much each place takes from each layer of a kind, [places, layers]."""
    if kind == "gradient" and brain.organisation == "gradient-misplaced":
        return np.outer(np.nan_to_num(depths) > 0.5, np.full(n_layers, n_layers**-0.5))
    return _preference(depths, n_layers)


def _layer_signals(
    planted: _Layers, brain: Brain, depths: NDArray[Any], common: dict[str, Any], own: np.random.Generator
) -> dict[str, list[NDArray[np.float64]]]:
    """What each place takes from each layer, [images, places], by kind."""
    mine = _readout(planted, len(depths), own)
    found = {}
    for kind, layers in planted.items():
        shares = _shares(brain, kind, depths, len(layers))
        found[kind] = [
            layer @ (np.sqrt(_SHARED) * common[kind][i] + np.sqrt(1 - _SHARED) * mine[kind][i]) * shares[:, i]
            for i, layer in enumerate(layers)
        ]
    return found


def _fmri(
    planted: _Layers,
    brain: Brain,
    places: pd.DataFrame,
    common: dict[str, Any],
    own: np.random.Generator,
    subject: str,
    images: Any,
) -> Recording:
    depths = places["depth"].to_numpy()
    by_layer = _layer_signals(planted, brain, depths, common, own)
    signal = np.sum([layer for layers in by_layer.values() for layer in layers], axis=0)
    size = signal.std(0)
    signal /= np.where(size > 0, size, 1)
    ncsnr = np.where(size > 0, _ncsnr(brain), 0.0)
    rows = _shown(brain, len(signal), own)
    noise = _persist(own.standard_normal((len(rows), len(places))) @ _blur(places), rows)
    return Recording(
        responses=(signal * ncsnr)[rows["image"]].astype(np.float32) + noise.astype(np.float32),
        presentations=rows,
        targets=places[["label", "hemisphere", "vertex", "roi", "x", "y", "z", "distance", "depth"]],
        subject=subject,
        units="standard deviations of the noise",
        space="fs_LR 32k",
        images=images,
        ncsnr=ncsnr,
        history=("simulated fMRI",),
        provenance=_truth(brain, planted),
    )


def _meg(
    planted: _Layers,
    brain: Brain,
    fields: tuple[pd.DataFrame, NDArray[np.float64]],
    common: dict[str, Any],
    own: np.random.Generator,
    subject: str,
    images: Any,
) -> Recording:
    areas, field = fields
    times = np.asarray(brain.times, dtype=np.float64)
    by_layer = _layer_signals(planted, brain, areas["depth"].to_numpy(), common, own)
    signal = np.zeros((len(planted["activation"][0]), len(field), len(times)))
    for kind, layers in by_layer.items():
        at_sensors = np.stack([layer @ field.T for layer in layers])
        # sources that lie deep or face each other would leave some layers unseen
        at_sensors /= at_sensors.std(1).max(1)[:, None, None]
        signal += np.einsum("lis,lt->ist", at_sensors, _courses(brain, kind, len(layers), times))
    scale = _ncsnr(brain) / signal.std(0).max()
    rows = _shown(brain, len(signal), own)
    white = own.standard_normal((len(rows), *signal.shape[1:]))
    from_brain = np.einsum("nat,sa->nst", own.standard_normal((len(rows), len(areas), len(times))), field)
    from_brain /= from_brain.std((0, 2)).mean()
    noise = np.sqrt(_SHARED) * from_brain + np.sqrt(1 - _SHARED) * white
    noise = _persist(_along_time(noise), rows)
    level = noise.std((0, 2), keepdims=True)
    values = (signal * scale)[rows["image"]] + noise / level
    sensors = sensor_names()
    sensor, time = np.repeat(sensors, len(times)), np.tile(times, len(sensors))
    labels = [f"{name} {1000 * at:g} ms" for name, at in zip(sensor, time, strict=True)]
    return Recording(
        responses=values.reshape(len(values), -1).astype(np.float32),
        presentations=rows,
        targets=pd.DataFrame({"label": labels, "sensor": sensor, "time": time}),
        subject=subject,
        units="standard deviations of the noise",
        space="sensors",
        images=images,
        ncsnr=(signal * scale).std(0).ravel(),
        history=("simulated MEG",),
        provenance=_truth(brain, planted),
    )


def _courses(brain: Brain, kind: str, n_layers: int, times: NDArray[Any]) -> NDArray[np.float64]:
    """When the layers of a kind are active, [layers, times]."""
    depth = np.linspace(0, 1, n_layers)
    first, last = _SWEEP if kind == "activation" else _RETURN
    latency = first + (last - first) * depth
    if kind == "gradient" and brain.organisation == "gradient-misplaced":
        latency = np.full(n_layers, _LATE)
    courses: NDArray[np.float64] = np.exp(-((times - latency[:, None]) ** 2) / (2 * _LASTING**2))
    return courses


def _ncsnr(brain: Brain) -> float:
    """Of a presentation, such that the mean over repeats has the ceiling: r^2 = s^2 / (s^2 + 1 / repeats)."""
    r2 = brain.ceiling**2
    return float(np.sqrt(r2 / (1 - r2) / brain.repeats))


def _shown(brain: Brain, n_images: int, own: np.random.Generator) -> pd.DataFrame:
    """Every image once a session, in random order."""
    order = np.concatenate([own.permutation(n_images) for _ in range(brain.repeats)])
    return pd.DataFrame({"image": order, "session": np.repeat(np.arange(1, brain.repeats + 1), n_images)})


def _blur(places: pd.DataFrame) -> NDArray[np.float64]:
    """White noise [n, v] times this [v, v] has variance 1 and is correlated between near vertices."""
    points = places[["x", "y", "z"]].to_numpy()
    squared = ((points[:, None] - points) ** 2).sum(-1)
    covariance = _SHARED * np.exp(-squared / (4 * _SMOOTH**2)) + (1 - _SHARED) * np.eye(len(points))
    factor: NDArray[np.float64] = np.linalg.cholesky(covariance).T
    return factor


def _persist(noise: NDArray[Any], rows: pd.DataFrame) -> NDArray[Any]:
    """Correlated from one presentation of a session to the next, of the same variance."""
    for session in np.unique(rows["session"]):
        at = np.flatnonzero(rows["session"] == session)
        for before, now in pairwise(at):
            noise[now] = _PERSISTING * noise[before] + np.sqrt(1 - _PERSISTING**2) * noise[now]
    return noise


def _along_time(noise: NDArray[Any]) -> NDArray[Any]:
    """Correlated from one sample [..., t] to the next, of the same variance."""
    for now in range(1, noise.shape[-1]):
        noise[..., now] = _SHARED * noise[..., now - 1] + np.sqrt(1 - _SHARED**2) * noise[..., now]
    return noise


def _truth(brain: Brain, planted: _Layers) -> dict[str, Any]:
    n_layers = len(planted["activation"])
    kinds = list(planted) if brain.organisation != "none" else []
    ordered = [kind for kind in kinds if not (kind == "gradient" and brain.organisation == "gradient-misplaced")]
    return {
        "dataset": "simulated",
        "truth": {
            "organisation": brain.organisation,
            "kinds": kinds,  # whose features the responses are made of
            "ordered": ordered,  # of these, the kinds whose layers have places and times of their own
            "ceiling": brain.ceiling,
            "seed": brain.seed,
            "latency_s": {
                kind: ([*_SWEEP] if kind == "activation" else [*_RETURN]) if kind in ordered else [_LATE, _LATE]
                for kind in kinds
            },  # of the first and the last layer
            "layers": n_layers,
        },
    }
