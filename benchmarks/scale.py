"""What the paper's whole study takes, from measured costs of its tasks.

    python -m benchmarks.scale    # writes docs/scale.md

Nothing is measured here: costs are those of `results/` (`encode.py` and `bench_capture.py`), and every one of them is
named on the page. Where a size was not measured, the page says how it was carried there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
_MEASURED_IMAGES, _WIDTH, _FOLDS = 10_000, 1_024, 5
_BATCH = 16  # images of a batch in bench_capture.py
_BLOCKS_MEASURED = 12  # of its models
_HOUR, _TERA = 3600, 1e12


@dataclass(frozen=True)
class Recordings:
    """Recordings of one modality."""

    name: str
    subjects: int
    images: int
    targets: int

    def targets_in_all(self) -> int:
        return self.subjects * self.targets


@dataclass(frozen=True)
class Design:
    """The study that is carried out on paper."""

    models: int = 9
    layers: int = 24
    objectives: int = 5
    images: int = 73_000
    meg_images: int = 22_448
    block: int = 20_000
    recordings: tuple[Recordings, ...] = (
        Recordings("NSD", 8, 10_000, 300_000),
        Recordings("THINGS-MEG", 4, 22_448, 271 * 281),
    )

    @property
    def spaces(self) -> int:
        """Feature spaces that are scored: activations, and gradients of every objective."""
        return self.models * self.layers * (1 + self.objectives)


@dataclass(frozen=True)
class EncodeCost:
    """CPU seconds of a feature space, and of each of its targets, at 10,000 images and 1,024 features."""

    fixed: float
    each: float

    def at(self, images: int) -> "EncodeCost":
        """At another number of images: products with all responses grow with it, those of folds do not.

        A target's products are n d of the responses and f times 3 d^2 of the folds; what comes once is taken to grow
        with the images altogether, which is too much.
        """
        folds = 3 * _FOLDS * _WIDTH
        share = (images + folds) / (_MEASURED_IMAGES + folds)
        return EncodeCost(self.fixed * images / _MEASURED_IMAGES, self.each * share)


def recorded(op: str) -> dict[str, Any]:
    """The recorded file of a benchmark, of the one device that there is."""
    found = [path for path in sorted(RESULTS.glob(f"*-{op}.json")) if json.loads(path.read_text())["op"] == op]
    if len(found) != 1:
        raise FileNotFoundError(f"{RESULTS} must hold one file of {op}, got {[path.name for path in found]}")
    run: dict[str, Any] = json.loads(found[0].read_text())
    return {**run, "file": found[0].name}


def encode_cost(run: dict[str, Any], way: str) -> EncodeCost:
    row = next(row for row in run["rows"] if row["impl"] == way)
    return EncodeCost(row["fixed_seconds"], row["ms_a_target"] / 1e3)


def encode_hours(design: Design, cost: EncodeCost) -> dict[str, float]:
    """Core-hours of all fits of each kind of recordings, in blocks of targets."""
    hours = {}
    for recordings in design.recordings:
        here = cost.at(recordings.images)
        blocks = recordings.subjects * -(-recordings.targets // design.block)
        seconds = design.spaces * (blocks * here.fixed + recordings.targets_in_all() * here.each)
        hours[recordings.name] = seconds / _HOUR
    return hours


def capture_seconds(run: dict[str, Any], case: str) -> float:
    """Core-seconds of an image with activations and gradients of 12 blocks."""
    row = next(row for row in run["rows"] if row["case"] == case and row["impl"] == "activation + gradient")
    return float(row["seconds"][1] * row["threads"] / _BATCH)


def capture_hours(design: Design, seconds: float) -> float:
    """Core-hours of all captures: every objective has a forward and backward pass of its own."""
    images = design.images + design.meg_images
    return design.models * design.objectives * images * seconds * design.layers / _BLOCKS_MEASURED / _HOUR


def terabytes(design: Design) -> dict[str, float]:
    """Features in float32, and scores: r and r2 of every fold."""
    rows = design.images + design.meg_images
    targets = sum(recordings.targets_in_all() for recordings in design.recordings)
    return {
        "features": 4 * _WIDTH * rows * design.spaces / _TERA,
        "scores": 2 * 4 * _FOLDS * targets * design.spaces / _TERA,
    }


def page(design: Design | None = None) -> str:
    """The page, in Markdown."""
    return "\n".join(_lines(design or Design())) + "\n"


def _lines(design: Design) -> Iterator[str]:
    encode, capture = recorded("encode"), recorded("capture")
    sizes = terabytes(design)
    yield "# A study of the paper's size"
    yield ""
    yield (
        "Made by `python -m benchmarks.scale` from measured costs of single tasks. No study of this size has been run."
    )
    yield ""
    yield (
        f"**Design.** {design.models} models of {design.layers} layers, {design.objectives} objectives: "
        f"{design.spaces:,} feature spaces of {_WIDTH:,} numbers an image. "
        + "; ".join(
            f"{part.name}: {part.subjects} subjects, {part.images:,} images each, {part.targets:,} targets"
            for part in design.recordings
        )
        + f". All {design.images:,} images of NSD and {design.meg_images:,} of THINGS are captured. Five folds; "
        f"penalties by generalized cross-validation, as for one row an image; blocks of {design.block:,} targets."
    )
    yield ""
    yield "| what | core-hours |"
    yield "|---|--:|"
    total = 0.0
    for name, hours in encode_hours(design, encode_cost(encode, "gradkern, gcv")).items():
        total += hours
        yield f"| encode, {name} | {hours:,.0f} |"
    yield f"| **encode in all** | **{total:,.0f}** |"
    inner = sum(encode_hours(design, encode_cost(encode, "gradkern")).values())
    yield f"| encode with inner folds that are the other outer folds | {inner:,.0f} |"
    for case in ("ViT-S/16, bfloat16", "ViT-B/16, bfloat16", "ViT-B/16, float32"):
        hours = capture_hours(design, capture_seconds(capture, case))
        yield f"| capture on CPUs, if all models were {case} | {hours:,.0f} |"
    yield ""
    yield (
        f"**Disk.** {sizes['features']:.2f} TB of features and {sizes['scores']:.2f} TB of scores (r and r2 of every "
        "fold, one float32 each), beside the recordings and images."
    )
    yield ""
    yield (
        "**GPUs.** Captures have not been measured on a GPU, so that no number of GPU-hours stands here. Captures of "
        "blocks of images are independent tasks: any number of GPUs may share them."
    )
    yield ""
    yield from _sources(encode, capture, design)


def _sources(encode: dict[str, Any], capture: dict[str, Any], design: Design) -> Iterator[str]:
    yield "## What these numbers rest on"
    yield ""
    yield (
        f"- `{encode['file']}`, commit {encode['commit']}, {encode['device']}: CPU seconds of one thread at "
        f"{_MEASURED_IMAGES:,} images and {_WIDTH:,} features."
    )
    for way in ("gradkern, gcv", "gradkern"):
        cost = encode_cost(encode, way)
        words = "generalized cross-validation" if "gcv" in way else "inner folds that are the other outer folds"
        yield f"  - {words}: {cost.fixed:.1f} s a feature space and block, and {1e3 * cost.each:.2f} ms a target."
    at = encode_cost(encode, "gradkern, gcv").at(design.recordings[1].images)
    yield (
        f"  - carried to {design.recordings[1].images:,} images: {at.fixed:.1f} s and {1e3 * at.each:.2f} ms, by the "
        "number of products."
    )
    yield (
        f"- `{capture['file']}`, commit {capture['commit']}, {capture['device']}: a batch of {_BATCH} images, "
        f"{_BLOCKS_MEASURED} blocks. Carried to {design.layers} layers in proportion; every objective has a forward "
        "and a backward pass of its own."
    )
    yield "- Not counted: reading and decoding of images, unique variance, permutations, verdicts, figures."


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
