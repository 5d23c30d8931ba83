"""Draw the figures of the guides from the recorded results: python -m benchmarks.table calls this.

A figure holds the hash of the numbers that it shows, by which tests know whether it is that of the results of today.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.conftest import RESULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = RESULTS.parents[1] / "docs" / "images"
BLUE, ORANGE, GREY = "#2b6190", "#c9611a", "#777777"
STYLE = {"svg.hashsalt": "gradkern", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False}
Points = dict[str, list[Any]]


def results(stem: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((RESULTS / f"{stem}.json").read_text())
    return recorded


def sketch_error() -> Points:
    """Method and k -> the rms error of cosines between per-image gradients, at every layer of real networks."""
    rows = results("accuracy")["rows"]
    names = [f"{method} {k}" for k in (1024, 4096) for method in ("sketch", "gaussian", "tensor sketch", "factored")]
    return {name: [row["errors"][name][0] for row in rows if row["errors"][name]] for name in names}


def draw_sketch_error(axis: "Axes", points: Points) -> None:
    for i, errors in enumerate(points.values()):
        axis.boxplot([errors], positions=[i + i // 4], widths=0.6, sym=".", medianprops={"color": ORANGE})
        axis.text(i + i // 4, 0.0105, f"{median(errors):.3f}", ha="center", fontsize=9)
    for at, k in ((0, 1024), (5, 4096)):
        axis.plot([at - 0.5, at + 3.5], 2 * [k**-0.5], "--", color=BLUE, label="1 / sqrt(k)" if not at else None)
    names = [name.rpartition(" ")[0].replace(" ", "\n") for name in points]
    axis.set(yscale="log", ylim=(0.0095, 0.4), ylabel="rms error of cosines", yticks=[0.01, 0.03, 0.1, 0.3])
    axis.set_yticklabels(["0.01", "0.03", "0.1", "0.3"])
    axis.set_xticks([i + i // 4 for i in range(len(points))], names)
    for at, k in ((1.5, "1,024"), (6.5, "4,096")):
        axis.text(at, 0.3, f"k = {k}", ha="center")
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.9))


def ridge_time() -> Points:
    """Problem -> seconds of himalaya, of an eigendecomposition with a loop over alphas, and of gradkern."""
    names = {
        "4000x1024-v20000-a10": "4,000 x 1,024\n20,000 targets\n10 alphas",
        "4000x1024-v20000-a20": "4,000 x 1,024\n20,000 targets\n20 alphas",
        "2860x100-v5438-a100": "2,860 x 100\n5,438 targets\n100 alphas",
    }
    points: Points = {}
    for row in results("amd-epyc-2-cores-ridge")["rows"]:
        if row["case"] in names and row["threads"] == 2:
            seconds = points.setdefault(names[row["case"]], [None, None, None])
            seconds[0 if row["impl"] == "himalaya" else 1] = row["seconds"][1]
            if row["impl"] == "himalaya":
                seconds[2] = row["rival_seconds"][1]
    return points


def draw_ridge_time(axis: "Axes", points: Points) -> None:
    names = ("himalaya", "one eigendecomposition, a loop over alphas", "gradkern")
    for j, (name, color) in enumerate(zip(names, (GREY, BLUE, ORANGE), strict=True)):
        at = [i + 0.27 * (j - 1) for i in range(len(points))]
        seconds = [values[j] for values in points.values()]
        axis.bar(at, seconds, width=0.25, color=color, label=name)
        for x, y in zip(at, seconds, strict=True):
            axis.text(x, y * 1.1, f"{y:.2g}", ha="center", fontsize=9)
    axis.set(yscale="log", ylabel="seconds", ylim=(0.05, 1500))
    axis.set_xticks(range(len(points)), list(points))
    axis.legend(frameon=False, loc="upper right", fontsize=9)


def found_without_gradients() -> Points:
    """Simulated brain -> of how many studies "beyond everything" is supported, their number, and its truth."""
    counts: dict[str, list[Any]] = {}
    for row in results("alternatives")["rows"]:
        if row["id"] == "gradient-predicts-fmri-beyond:everything":
            name = row["organisation"].removesuffix(", cross-entropy").removesuffix(", feature norm")
            tally = counts.setdefault(name, [0, 0, row["expected"]])
            tally[0] += row["found"]
            tally[1] += row["runs"]
    return dict(sorted(counts.items(), key=lambda item: item[1][2] == "false"))


def draw_found(axis: "Axes", points: Points) -> None:
    from scipy.stats import binomtest

    for i, (supported, runs, truth) in enumerate(points.values()):
        interval = binomtest(supported, runs).proportion_ci()
        color = BLUE if truth == "false" else ORANGE
        axis.plot([interval.low, interval.high], [i, i], color=color, lw=2, alpha=0.5)
        axis.plot(supported / runs, i, "o", color=color)
        axis.text(1.03, i, f"{supported} of {runs}", va="center", fontsize=9)
    axis.axvline(0.05, color=GREY, linestyle="--", lw=1)
    axis.text(0.06, len(points) - 0.4, "level", color=GREY, fontsize=9)
    axis.set(xlim=(-0.02, 1.02), xlabel='share of studies in which "beyond everything" is supported')
    axis.set_yticks(range(len(points)), list(points))
    axis.set_ylim(-0.6, len(points))


def power_of_order() -> Points:
    """Test -> (ceiling, rate, low, high) in brains whose gradients follow in the order of backpropagation."""
    names = {
        "gradient-has-temporal-order": "order in time",
        "gradient-has-spatial-order": "order over cortex",
        "gradient-later-than-activation": "later than activations",
    }
    run = results("power-verdict")
    usual = run["base"]["images"], run["base"]["subjects"], "forward-then-backward"
    rows = [row for row in run["rows"] if (row["images"], row["subjects"], row["organisation"]) == usual]
    return {
        name: sorted([row["ceiling"], row["rate"], row["low"], row["high"]] for row in rows if row["id"] == id)
        for id, name in names.items()
    }


def draw_power_of_order(axis: "Axes", points: Points) -> None:
    for shift, color, (name, rates) in zip((-0.006, 0, 0.006), (BLUE, ORANGE, GREY), points.items(), strict=True):
        ceilings = [row[0] + shift for row in rates]
        axis.plot(ceilings, [row[1] for row in rates], "o-", color=color, label=name)
        axis.vlines(ceilings, [row[2] for row in rates], [row[3] for row in rates], color=color, alpha=0.5)
    axis.axhline(0.8, color=GREY, linestyle="--", lw=1)
    axis.set(xlabel="noise ceiling (r)", ylabel="share of studies that find it", ylim=(-0.02, 1.03))
    axis.legend(frameon=False, loc="lower right")


FIGURES: dict[str, tuple[Callable[[], Points], Callable[["Axes", Points], None], tuple[float, float]]] = {
    "sketch-error": (sketch_error, draw_sketch_error, (7.5, 3.4)),
    "ridge-time": (ridge_time, draw_ridge_time, (7.5, 3.4)),
    "found-without-gradients": (found_without_gradients, draw_found, (7.5, 4.2)),
    "power-of-order": (power_of_order, draw_power_of_order, (7.5, 3.4)),
}


def path_of(name: str) -> Path:
    return IMAGES / f"{name}.svg"


def hash_of(points: Points) -> str:
    return hashlib.sha256(json.dumps(points).encode()).hexdigest()[:12]


def main() -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    with mpl.rc_context(STYLE):
        for name, (numbers, draw, size) in FIGURES.items():
            points = numbers()
            figure, axis = plt.subplots(figsize=size, layout="constrained")
            draw(axis, points)
            figure.savefig(path_of(name), metadata={"Date": None, "Description": f"data {hash_of(points)}"})
            plt.close(figure)
            print(path_of(name).relative_to(RESULTS.parents[1]))


if __name__ == "__main__":
    main()
