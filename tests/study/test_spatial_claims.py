"""Claims about space: what is left of gradients, broken subjects, and controls that decide with their claim."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradkern.errors import Refused
from gradkern.stats import Scores
from gradkern.study import verdict
from gradkern.study.claims import (
    NOT_TESTED,
    SUPPORTED,
    ScoredStudy,
    score_study,
    spatial_layer_permutation,
    spatial_order,
)
from gradkern.study.power import SIMULATED_CLAIMS
from tests.simulated_studies import IMAGES, SETTINGS, study

OF_LAYERS = SIMULATED_CLAIMS["gradient-has-spatial-order-more-than:layer-permutation"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("dead", [1.5, np.nan])
def test_dead_voxels_are_left_out_and_told(dead: float) -> None:
    both = replace(study("forward"), meg=())
    first, second = both.fmri
    values = np.array(first.responses)
    values[:, np.flatnonzero(first.targets["depth"].notna())[[3, 7]]] = dead
    fewer = replace(both, fmri=(replace(first, responses=values), second))
    with pytest.warns(UserWarning, match="simulated 1: .*left out: 2 of 120"):
        found = verdict(fewer, SETTINGS).set_index("id")
    assert (found["conclusion"] != NOT_TESTED).sum() > 5
    assert found.loc["activation-maps-hierarchy", "conclusion"] == SUPPORTED
    with pytest.warns(UserWarning, match="left out"):  # places that both have are one map
        assert spatial_order(score_study(fewer, SETTINGS), "activation").as_simulated
    row = found.loc["gradient-predicts-fmri"]
    assert row["targets"] == sum(one.targets["depth"].notna().sum() for one in both.fmri) - 4  # in both


def test_the_gain_of_a_subject_changes_no_order_in_space() -> None:
    both = replace(study("forward"), meg=())
    first, second = both.fmri
    louder = replace(both, fmri=(replace(first, responses=1000 * np.asarray(first.responses)), second))
    one, other = (spatial_order(score_study(some, SETTINGS), "activation") for some in (both, louder))
    assert (other.estimate, other.p) == (pytest.approx(one.estimate, abs=1e-3), pytest.approx(one.p, abs=0.034))


def test_a_subject_with_other_images_is_named() -> None:
    """Subjects with places of their own, of whom one has shuffled images: no layer predicts its targets."""
    both = replace(study("forward"), meg=())
    first, second = both.fmri
    order = np.random.default_rng(0).permutation(IMAGES)
    moved = second.targets.assign(x=second.targets["x"] + 1)
    wrong = replace(second, responses=np.asarray(second.responses)[order], targets=moved)
    scored = score_study(replace(both, fmri=(first, wrong)), SETTINGS)
    with pytest.raises(Refused, match=r"at least 20 per map, got \d+ of simulated 1, \d of simulated 2"):
        spatial_order(scored, "activation")


def scores_of_activations(scored: ScoredStudy, subject: Any) -> Scores:
    return scored.scores(subject, "activation")


def test_orders_of_gradients_are_those_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in gives gradients the scores of activations: their order is that of these."""
    both = replace(study("forward"), meg=())
    scored = score_study(replace(both, fmri=both.fmri[:1]), SETTINGS)
    monkeypatch.setitem(OF_LAYERS.test.__globals__, "_scores_beyond", scores_of_activations)
    activations, gradients = (spatial_order(scored, kind) for kind in ("activation", "gradient"))
    assert (gradients.estimate, gradients.low) == (activations.estimate, activations.low)
    permuted = spatial_layer_permutation(scored)
    assert gradients.p == max(activations.p, permuted.p)
    assert f"(p {activations.p:.2g}), and layers in another order" in gradients.against
    other = OF_LAYERS.test(scored)
    assert (other.p, other.is_supported()) == (permuted.p, gradients.is_supported())


def test_a_control_by_itself_supports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers in no other order do as well, but smooth maps do: the control's row is not supported either."""
    scored = score_study(replace(study("forward"), meg=()), SETTINGS)
    monkeypatch.setitem(OF_LAYERS.test.__globals__, "_scores_beyond", scores_of_activations)
    row = spatial_order(scored, "gradient")
    monkeypatch.setitem(OF_LAYERS.test.__globals__, "spatial_order", lambda *_: replace(row, p=0.3))
    other = OF_LAYERS.test(scored)
    assert other.p <= 0.05
    assert not other.is_supported()
