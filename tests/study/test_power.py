"""Simulated studies: tests hold their level where there is nothing, and find what was planted where there is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from gradkern.features import CONTROLS, Features
from gradkern.models import UNTRAINED
from gradkern.recordings import Brain
from gradkern.study.power import (
    SINGLE_TESTS,
    Outcome,
    PowerSettings,
    binomial_interval,
    rates,
    simulated_rates,
    simulated_tests,
    toy_features,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = PowerSettings(permutations=39, bootstraps=60, every=8)
BRAIN = Brain(
    subjects=5, repeats=1, ceiling=0.7, vertices=100, silent=10, times=tuple(0.03 * step for step in range(16))
)
FEATURES = toy_features(200, layers=5, width=12)
RUNS = {"none": 8, "forward": 3, "forward-then-backward": 3, "gradient-misplaced": 3}


@pytest.fixture(scope="module")
def outcomes(one_thread: None) -> dict[str, list[Outcome]]:
    return {
        name: [simulated_tests(replace(BRAIN, organisation=name), FEATURES, SETTINGS, seed) for seed in range(runs)]
        for name, runs in RUNS.items()
    }


def by_kind(captured: Features) -> dict[str, list[np.ndarray]]:
    kinds = dict.fromkeys(kind for kind, _ in captured)
    return {kind: [x.double().numpy() for (each, _), x in captured.items() if each == kind] for kind in kinds}


def counts(outcomes: list[Outcome]) -> dict[str, int]:
    return {test: sum(each.found[test] for each in outcomes) for test in outcomes[0].found}


@pytest.mark.parametrize("organisation", ["none", "forward", "gradient-misplaced"])
def test_levels_are_held_where_there_is_nothing_to_find(outcomes, organisation: str) -> None:
    found = counts(outcomes[organisation])
    assert set(found) == set(SINGLE_TESTS)
    here = [test for test, expected in SINGLE_TESTS.items() if expected.of(organisation) == "false"]
    for test in here:
        assert found[test] <= binom.ppf(0.9995, RUNS[organisation], SINGLE_TESTS[test].level), test


def test_gradients_of_a_forward_brain_predict_and_tell_nothing_of_their_own(outcomes) -> None:
    forward = outcomes["forward"]
    assert all(each.values["gradient: r, all subjects"] > 0.01 for each in forward)
    found, runs = counts(forward), RUNS["forward"]
    assert found["gradient: r, all subjects"] == runs
    for test in ("all subjects", "unique variance, signs of subjects", "in MEG, all subjects"):
        assert found[f"gradient beyond activations: {test}"] <= 1
    for test in ("activation: order in time", "activation: order in time, images alone"):
        assert found[test] >= runs - 1
    assert found["activation: spatial order"] >= runs - 1


def test_a_backward_sweep_is_found(outcomes) -> None:
    found, runs = counts(outcomes["forward-then-backward"]), RUNS["forward-then-backward"]
    for test in ("gradient: order in time", "difference: order in time", "gradient: order in time, images alone"):
        assert found[test] >= runs - 1
    assert found["gradient beyond activations: all subjects"] == runs
    assert found["activation beyond gradients: all subjects"] == runs


def test_misplaced_gradients_are_found_without_an_order(outcomes) -> None:
    found, runs = counts(outcomes["gradient-misplaced"]), RUNS["gradient-misplaced"]
    for name in ("r, all subjects", "r, clusters in MEG"):
        assert found[f"gradient: {name}"] >= runs - 1
    for test in ("gradient beyond activations: all subjects", "activation beyond gradients: all subjects"):
        assert found[test] >= runs - 1
    for test in ("high areas, all subjects", "late in MEG, all subjects"):
        assert found[f"gradient beyond activations: {test}"] >= runs - 1
    assert found["gradient: order in time"] <= 1


def test_a_study_can_be_repeated_and_takes_captured_features() -> None:
    brain = replace(BRAIN, organisation="forward-then-backward", subjects=2, vertices=60, times=(0.0, 0.1, 0.2))
    captured = toy_features(80, layers=3, width=6)
    settings = PowerSettings(permutations=19, bootstraps=20)
    first, again, other = (simulated_tests(brain, captured, settings, seed) for seed in (3, 3, 4))
    assert first == again
    assert first.values != other.values
    assert simulated_tests(brain, by_kind(captured), settings, 3) == first
    # two subjects cannot be significant by their signs: that is said
    assert "cannot reach" in first.refused["gradient: r, signs of subjects"]
    # nor is there a late time
    assert first.refused["gradient beyond activations: late in MEG, all subjects"] == "no time after 0.2 s"
    assert not any(first.found[test] for test in first.refused)


def test_toy_gradients_are_those_of_the_loss_and_alike_in_neighbouring_layers() -> None:
    made = by_kind(toy_features(300))
    assert {kind: [x.shape for x in layers] for kind, layers in made.items()} == {
        kind: [(300, 24)] * 6 for kind in ("activation", "gradient", *CONTROLS, UNTRAINED)
    }
    gradients = made["gradient"]
    alike = [np.corrcoef(gradients[0].ravel(), x.ravel())[0, 1] for x in gradients]
    assert alike[1] > 0.5
    assert alike == sorted(alike, reverse=True)
    last, other = made["activation"][-1], by_kind(toy_features(300, seed=1))["activation"][-1]
    assert not np.allclose(last, other)
    # at the last layer it lies in the readout's space, of one dimension fewer than there are classes
    assert np.linalg.matrix_rank(gradients[-1], tol=1e-5) == 9
    # controls are of the same size and say something else
    for control in (*CONTROLS, UNTRAINED):
        assert abs(np.corrcoef(gradients[2].ravel(), made[control][2].ravel())[0, 1]) < 0.9, control


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 200), (10, 200), (199, 200), (200, 200)])
def test_binomial_intervals_are_exact(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="exact")
    np.testing.assert_allclose(binomial_interval(k, n), (expected.low, expected.high), atol=1e-12)
    narrow = binomial_interval(k, n, 0.5)
    assert binomial_interval(k, n)[0] <= narrow[0] <= k / n <= narrow[1] <= binomial_interval(k, n)[1]


def outcome(seed: int, organisation: str = "none", ceiling: float = 0.5, **found: bool) -> Outcome:
    names = {"r": "gradient: r, all subjects", "order": "gradient: order in time", "space": "gradient: spatial order"}
    tests = {names[key]: value for key, value in found.items()}
    refused = {test: "why" for test, value in tests.items() if test == names["order"] and not value}
    return Outcome(organisation, 100, 5, ceiling, seed, tests, {}, refused)


def test_rates_say_whether_a_test_does_as_is_wanted() -> None:
    brains = [outcome(seed, r=seed < 10, order=seed < 1, space=True) for seed in range(40)]
    brains += [outcome(seed, "gradient-misplaced", r=seed < 35, order=False, space=True) for seed in range(40)]
    brains += [outcome(seed, "forward-then-backward", 0.7, r=True, order=seed < 10, space=True) for seed in range(40)]
    table = rates(brains).set_index(["organisation", "id"])
    none, misplaced, backward = (table.loc[name] for name in ("none", "gradient-misplaced", "forward-then-backward"))
    r, order, space = "gradient: r, all subjects", "gradient: order in time", "gradient: spatial order"
    assert (none.loc[r, "rate"], none.loc[r, "expected"], none.loc[r, "as expected"]) == (0.25, "false", False)
    assert none.loc[order, "as expected"]
    assert (none.loc[order, "refused"], none.loc[order, "runs"], none.loc[order, "level"]) == (39, 40, 0.025)
    assert (misplaced.loc[r, "expected"], misplaced.loc[r, "as expected"]) == ("true", True)
    assert (misplaced.loc[space, "expected"], misplaced.loc[space, "as expected"]) == ("inherited", None)
    assert (backward.loc[order, "expected"], backward.loc[order, "as expected"]) == ("true", False)
    assert backward.loc[order, "ceiling"] == 0.7
    assert (none.loc[r, "low"], none.loc[r, "high"]) == binomial_interval(10, 40)


def test_the_package_has_the_rates_that_were_recorded() -> None:
    """Rows of tests that were replaced are left out, and the one that goes on has another id and text."""
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    recorded = [
        row
        for path in (results / "power-verdict.json", *sorted(results.glob("alternatives*.json")))
        for row in json.loads(path.read_text())["rows"]
    ]
    numbers = ("runs", "found", "refused", "rate", "low", "high", "level", "rows")
    found = {}
    for row in recorded:
        id = row["id"].replace("beyond:activations", "beyond:linear-activations")
        found[row["organisation"], row["images"], row["subjects"], row["ceiling"], id] = [row[n] for n in numbers]
    packaged = simulated_rates().to_dict("records")
    assert len(packaged) > 300
    for row in packaged:
        key = (row["organisation"], row["images"], row["subjects"], row["ceiling"], row["id"])
        assert [row[n] for n in numbers] == found[key]


REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
    (lambda: binomial_interval(3, 2), r"k must lie in 0..n with n at least 1, got 3 of 2"),
    (lambda: binomial_interval(0, 0), "got 0 of 0"),
    (lambda: binomial_interval(1, 2, 1.0), "confidence must lie between 0 and 1, got 1.0"),
    (lambda: rates([]), "outcomes must be at least one, got none"),
    (
        lambda: rates([outcome(0, r=True), outcome(1, order=True)]),
        "of SINGLE_TESTS or SIMULATED_CLAIMS, got different ones",
    ),
    (
        lambda: rates([replace(outcome(0), found={"luck": True})]),
        r"of SINGLE_TESTS or SIMULATED_CLAIMS, got \['luck'\]",
    ),
    (lambda: rates([outcome(0, r=True), outcome(0, r=False)]), "different brains, got 1 twice"),
    (lambda: PowerSettings(permutations=18), "permutations must be at least 19, for p of .05, got 18"),
    (lambda: PowerSettings(every=0), "every must be at least 1, got 0"),
    (lambda: toy_features(100, layers=2), "layers must be at least 3, .* got 2, 10 and 100"),
    (lambda: simulated_tests(BRAIN, {"activation": by_kind(FEATURES)["activation"]}), "got none of 'gradient'"),
    (
        lambda: simulated_tests(BRAIN, {**by_kind(FEATURES), "gradient": by_kind(FEATURES)["gradient"][:2]}),
        "at least 3 layers of either kind, got {'activation': 5, 'gradient': 2}",
    ),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
