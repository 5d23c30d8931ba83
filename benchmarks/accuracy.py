"""How well projections keep inner products of real per-sample weight gradients: python -m benchmarks.accuracy

For each layer of benchmarks/networks.py the gradients G_i of some photographs are formed, projected to k numbers by
each method under several seeds, and <S G_i, S G_j> compared with <G_i, G_j>: the root mean square error in units of
|G_i| |G_j|, across pairs of photographs and for a photograph with itself. Also the stable rank |G|_F^2 / |G|_2^2, on
which the factored projection's error depends. Nothing is timed. Writes results/accuracy.json.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import gradkern
from benchmarks.conftest import commit, device_name, write
from benchmarks.networks import Network, networks, photographs
from gradkern.kernels import baselines

IMAGES = 16
SEEDS = 12
SIZES = {1024: (32, 32), 4096: (64, 64)}  # k, and the factors of the same output size
DENSE_ENTRIES = 1 << 28  # of a Gaussian matrix: two seconds a draw

Project = Callable[[Tensor, int, int], Tensor]  # gradients [n, o, p], k, seed -> [n, k]


def factors(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """a and g with sum_t g_t a_t^T = G: rows or columns, whichever are fewer, with an identity.

    All the projections are linear in G, so it does not matter which factors they are given. This is the fewest
    positions without a decomposition; a convolution has up to 12,544.
    """
    n, o, p = gradients.shape
    if o <= p:
        return gradients, torch.eye(o).expand(n, o, o)
    return torch.eye(p).expand(n, p, p), gradients.mT


METHODS: dict[str, Project] = {
    "sketch": lambda x, k, seed: gradkern.sketch(x, k, seed=seed),
    "tensor sketch": lambda x, k, seed: baselines.tensor_sketch(*factors(x), k, seed=seed),
    "factored": lambda x, k, seed: baselines.factored(*factors(x), SIZES[k], seed=seed),
    "gaussian": lambda x, k, seed: baselines.gaussian(x, k, seed=seed),
}


def left_out(method: str, k: int, layer: nn.Module, shape: tuple[int, int]) -> str | None:
    """Why a method is not measured at a layer, if it is not."""
    o, p = shape
    if o * p <= k:
        return "the gradient has no more entries than its projection"
    if method in ("factored", "tensor sketch") and getattr(layer, "groups", 1) > 1:
        return "no factors: each group has its own inputs"
    if method == "factored" and (o < SIZES[k][0] or p < SIZES[k][1]):
        return "a side of the gradient is smaller than its factor"
    if method == "gaussian" and o * p * k > DENSE_ENTRIES:
        return f"the matrix has more than {DENSE_ENTRIES} entries"
    return None


def kind(name: str, layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1:
            return "depthwise conv"
        return "1x1 conv" if layer.kernel_size == (1, 1) else "conv"
    names = {"qkv": "attention qkv", "proj": "attention proj", "fc1": "mlp fc1", "fc2": "mlp fc2"}
    return names.get(name.split(".")[-1], "classifier")


def spectra(gradients: Tensor) -> Tensor:
    """Squared singular values of each, ascending, from the smaller Gram matrix."""
    x = gradients.double()
    gram = x @ x.mT if x.shape[1] <= x.shape[2] else x.mT @ x
    return torch.linalg.eigvalsh(gram)


def factored_theory(spectrum: Tensor, k: int) -> float:
    """The closed form of `baselines.factored` for a gradient with itself: |N|^2 = |M|^2 = tr N^2 = sum of s^4."""
    k_o, k_i = SIZES[k]
    fourth = spectrum.square().sum(1) / spectrum.sum(1).square()
    variance = fourth * (2 / k_o + 2 / k_i + 2 / (k_o * k_i)) + 2 / (k_o * k_i)
    return rms(variance.sqrt())


def inner_products(flat: Tensor) -> Tensor:
    flat = flat.flatten(1).double()
    return flat @ flat.T


def rms(values: Tensor) -> float:
    return float(f"{values.square().mean().sqrt():.4g}")


def measure(project: Project, k: int, each: list[Tensor], seeds: range) -> list[list[float]]:
    """[cross, self] for each loss's gradients; they are projected together, because drawing a matrix is what costs."""
    together = torch.cat(each)
    across = ~torch.eye(IMAGES, dtype=torch.bool)
    truths = [inner_products(gradients) for gradients in each]
    units = [truth.diagonal().sqrt().outer(truth.diagonal().sqrt()) for truth in truths]
    errors: list[list[Tensor]] = [[] for _ in each]
    for seed in seeds:
        parts = project(together, k, seed).split(IMAGES)
        for i, part in enumerate(parts):
            errors[i].append((inner_products(part) - truths[i]) / units[i])
    return [[rms(torch.stack(e)[:, across]), rms(torch.stack(e).diagonal(dim1=1, dim2=2))] for e in errors]


def cosines(gradients: Tensor) -> float:
    """Root mean square of the cosines across photographs."""
    truth = inner_products(gradients)
    scale = truth.diagonal().rsqrt()
    return rms((truth * scale.outer(scale))[~torch.eye(len(truth), dtype=torch.bool)])


def about(gradients: Tensor) -> dict[str, Any]:
    """What of one loss's gradients [n, o, p] decides the errors."""
    spectrum = spectra(gradients)
    if not bool((spectrum[:, -1] > 0).all()):
        raise RuntimeError("accuracy: a photograph's gradient is zero")
    ranks = (spectrum.sum(1) / spectrum[:, -1]).quantile(torch.tensor([0, 0.5, 1]).double())
    theory = {f"factored {k}": factored_theory(spectrum, k) for k in SIZES}
    return {"stable_rank": [float(f"{v:.4g}") for v in ranks], "cosine": cosines(gradients), "self_theory": theory}


def layer_rows(network: Network, number: int, gradients: dict[str, Tensor]) -> list[dict[str, Any]]:
    """A row for each loss of a layer: gradients [n, o, p] of each."""
    name, layer = list(network.layers().items())[number]
    each = list(gradients.values())
    shape = tuple(each[0].shape[1:])
    place = {"model": network.name, "layer": name, "kind": kind(name, layer), "shape": shape}
    rows = [{**place, "loss": loss, **about(values), "errors": {}} for loss, values in gradients.items()]
    # each layer its own seeds: layers of one shape would else share their matrices, and their luck
    seeds = range(number * SEEDS, (number + 1) * SEEDS)
    for k in SIZES:
        for method, project in METHODS.items():
            reason = left_out(method, k, layer, shape)
            found = [None] * len(each) if reason else measure(project, k, each, seeds)
            for row, errors in zip(rows, found, strict=True):
                row["errors"][f"{method} {k}"] = errors
                if reason:
                    row.setdefault("null", {})[f"{method} {k}"] = reason
    return rows


def network_rows(network: Network) -> Iterator[dict[str, Any]]:
    images = network.spec.preprocess(photographs(IMAGES))
    gradients = {loss: network.gradients(loss, images) for loss in network.losses}
    for number, name in enumerate(network.layers()):
        reached = {loss: gradients[loss].pop(name) for loss in network.losses if name in gradients[loss]}
        print(f"{network.name} {name}", file=sys.stderr, flush=True)
        yield from layer_rows(network, number, reached)


def main() -> None:
    torch.set_num_threads(1)
    measured = commit()
    rows = [row for network in networks() for row in network_rows(network)]
    head = {"op": "accuracy", "device": device_name("cpu"), "commit": measured, "images": IMAGES, "seeds": SEEDS}
    write("accuracy", head, rows)


if __name__ == "__main__":
    main()
