"""Claims about time: of what gradients tell beyond confounds, in whole brains and in broken ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradkern import Recording
from gradkern.errors import Refused
from gradkern.study import Study, VerdictSettings
from gradkern.study.claims import (
    ScoredStudy,
    lag,
    score_study,
    temporal_layer_permutation,
    temporal_order,
)
from gradkern.study.power import SIMULATED_CLAIMS
from tests import temporal_brains as brains

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = VerdictSettings(permutations=19, bootstraps=60)
FEATURES = brains.features(1)
ORDER, OTHERS, LATER = (
    SIMULATED_CLAIMS[id]
    for id in (
        "gradient-has-temporal-order",
        "gradient-has-temporal-order-more-than:layer-permutation",
        "gradient-later-than-activation",
    )
)


def recording(Y: np.ndarray, subject: str) -> Recording:
    targets = pd.DataFrame({"sensor": brains.NAMES, "time": brains.AT})
    targets["label"] = targets["sensor"] + " " + targets["time"].astype(str)
    return Recording(Y, pd.DataFrame({"image": range(len(Y))}), targets, subject=subject, units="T")


def responses(gradients: str, subjects: int = 3) -> list[np.ndarray]:
    return [brains.responses(FEATURES, gradients, 10 + number) for number in range(subjects)]


def scored(responses: list[np.ndarray], features: Any = None) -> ScoredStudy:
    meg = [recording(Y, str(number)) for number, Y in enumerate(responses)]
    whole = features or FEATURES
    depth = np.linspace(0, 1, len(whole["activation"]))
    return score_study(Study(whole, depth, meg=meg), SETTINGS)


@pytest.fixture(scope="module")
def in_order(one_thread: None) -> ScoredStudy:
    return scored(responses("in order"))


@pytest.fixture(scope="module")
def at_once(one_thread: None) -> ScoredStudy:
    return scored(responses("at once"))


def test_an_order_is_supported_beside_zero_and_beside_other_orders_of_the_layers(in_order: ScoredStudy) -> None:
    row, others = ORDER.tested(in_order), OTHERS.tested(in_order)
    among = temporal_layer_permutation(in_order)
    assert row.is_supported()
    assert row.high < 0
    assert among.p <= 0.05
    assert f"layers in another order (p {among.p:.2g})" in row.against
    assert others.is_supported()
    assert others.p == among.p


def test_gradients_that_come_at_once_are_late_and_in_no_order(at_once: ScoredStudy) -> None:
    row = ORDER.tested(at_once)
    assert not row.is_supported()
    assert row.low < 0 < row.high
    later = LATER.tested(at_once)
    assert later.is_supported()
    assert "beyond confounds" in later.against


def test_a_control_is_supported_only_with_its_claim(at_once: ScoredStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some order of the layers always has the lowest slope, though gradients come at once."""
    ordered = replace(temporal_layer_permutation(at_once), p=0.01)
    monkeypatch.setitem(OTHERS.test.__globals__, "temporal_layer_permutation", lambda scored: ordered)
    row = OTHERS.tested(at_once)
    assert row.p == 0.01
    assert not row.is_supported()


def test_a_claim_is_supported_only_with_its_control(in_order: ScoredStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    unordered = replace(temporal_layer_permutation(in_order), p=0.2)
    monkeypatch.setitem(ORDER.test.__globals__, "temporal_layer_permutation", lambda scored: unordered)
    row = ORDER.tested(in_order)
    assert row.high < 0
    assert not row.is_supported()


def test_three_layers_are_too_few_to_be_permuted() -> None:
    three = {kind: [layers[0], layers[1], layers[3]] for kind, layers in FEATURES.items()}
    of_three = scored(responses("in order"), three)
    row = temporal_order(of_three)
    assert "too few layers to be permuted" in row.against
    assert row.is_supported() == (row.high < 0)
    with pytest.raises(Refused, match=r"smallest attainable p is 0\.167"):
        OTHERS.tested(of_three)


def test_without_gradients_both_are_refused_in_words() -> None:
    nothing = scored(responses("none"))
    for claim in (temporal_order, lag):
        with pytest.raises(Refused, match=r"no layer's gradients predict MEG beyond the confounds .* decide an order"):
            claim(nothing)


def test_a_response_to_a_nuisance_is_no_late_gradient() -> None:
    """Of one that gradients tell, at .3 s: late if nothing is taken out, nothing left if it is."""
    difficulty = FEATURES["gradient"][1][:, :1]
    weights = np.random.default_rng(5).standard_normal(brains.SENSORS)
    late = (difficulty * weights)[:, :, None] * brains.bump(0.3)
    Y = [2 * late.reshape(len(difficulty), -1) + values for values in responses("none")]
    blind = scored(Y)
    assert lag(blind).is_supported()
    meg = [recording(values, str(number)) for number, values in enumerate(Y)]
    told = score_study(Study(FEATURES, brains.DEPTH, meg=meg, nuisances=difficulty), SETTINGS)
    with pytest.raises(Refused, match="beyond the confounds"):
        lag(told)


def test_units_of_one_subject_do_not_count(in_order: ScoredStudy) -> None:
    first, *others = responses("in order")
    louder = temporal_order(scored([1000 * first, *others]))
    row = temporal_order(in_order)
    assert louder.estimate == pytest.approx(row.estimate, abs=1e-4)
    assert (louder.low, louder.high) == pytest.approx((row.low, row.high), abs=1e-3)


def test_a_dead_sensor_of_one_subject_is_left_out_and_said(in_order: ScoredStudy) -> None:
    first, *others = responses("in order")
    first[:, brains.NAMES == "MEG2"] = 0
    broken = scored([first, *others])
    with pytest.warns(
        UserWarning, match="1 of 6 sensors of 0 do not vary at every time, left out of time courses: MEG2"
    ):
        row = temporal_order(broken)
    assert row.estimate == pytest.approx(temporal_order(in_order).estimate, abs=0.02)
    silent = scored([0 * first, *others])
    with pytest.raises(Refused, match="no sensor of 0 varies at every time"):
        temporal_order(silent)


@pytest.mark.parametrize("broken", ["images of one subject shuffled", "images of one shifted by one", "heavy tails"])
def test_broken_subjects_make_no_order(broken: str) -> None:
    first, *others = responses("at once", 2)
    random = np.random.default_rng(0)
    if broken == "heavy tails":
        tails = [random.standard_t(2, (len(Y), 1)) * random.standard_normal(Y.shape) for Y in (first, *others)]
        made = scored([Y + tail for Y, tail in zip((first, *others), tails, strict=True)])
    else:
        made = scored(
            [first[random.permutation(len(first))] if "shuffled" in broken else np.roll(first, 1, 0), *others]
        )
    try:
        row = temporal_order(made)
    except Refused:
        return
    assert not row.is_supported()
