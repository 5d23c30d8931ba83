"""Claims are objects: the verdict goes by their ids, a text is only a text, and all of it can be sent to a process."""

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from gradkern import simulate_brain
from gradkern.errors import Refused
from gradkern.recordings import Brain
from gradkern.study import COVARIATES, FeatureSet, Study, StudyVariants, VerdictSettings, verdict, verdict_multiverse
from gradkern.study.claims import NOT_TESTED, Claim, ScoredStudy, claims_of, claims_of_controls, score_study
from gradkern.study.power import SIMULATED_CLAIMS, code_hash, power_of, simulated_rates, source_hash

EXCLUDED = set(COVARIATES) - {"linear-activations"}  # by tests that have no penalty
pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS, IMAGES = 3, 60
SETTINGS = VerdictSettings(permutations=19, bootstraps=20, max_targets=30, max_locations=30)
RANDOM = np.random.default_rng(0)
ACTIVATIONS = [RANDOM.standard_normal((IMAGES, 4)) for _ in range(LAYERS)]
GRADIENTS = [np.tanh(2 * (A + 0.5 * A[:, ::-1])) for A in ACTIVATIONS]
FEATURES = {
    "activation": ACTIVATIONS,
    "gradient": GRADIENTS,
    "gradient/view": [G + RANDOM.standard_normal(G.shape) for G in GRADIENTS],
}


@pytest.fixture(scope="module")
def study(one_thread: None) -> Study:
    brain = Brain("forward-then-backward", subjects=2, repeats=2, vertices=60, silent=5, ceiling=0.95,
                  times=(0.0, 0.1, 0.2, 0.3))  # fmt: skip
    fmri, meg = simulate_brain({kind: FEATURES[kind] for kind in ("activation", "gradient")}, brain)
    few = [one.select_targets(one.targets["sensor"].str.startswith("MLO").to_numpy(), "left") for one in meg]
    fmri, few = ([one.average_repeats() for one in subjects] for subjects in (fmri, few))
    return Study(FEATURES, [0, 0.5, 1], fmri, few, "depth", RANDOM.standard_normal((IMAGES, 2)))


@pytest.fixture(scope="module")
def table(study: Study) -> pd.DataFrame:
    return verdict(study, SETTINGS)


def test_ids_are_stable_and_the_table_begins_with_them(study: Study, table: pd.DataFrame) -> None:
    """Rates, multiverses and reports that were written before refer to these."""
    assert table.columns[0] == "id"
    of_fmri = [
        "gradient-predicts-fmri",
        "gradient-predicts-fmri-beyond:linear-activations",
        "gradient-predicts-fmri-beyond:activations",
        "gradient-predicts-fmri-beyond:difficulty",
        "gradient-predicts-fmri-beyond:controls",
        "gradient-predicts-fmri-beyond:everything",
        "gradient-predicts-fmri-more-than:image-permuted",
        "gradient-predicts-fmri-more-than:view",
    ]
    assert table["id"].tolist() == [
        "activation-maps-hierarchy",
        *of_fmri,
        *(id.replace("fmri", "meg") for id in of_fmri),
        "gradient-predicts-higher-areas-more",
        "gradient-later-than-activation",
        "gradient-has-spatial-order",
        "gradient-has-spatial-order-more-than:layer-permutation",
        "gradient-has-temporal-order",
        "gradient-has-temporal-order-more-than:layer-permutation",
    ]
    claims = claims_of(study)
    for name, column in (("id", "id"), ("text", "claim"), ("modality", "data"), ("units", "units")):
        assert [getattr(claim, name) for claim in claims] == table[column].tolist()


def test_every_control_has_an_id_of_its_own() -> None:
    odd = ("gradient/view", "view", "gradient/activations", "gradient/everything", "gradient/gradient/view")
    ids = [claim.id for claim in claims_of_controls(odd)]
    assert len(set(ids)) == len(ids)
    with pytest.raises(ValueError, match="controls must have different names"):
        claims_of_controls(("gradient/view", "gradient/view"))


def changed_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every claim in other words."""
    made = Claim.__init__

    def renamed(self: Claim, id: str, text: str, *others: Any, **named: Any) -> None:
        made(self, id, f"In other words: {text[::-1]}", *others, **named)

    monkeypatch.setattr(Claim, "__init__", renamed)


def test_a_changed_sentence_changes_nothing_else(
    study: Study, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = StudyVariants({"as it is": FeatureSet(FEATURES, study.depth, study.nuisances)},
                             {"betas": study.fmri}, {}, "depth")  # fmt: skip
    before = verdict_multiverse(variants, SETTINGS)
    hashes = {id: code_hash(claim) for id, claim in SIMULATED_CLAIMS.items()}
    changed_texts(monkeypatch)
    again = verdict(study, SETTINGS)
    assert again["claim"].str.startswith("In other words").all()
    pd.testing.assert_frame_equal(again.drop(columns="claim"), table.drop(columns="claim"))
    multiverse = verdict_multiverse(variants, SETTINGS)
    assert multiverse["claim"].str.startswith("In other words").all()
    pd.testing.assert_frame_equal(multiverse.drop(columns="claim"), before.drop(columns="claim"))
    now = {claim.id: claim for claim in claims_of_controls(()) if claim.id in hashes}
    assert {id: code_hash(claim) for id, claim in now.items()} == {id: hashes[id] for id in now}


@pytest.mark.parametrize("choice", ["preference", "latency", "targets", "fmri subjects", "meg", "penalty"])
def test_what_a_claim_hangs_on_is_what_its_test_uses(study: Study, choice: str) -> None:
    hanging = {claim.id for claim in claims_of(study) if choice in claim.hangs_on}
    fmri, meg = ({c.id for c in claims_of(study) if c.modality == name} for name in ("fMRI", "MEG"))
    shares = {id for id in fmri | meg if "spatial-order" in id or "temporal-order" in id}  # no ridge is in their test
    orders = {id for id in fmri if "spatial-order" in id} | {"activation-maps-hierarchy"}
    times = {id for id in meg if "temporal-order" in id} | {"gradient-later-than-activation"}
    ridge = {id for id in (fmri | meg) - shares if id.split(":")[-1] not in EXCLUDED}
    assert hanging == {"preference": orders, "latency": times, "targets": fmri, "fmri subjects": fmri, "meg": meg,
                       "penalty": ridge}[choice]  # fmt: skip


def test_modality_is_a_field_and_not_a_list(study: Study, table: pd.DataFrame) -> None:
    """Copies of everything, one recording in both modalities: results are those of its modality."""
    copied = replace(study, fmri=[replace(one) for one in study.fmri], meg=tuple(replace(one) for one in study.meg))
    pd.testing.assert_frame_equal(verdict(copied, SETTINGS), table)
    same = replace(study, meg=study.fmri)
    data = verdict(same, SETTINGS).set_index("id")["data"]
    assert data["gradient-predicts-meg"] == "MEG"
    assert data["gradient-predicts-fmri"] == "fMRI"


def test_what_a_user_holds_fits_a_screen(study: Study) -> None:
    claim = claims_of(study)[0]
    assert repr(claim) == "Claim('activation-maps-hierarchy': activations map the hierarchy; fMRI, r)"
    assert "<caption>Claim activation-maps-hierarchy</caption>" in claim._repr_html_()
    lines = repr(study).splitlines()
    assert (len(lines), max(map(len, lines)) < 120) == (6, True)
    assert "3 layers, 60 images; activation, gradient, gradient/view" in lines[1]
    assert "<table>" in study._repr_html_()


def same_arrays(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(same_arrays(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_arrays, one, other))
    return bool(np.array_equal(one, other))


def test_everything_can_be_pickled(study: Study) -> None:
    for claim in claims_of(study):
        assert pickle.loads(pickle.dumps(claim)) == claim
    assert pickle.loads(pickle.dumps(SETTINGS)) == SETTINGS
    loaded: Study = pickle.loads(pickle.dumps(study))
    assert same_arrays(loaded.features, study.features)
    scored = score_study(study, SETTINGS)
    claims = {claim.id: claim for claim in claims_of(study)}
    spatial, temporal = claims["activation-maps-hierarchy"], claims["gradient-has-temporal-order"]
    first = spatial.tested(scored)
    with suppress(Refused):
        temporal.tested(scored)
    assert scored.computed
    other: ScoredStudy = pickle.loads(pickle.dumps(scored))
    assert set(other.computed) == set(scored.computed)
    assert [spatial.tested(each).p for each in (scored, other, score_study(loaded, SETTINGS))] == [first.p] * 3
    assert {field.name for field in fields(other)} == {field.name for field in fields(scored)}


def in_another_process(pickled: bytes) -> pd.DataFrame:
    torch.set_num_threads(1)
    threadpool_limits(1)
    study, settings = pickle.loads(pickled)
    return verdict(study, settings)


def test_a_verdict_in_another_process_is_the_same(study: Study, table: pd.DataFrame) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        other = pool.submit(in_another_process, pickle.dumps((study, SETTINGS))).result()
        by_executor = verdict(study, SETTINGS, executor=pool)
    pd.testing.assert_frame_equal(by_executor, table)
    pd.testing.assert_frame_equal(other, table, check_exact=True)


def broken(*arguments: Any, **options: Any) -> Any:
    """A programming error, of the kind that NumPy raises as a ValueError."""
    return np.zeros(3) + np.zeros(2)


STATISTICS = {  # that the test of a claim calls
    "gradient-predicts-fmri": "permutation_test",
    "gradient-predicts-meg-beyond:everything": "pooled",
    "gradient-predicts-meg-beyond:linear-activations": "partial_permutation_test",
    "gradient-predicts-meg-more-than:view": "paired_test",
    "activation-maps-hierarchy": "smooth_order_tests",
    "gradient-has-spatial-order-more-than:layer-permutation": "spatial_order",
    "gradient-predicts-higher-areas-more": "predicted_targets",
    "gradient-later-than-activation": "lag_test",
    "gradient-has-temporal-order": "temporal_order_test",
}


def plant(monkeypatch: pytest.MonkeyPatch, claim: Claim, statistic: str, instead: Callable[..., Any]) -> None:
    """Let the test of a claim call something instead of a statistic."""
    assert statistic in claim.test.__globals__
    monkeypatch.setitem(claim.test.__globals__, statistic, instead)


@pytest.mark.parametrize("id", STATISTICS)
def test_a_programming_error_in_a_statistic_ends_the_verdict(
    study: Study, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = next(claim for claim in claims_of(study) if claim.id == id)
    plant(monkeypatch, claim, STATISTICS[id], broken)
    with pytest.raises(ValueError, match="could not be broadcast"):
        claim.tested(score_study(study, SETTINGS))
    with pytest.raises(ValueError, match="could not be broadcast"):
        verdict(study, SETTINGS)


def test_a_programming_error_in_any_claims_test_surfaces(study: Study) -> None:
    scored = score_study(study, SETTINGS)
    for claim in claims_of(study):
        with pytest.raises(ValueError, match="could not be broadcast"):
            replace(claim, test=broken).tested(scored)


def refusing(*arguments: Any, **options: Any) -> Any:
    raise Refused("the images are too few")


def test_a_refusal_is_a_row_and_a_plain_value_error_is_not(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, SIMULATED_CLAIMS["gradient-predicts-fmri"], "permutation_test", refusing)
    row = verdict(replace(study, meg=()), SETTINGS).set_index("id").loc["gradient-predicts-fmri"]
    assert (row["conclusion"], row["why"]) == (NOT_TESTED, "the images are too few")


def source(**changes: str) -> Callable[[str], str | None]:
    modules = {
        "p.test": '"""A test."""\nfrom p.statistics import mean\nfrom q import other\n\ndef test(x):\n    """Mean."""\n'
        '    if not x:\n        raise ValueError("x must not be empty")\n    return mean(x)  # of x\n',
        "p.statistics": "def mean(x):\n    return sum(x) / len(x)\n",
        "q": "other = 1\n",
    }
    return (modules | changes).get


@pytest.mark.parametrize(
    ("module", "old", "new", "same"),
    [
        ("p.test", "# of x", "# the mean of all x", True),
        ("p.test", '"""Mean."""', '"""The arithmetic mean."""', True),
        ("p.test", '"""A test."""\n', "", True),
        ("p.test", "x must not be empty", "x must have a value, got none", True),
        ("p.test", "if not x:", "if  (not x) :", True),
        ("q", "other = 1", "other = 2", True),  # outside the packages that decide
        ("p.test", "if not x", "if len(x) < 2", False),
        ("p.statistics", "/ len(x)", "/ (len(x) - 1)", False),
    ],
)
def test_the_hash_is_of_the_code_that_decides_and_of_nothing_else(module: str, old: str, new: str, same: bool) -> None:
    text = source()(module)
    assert text is not None
    assert old in text
    first, second = (
        source_hash(["p.test"], read, ["p"]) for read in (source(), source(**{module: text.replace(old, new)}))
    )
    assert (first == second) == same


def test_claims_of_one_module_have_one_hash_and_modules_differ() -> None:
    by_module: dict[str, set[str]] = {}
    for claim in SIMULATED_CLAIMS.values():
        by_module.setdefault(claim.test.__module__, set()).add(code_hash(claim))
    assert {len(hashes) for hashes in by_module.values()} == {1}
    assert len(set.union(*by_module.values())) == len(by_module) == 4


def test_rates_of_other_code_are_said_to_be() -> None:
    claim, rates = SIMULATED_CLAIMS["gradient-predicts-fmri-beyond:linear-activations"], simulated_rates()
    mine = rates["id"] == claim.id
    current = rates.assign(code=rates["code"].where(~mine, code_hash(claim)))
    size = {"rows": 500, "subjects": 5, "ceiling": 0.5}
    words = "measured with an earlier version of this test"
    assert words not in power_of(current, claim, **size).study
    for table in (rates.assign(code="0" * 12), rates.drop(columns="code")):
        power = power_of(table, claim, **size)
        assert power.study.endswith(words)
        assert power.rate == power_of(current, claim, **size).rate > 0.9


def test_every_recorded_rate_is_of_a_claim() -> None:
    rates = simulated_rates()
    without = {id for id in SIMULATED_CLAIMS if ":" in id and id.split(":")[1] in COVARIATES}
    assert set(SIMULATED_CLAIMS) - without <= set(rates["id"]) <= set(SIMULATED_CLAIMS)
    expected = [SIMULATED_CLAIMS[id].expected for id in rates["id"]]
    assert [each.level for each in expected] == rates["level"].tolist()
    assert [each.of(name) for each, name in zip(expected, rates["organisation"], strict=True)] == (
        rates["expected"].tolist()
    )
