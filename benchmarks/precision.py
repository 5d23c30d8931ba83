"""What narrower products do to RidgeCV's scores: python -m benchmarks.precision

Operands are rounded as tensor cores round them (to the nearest, and for the worst case towards zero), by emulation: not
run on a GPU. The truth is the same call in float64. Nothing is timed. Prints the table of docs/ridge.md.
"""

import warnings
from contextlib import nullcontext

import torch
from torch import Tensor

import gradkern
from tests.narrow import Narrow

ALPHAS = torch.logspace(0, 6, 20)
SHAPES = {"n < d": (400, 800), "few features": (400, 60)}
DESIGNS = ("power law", "condition 1e8", "duplicated columns", "offset of 100 sd", *SHAPES)
PRODUCTS = {
    "float32": None,
    "tf32": ("tf32", True),
    "tf32, truncated": ("tf32", False),
    "bfloat16": ("bfloat16", True),
    "bfloat16, truncated": ("bfloat16", False),
}


def inputs(design: str) -> tuple[Tensor, Tensor]:
    """X [2000, 512], or of `SHAPES`, and 500 targets from pure noise to r about 0.6."""
    (n, d), v = SHAPES.get(design, (2000, 512)), 500
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -4, d) if design == "condition 1e8" else torch.arange(1, d + 1).float() ** -0.5
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    x = torch.randn(n, d, generator=generator) * scale @ basis
    if design == "duplicated columns":
        x[:, d // 2 :] = x[:, : d // 2]
    signal = x @ torch.randn(d, v, generator=generator)
    y = signal / signal.std(0) * torch.linspace(0, 0.75, v) + torch.randn(n, v, generator=generator)
    return (x + 100 if design == "offset of 100 sd" else x), y


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| products | design | same alphas | R2 at the best alpha | R2 at any alpha |\n|---|---|---|---|---|")
    for design in DESIGNS:
        x, y = inputs(design)
        true = gradkern.RidgeCV(ALPHAS, store_scores=True).fit(x.double(), y.double())
        best = true.scores_.argmax(0, keepdim=True)
        for products, options in PRODUCTS.items():
            with Narrow(*options) if options else nullcontext():
                ours = gradkern.RidgeCV(ALPHAS, store_scores=True).fit(x, y)
            same = float((ours.alpha_ == true.alpha_).double().mean())
            error = (ours.scores_ - true.scores_).abs()
            at_best, at_any = float(error.gather(0, best).max()), float(error.max())
            print(f"| {products} | {design} | {same:.1%} | {at_best:.0e} | {at_any:.0e} |")


if __name__ == "__main__":
    main()
