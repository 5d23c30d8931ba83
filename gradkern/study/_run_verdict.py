"""`gradkern verdict`: the claims of a study from files, under other choices, as tables, figures and a report."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradkern import plotting as figures
from gradkern.study._multiverse import survival
from gradkern.study._output import check_free, made_by, written_whole
from gradkern.study._study_file import StudyFile, read_study
from gradkern.study._study_pictures import StudyPictures, study_pictures
from gradkern.study._variants import choices, verdict_multiverse
from gradkern.study.claims._verdict import NOT_FOUND, verdict
from gradkern.study.power._rates import simulated_rates
from gradkern.study.report._html import write_verdict
from gradkern.study.report._picture import Picture
from gradkern.study.report._words import counts_in_words

MARK = "verdict.csv"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write verdict.csv, power.csv, figures and report.html, with --multiverse its tables too: all or nothing.

    Returns what was done, for JSON.
    """
    check_free(options.output, options.overwrite, MARK)
    if options.together and not options.multiverse:
        raise ValueError("--together needs --multiverse")
    study = read_study(options.study)
    for note in study.notes:
        print(note)
    table = verdict(study.variants.study(), study.settings)
    notes = [*study.notes, *table.attrs["notes"]]
    for note in table.attrs["notes"]:
        print(note)
    tables = {"verdict": table, "power": _power_of(table)}
    if options.multiverse:
        names = {name: list(changes) for name, changes in choices(study.variants, study.settings).items()}
        print("choices: " + "; ".join(f"{name}: {', '.join(each)}" for name, each in names.items()), flush=True)
        runs = verdict_multiverse(study.variants, study.settings, table, together=options.together)
        tables |= {"multiverse": runs, "survival": survival(runs)}
    print("figures", flush=True)
    drawn = study_pictures(study.variants.study(), study.settings)
    with written_whole(options.output, options.overwrite, MARK) as folder:
        _write(folder, study, tables, notes, drawn)
    _print(table)
    print(f"wrote {options.output}: open report.html in a browser")
    rows = {name: each.to_dict("records") for name, each in tables.items() if name in ("verdict", "survival")}
    return {"output": str(options.output), "notes": notes, **rows}


def kept(options: argparse.Namespace) -> str:
    """What a call that was stopped has left, in words."""
    return f"{options.output} is as it was before" if options.output.exists() else "nothing was written"


def write_whole_verdict(study: StudyFile, folder: Path) -> pd.DataFrame:
    """Test the claims of a study, and write what `gradkern verdict` writes into a folder; the table is returned."""
    table = verdict(study.variants.study(), study.settings)
    tables = {"verdict": table, "power": _power_of(table)}
    drawn = study_pictures(study.variants.study(), study.settings)
    _write(folder, study, tables, [*study.notes, *table.attrs["notes"]], drawn)
    return table


def _power_of(table: pd.DataFrame) -> pd.DataFrame:
    rates = simulated_rates()
    return rates[rates["id"].isin(table["id"])]


def _write(
    folder: Path, study: StudyFile, tables: Mapping[str, pd.DataFrame], notes: Sequence[str], drawn: StudyPictures
) -> None:
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    pictures = [*_pictures(tables), *drawn.pictures]
    for picture in pictures:
        picture.write(folder)
    facts = _facts(study)
    page = write_verdict(
        tables["verdict"], tables["power"], pictures, facts, [*notes, *drawn.notes], tables.get("survival"),
        _sketch(study) | drawn.diagnostics,
    )  # fmt: skip
    (folder / "report.html").write_text(page, encoding="utf-8")


def _sketch(study: StudyFile) -> dict[str, str]:
    """The error that the sketch adds, in words."""
    captured = study.variants.study().captured
    k = None if captured is None else captured.provenance().get("sketch_k")
    return {} if k is None else {"sketch": f"{k} columns; error of a cosine about {float(k) ** -0.5:.3f}"}


def _pictures(tables: Mapping[str, pd.DataFrame]) -> list[Picture]:
    caption = (
        "Estimate of every claim with its 95 % interval, in a panel of its own scale for each modality and unit. Blue: "
        "supported; orange: such data cannot decide; grey: not found. Ticks are the subjects."
    )
    table, topic = tables["verdict"], "Claims"
    pictures = [Picture.of("verdict", caption, figures.verdict_estimates(table), data=table, topic=topic)]
    if (table["by layer"] != "").any():
        caption = "Estimates at every layer, of the claims whose test has them."
        numbers = table.loc[table["by layer"] != "", ["id", "units", "by layer"]]
        pictures.append(Picture.of("layers", caption, figures.estimates_by_layer(table), data=numbers, topic=topic))
    if "multiverse" in tables:
        for id, runs in tables["multiverse"].groupby("id", sort=False):
            if not runs["value"].notna().any():
                continue
            claim = runs["claim"].iloc[0]
            caption = f"{claim}: the estimate of every analysis with its 95 % interval, and the choices that made it."
            name = f"choices_{id}".replace(":", "_").replace("/", "_")
            figure = figures.specification_curve(runs, claim)
            pictures.append(Picture.of(name, caption, figure, data=runs, topic="Alternative choices"))
    return pictures


def _facts(study: StudyFile) -> dict[str, str]:
    depth = next(iter(study.variants.features.values())).depth
    return {
        **made_by(),
        **study.facts,
        "hierarchy": study.variants.hierarchy,
        "depth": ", ".join(f"{value:g}" for value in depth),
        **{f"settings.{name}": str(value) for name, value in asdict(study.settings).items()},
    }


def _print(table: pd.DataFrame) -> None:
    """Print a line per claim, the conclusion first, so that no width of a terminal cuts it off; counts come last."""
    for row in table.to_dict("records"):
        number = "" if np.isnan(row["estimate"]) else f"{row['estimate']:.3f} {row['units']}, p = {row['p']:.3g}"
        print(f"{row['conclusion']:<13} {number:<22} {row['claim']}")
        for words in (row["flag"], row["why"] if row["conclusion"] != NOT_FOUND else ""):
            if words:
                print(f"{'':<13} {words}")
    print(counts_in_words(table))
