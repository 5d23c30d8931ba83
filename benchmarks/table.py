"""Print the recorded results as Markdown: python -m benchmarks.table"""

import json
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.conftest import RESULTS

PROJECTED = ("sketch", "tensor sketch", "factored")  # measured at the same layers; the dense Gaussian at some of them
SELF_THEORY = {
    "sketch": lambda k: f"{(2 / k) ** 0.5:.4f}",
    "gaussian": lambda k: f"{(2 / k) ** 0.5:.4f}",
    "tensor sketch": lambda k: f"at most {(11 / k) ** 0.5:.4f}",
}


def timing(run: dict[str, Any]) -> Iterator[str]:
    yield "| case | threads | call | ms | beside | ms | ratio [quartiles] | taken by others |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in run["rows"]:
        ours, theirs = (f"{1000 * row[key][1]:,.2f}" for key in ("seconds", "rival_seconds"))
        low, ratio, high = (f"{value:.3g}" for value in row["ratio"])
        call = f"{row['impl']} | {ours} | {row['rival']} | {theirs}"
        noise = f"{row['others_share']:.0%}"
        yield f"| {row['case']} | {row['threads']} | {call} | {ratio} [{low}, {high}] | {noise} |"


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


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        run = json.loads(path.read_text())
        print(f"\n`{path.name}`: {run['device']}, torch {run['torch']}, commit {run['commit']}\n")
        print("\n".join((accuracy if run["op"] == "accuracy" else timing)(run)))


if __name__ == "__main__":
    main()
