"""Write the recorded results as pages and figures of the documentation: python -m benchmarks.table"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import figures, scale
from benchmarks.conftest import RESULTS

PROJECTED = ("sketch", "tensor sketch", "factored")  # measured at the same layers; the dense Gaussian at some of them
SELF_THEORY = {
    "sketch": lambda k: f"{(2 / k) ** 0.5:.4f}",
    "gaussian": lambda k: f"{(2 / k) ** 0.5:.4f}",
    "tensor sketch": lambda k: f"at most {(11 / k) ** 0.5:.4f}",
}


def timing(run: dict[str, Any]) -> Iterator[str]:
    """A row for each case and call, a column for each number of threads."""
    threads = sorted({row["threads"] for row in run["rows"]})
    columns = " | ".join(f"{count} thread{'s' * (count > 1)}" for count in threads)
    yield f"| case | call | beside | {columns} |"
    yield "|---|---|---|" + "---|" * len(threads)
    found = {(row["case"], row["impl"], row["rival"], row["threads"]): row for row in run["rows"]}
    for case, impl, rival in dict.fromkeys(key[:3] for key in found):
        cells = [timing_cell(found.get((case, impl, rival, count))) for count in threads]
        yield f"| {case} | {impl} | {rival} | {' | '.join(cells)} |"


def timing_cell(row: dict[str, Any] | None) -> str:
    """Median milliseconds of the call and of what is beside it, and the ratio; memory; what others took, if much."""
    if row is None:
        return "–"
    ours, theirs = (f"{1000 * row[key][1]:,.4g}" for key in ("seconds", "rival_seconds"))
    low, ratio, high = (f"{value:.3g}" for value in row["ratio"])
    taken = f"; others took {row['others_share']:.0%}" if row["others_share"] >= 0.05 else ""
    memory = "; {:.4g} / {:.4g} MB an image".format(*row["mb_per_image"]) if "mb_per_image" in row else ""
    memory += f"; {row['extra_mb']:,} MB beside X and Y" if "extra_mb" in row else ""
    memory += f"; opened in {row['open_seconds']} s, {row['open_mb']} MB" if "open_mb" in row else ""
    return f"{ours} / {theirs} ms: **{ratio}** [{low}, {high}]{memory}{taken}"


def accuracy(run: dict[str, Any]) -> Iterator[str]:
    """Errors over the layers of each model and loss, then over the layers of each kind."""
    cases = list(dict.fromkeys((row["model"], row["loss"]) for row in run["rows"]))
    methods = [(int(k), method) for method, _, k in (key.rpartition(" ") for key in run["rows"][0]["errors"])]
    yield "| model, loss | k | method | layers | across: median | worst | theory | self: median | worst | theory |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for case in cases:
        rows = [row for row in run["rows"] if (row["model"], row["loss"]) == case]
        yield from (f"| {', '.join(case)} | {k} | {summary(rows, method, k)} |" for k, method in methods)
    largest = max(k for k, _ in methods)
    names = [f"{method} {largest}" for method in PROJECTED]
    yield ""
    columns = " | ".join(f"{name}: across, self" for name in names)
    yield f"| model, loss | layers of a kind | stable rank [range] | {columns} |"
    yield "|---|---|---|" + "---|" * len(names)
    for case in cases:
        rows = [row for row in run["rows"] if (row["model"], row["loss"]) == case]
        for kind in dict.fromkeys(row["kind"] for row in rows):
            chosen = [row for row in rows if row["kind"] == kind]
            ranks = [row["stable_rank"][1] for row in chosen]
            rank = f"{median(ranks):.2f} [{min(ranks):.2f}, {max(ranks):.2f}]"
            errors = " | ".join(across_and_self(chosen, name) for name in names)
            yield f"| {', '.join(case)} | {len(chosen)} {kind} | {rank} | {errors} |"


def summary(rows: list[dict[str, Any]], method: str, k: int) -> str:
    """Over the layers that all of PROJECTED were measured at."""
    name = f"{method} {k}"
    common = [row for row in rows if all(row["errors"][f"{other} {k}"] for other in PROJECTED)]
    chosen = [row for row in common if row["errors"][name]]
    cells = [method, f"{len(chosen)}"]
    for i, theory in enumerate((across_theory(method, k), self_theory(chosen, method, k))):
        errors = [row["errors"][name][i] for row in chosen]
        cells += [f"{median(errors):.4f}", f"{max(errors):.4f}", theory] if errors else ["–", "–", theory]
    return " | ".join(cells)


def across_theory(method: str, k: int) -> str:
    return f"{k**-0.5:.4f}" if method in ("sketch", "gaussian") else "–"


def self_theory(rows: list[dict[str, Any]], method: str, k: int) -> str:
    if method in SELF_THEORY:
        return SELF_THEORY[method](k)
    return f"{median(row['self_theory'][f'{method} {k}'] for row in rows):.4f}"


def across_and_self(rows: list[dict[str, Any]], name: str) -> str:
    errors = [row["errors"][name] for row in rows if row["errors"][name]]
    if not errors:
        return "–"
    left_out = f" ({len(errors)} of {len(rows)})" if len(errors) < len(rows) else ""
    return f"{median(e[0] for e in errors):.4f}, {median(e[1] for e in errors):.4f}{left_out}"


def power(run: dict[str, Any]) -> Iterator[str]:
    """A row for each test: its rates in the four organisations, then along the curves."""
    base = {key: run["base"][key] for key in ("images", "subjects", "ceiling")}
    found = {(row["organisation"], *(row[key] for key in base), row["id"]): row for row in run["rows"]}
    tests = {row["id"]: row["text"] for row in run["rows"]}
    brains = [brain for brain in dict.fromkeys(key[:-1] for key in found) if brain[1:] == tuple(base.values())]
    points = [brain for brain in dict.fromkeys(key[:-1] for key in found) if brain not in brains]
    made = f"{run['brains']} brains by {run['made']}"
    yield f"{made}; {', '.join(f'{key} {value}' for key, value in base.items())} unless said otherwise"
    yield ""
    yield f"| test | level | {' | '.join(name for name, *_ in brains)} |"
    yield "|---|---|" + "---|" * len(brains)
    for test in tests:
        cells = [power_cell(found[*brain, test]) for brain in brains]
        yield f"| {tests[test]} | {found[*brains[0], test]['level']:g} | {' | '.join(cells)} |"
    yield ""
    names = [
        ", ".join(
            f"{key} {value}" for (key, usual), value in zip(base.items(), brain[1:], strict=True) if value != usual
        )
        for brain in points
    ]
    yield f"| {points[0][0] if points else 'no'} brains of other sizes | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(points)
    for test, text in tests.items():
        yield f"| {text} | {' | '.join(power_cell(found[*brain, test]) for brain in points)} |"


def power_cell(row: dict[str, Any]) -> str:
    """Rate, interval and runs; in brackets where the property is inherited, bold where the rate is not as expected."""
    refused = f", {row['refused']} refused" if row["refused"] else ""
    text = f"{row['rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    if row["as expected"] is False:
        text = f"**{text}**"
    return f"{f'({text})' if row['expected'] == 'inherited' else text} of {row['runs']}{refused}"


def alternatives(run: dict[str, Any]) -> Iterator[str]:
    """A row for each test and brain, a column for each ceiling."""
    made = f"{run['brains']} brains by {run['made']}"
    rows = run["rows"]
    yield f"{made}; {rows[0]['images']} images, {rows[0]['subjects']} subjects"
    yield ""
    ceilings = sorted({row["ceiling"] for row in rows})
    yield f"| test | level | brain | {' | '.join(f'ceiling {ceiling:g}' for ceiling in ceilings)} |"
    yield "|---|---|---|" + "---|" * len(ceilings)
    found = {(row["id"], row["organisation"], row["ceiling"]): row for row in rows}
    for id, organisation in sorted({key[:2] for key in found}):
        of_brain = [found.get((id, organisation, ceiling)) for ceiling in ceilings]
        cells = [power_cell(row) if row else "–" for row in of_brain]
        first = next(row for row in of_brain if row)
        yield f"| {first['text']} | {first['level']:g} | {organisation} | {' | '.join(cells)} |"


def encode(run: dict[str, Any]) -> Iterator[str]:
    """A row for each way to encode; times are CPU seconds of one thread."""
    yield (
        "| case | by | outer folds timed | fixed, a layer | each target | 24 layers of 20,000 targets "
        "| memory beside X and Y | |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|---|"
    for row in run["rows"]:
        if row["impl"] == "linear":
            continue
        words = [f"{row[key]:.3g} times {what}" for key, what in _BESIDE.items() if key in row]
        if "r_apart_largest" in row:
            words += [f"r differs by {row['r_apart_largest']:.1g} at most ({row['r_apart_at']})"]
        memory = ", ".join(f"{peak:,}" for peak in row["peak_mb"])
        yield (
            f"| {row['case']} | {row['impl']} | {row['outer_folds']} | {row['fixed_seconds']:.3g} s | "
            f"{row['ms_a_target']:.3g} ms | {row['nsd_block_hours']:.3g} h | {memory} MB | {'; '.join(words)} |"
        )


_BESIDE = {"times_faster_than_himalaya": "faster than himalaya", "of_one_ridgecv": "one RidgeCV"}
TITLES = {
    "sketch": "Sketch",
    "sketch_outer": "Weight gradients of linear layers",
    "sketch_conv": "Weight gradients of convolutions",
    "capture": "Capture",
    "hashing": "Hashes of images, and matched rows",
    "ridge": "Ridge regression",
    "encode": "Encoding of many layers, nested",
    "banded": "Banded ridge regression",
    "permutation": "Permutation tests",
    "recordings": "Recordings read from the disk",
    "column_moments": "Parts of the ridge: sums of columns",
    "fold_scores": "Parts of the ridge: scores of a fold",
    "select_scale": "Parts of the ridge: chosen penalties",
    "host-side": "Python of a call, beside that of an earlier version",
    "accuracy": "Error of projections",
    "alternatives": "Claims in brains without gradients",
}
LONG = ("accuracy", "sketch_outer", "sketch_conv", "fold_scores")
POWER = {"power-verdict": "Results of verdicts", "power": "Results of single tests"}
BENCHMARKS_HEAD = """# Benchmarks

Made by `python -m benchmarks.table` from `benchmarks/results/`. [How it is measured](../../benchmarks/README.md), and
what the numbers say.

A cell has the median milliseconds of the call and of what is beside it, which took turns in one run, then the
median of the ratios of the rounds in bold, and its quartiles. Where other processes took 5 % of the machine or more,
the cell says so. Each table has its device, its torch and the commit. Nothing was measured on a GPU unless a table's
device is one."""
POWER_HEAD = """# Rates of the tests in simulated studies

Generated from `benchmarks/results/power-verdict.json` and `power.json` by `python -m benchmarks.table`.
[power](power.md) explains the simulations and what the rates say. Each cell is a rate, its exact 95 % interval, and the
number of brains. Rates in brackets: gradients have the property because they are functions of the activations. Bold: a
false-positive rate above the level, or power below 0.8."""


def hashing(run: Any) -> list[str]:
    """CPU seconds of captures, and of what is done for the identity of their images."""
    rows = [
        f"{run['model']}, {run['images']} images, {run['threads']} thread:",
        "",
        "| | median | range |",
        "|---|--:|--:|",
    ]
    for name, words in (("capture_s", "capture, s"), ("hashing_s", "hashes, s"), ("matching_s", "matched rows, s")):
        values = run[name]
        rows.append(f"| {words} | {values['median']:.3g} | {values['min']:.3g}..{values['max']:.3g} |")
    share = {name: 100 * value for name, value in run["share"].items()}
    last = f"{share['median']:.2g} | {share['min']:.2g}..{share['max']:.2g}"
    return [*rows, f"| hashes and matched rows, % of the capture | {last} |"]


KINDS = {"accuracy": accuracy, "encode": encode, "hashing": hashing, "power": power, "alternatives": alternatives}


def section(path: Path) -> str:
    """A recorded file's head and table."""
    run = json.loads(path.read_text())
    head = f"`{path.name}`: {run['device']}, torch {run['torch']}, commit {run['commit']}"
    return "\n".join([head, "", *KINDS.get(run["op"], timing)(run)])


def folded(path: Path) -> str:
    """A section below a line that opens it."""
    return f"<details>\n<summary>{path.name}</summary>\n\n{section(path)}\n\n</details>"


def benchmarks_page() -> str:
    """Every timed file in its order of TITLES, then those of other ops and devices."""
    timed = [path for path in sorted(RESULTS.glob("*.json")) if path.stem not in (*POWER, "machine-code")]
    ops = {path: json.loads(path.read_text())["op"] for path in timed}
    order = [*TITLES, *sorted(set(ops.values()) - set(TITLES))]
    parts = [BENCHMARKS_HEAD]
    for op in order:
        files = [path for path in timed if ops[path] == op]
        if files:
            show = folded if op in LONG else section
            parts += [f"## {TITLES.get(op, op)}", *(show(path) for path in files)]
    return "\n\n".join(parts) + "\n"


def power_page() -> str:
    parts = [POWER_HEAD]
    for stem, title in POWER.items():
        parts += [f"## {title}", folded(RESULTS / f"{stem}.json")]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Path below the repository -> text, of every page that is made of the recorded results."""
    return {
        "docs/project/benchmarks.md": benchmarks_page(),
        "docs/power-tables.md": power_page(),
        "docs/scale.md": scale.page(),
    }


def main() -> None:
    for name, text in pages().items():
        (RESULTS.parents[1] / name).write_text(text, encoding="utf-8")
        print(name)
    figures.main()


if __name__ == "__main__":
    main()
