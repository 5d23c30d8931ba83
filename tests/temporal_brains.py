"""MEG of small simulated brains whose gradients come in order, all at once, or not at all.

The deepest gradients can be read from the activations of the last layer, as those of real networks can.
"""

from typing import Any

import numpy as np

LAYERS, IMAGES, WIDTH, SENSORS = 5, 240, 6, 6
DEPTH = np.linspace(0, 1, LAYERS)
TIMES = np.round(np.arange(-0.05, 0.6, 0.025), 4)
NAMES = np.repeat([f"MEG{number}" for number in range(SENSORS)], len(TIMES))
AT = np.tile(TIMES, SENSORS)
LATENCY = 0.3  # s, of the gradients on average
SWEEP = 0.16  # s, from the last gradient layer to the first
READABLE = np.array([0.0, 0.0, 0.3, 0.6, 0.95])  # share of a gradient's variance that is one of the last activations


def features(seed: int = 0) -> dict[str, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    activations = [random.standard_normal((IMAGES, WIDTH)) for _ in range(LAYERS)]
    gradients = []
    for share in READABLE:
        own = random.standard_normal((IMAGES, WIDTH))
        mixed = activations[-1] @ np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]
        gradients.append(np.sqrt(1 - share) * own + np.sqrt(share) * mixed)
    return {"activation": activations, "gradient": gradients}


def bump(latency: float) -> np.ndarray:
    return np.exp(-((TIMES - latency) ** 2) / (2 * 0.035**2))


def readout(X: np.ndarray, random: np.random.Generator) -> np.ndarray:
    signal = X @ random.standard_normal((X.shape[1], SENSORS))
    return signal / signal.std(0)


def responses(made: dict[str, Any], gradients: str, seed: int, noise: float = 0.6) -> np.ndarray:
    """[n, v], of sensors and times NAMES and AT. `gradients`: "in order", "at once" or "none"."""
    random = np.random.default_rng(seed)
    Y = np.zeros((IMAGES, SENSORS, len(TIMES)))
    for depth, activation, gradient in zip(DEPTH, made["activation"], made["gradient"], strict=True):
        Y += readout(activation, random)[:, :, None] * bump(0.08 + 0.1 * depth)
        read = readout(gradient, random)[:, :, None]
        if gradients != "none":
            Y += read * bump(LATENCY - (SWEEP * (depth - 0.5) if gradients == "in order" else 0))
    white = random.standard_normal(Y.shape)
    for now in range(1, len(TIMES)):
        white[..., now] = 0.5 * white[..., now - 1] + np.sqrt(0.75) * white[..., now]
    return (Y + noise * white).reshape(IMAGES, -1)
