"""Simulated brains without gradients: they read what they are said to read, and old brains are what they were."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradkern import Recording, simulate_brain
from gradkern.recordings import ALTERNATIVES, ORGANISATIONS, Brain
from gradkern.recordings._simulation.alternatives import read_out
from gradkern.ridge import cross_val_score

LAYERS, IMAGES, CLASSES = 5, 300, 40
TIMES = tuple(0.05 * np.arange(-1, 10))
BRAIN = Brain("forward", subjects=1, vertices=120, silent=30, ceiling=0.95, times=TIMES)


def features(images: int = IMAGES) -> dict[str, list[NDArray[Any]]]:
    random = np.random.default_rng(0)
    scale = np.arange(1, 16) ** -0.5
    return {
        kind: [random.standard_normal((images, 15)) * scale for _ in range(LAYERS)]
        for kind in ("activation", "gradient")
    }


def extra(images: int = IMAGES) -> dict[str, NDArray[Any]]:
    """All that a brain may need, unrelated to the features."""
    random = np.random.default_rng(1)
    return {
        "logits": 3 * random.standard_normal((images, CLASSES)),
        "categories": random.integers(0, 6, images),
        "image statistics": random.standard_normal((images, 12)),
        "loss": random.exponential(size=images),
    }


def made(**settings: Any) -> tuple[Recording, Recording]:
    (fmri,), (meg,) = simulate_brain(features(), replace(BRAIN, **settings), extra=extra())
    return fmri, meg


def r(space: NDArray[Any], recording: Recording) -> NDArray[Any]:
    """Held-out r [targets] of the mean over repeats."""
    averaged = recording.average_repeats()
    found = cross_val_score({"x": space}, averaged.responses, np.logspace(-2, 3, 8), cv=4, inner_cv=3)["x"]
    return np.nan_to_num(found.mean(0))


def places(recording: Recording) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vertices of the lowest and of the highest fifth of the hierarchy."""
    depth = recording.targets["depth"].to_numpy()
    return depth < 0.15, depth > 0.85


# What they read.


def softmax(temperature: float) -> NDArray[Any]:
    p: NDArray[Any] = np.exp(extra()["logits"] / temperature)
    return p / p.sum(1, keepdims=True)


def one_hot() -> NDArray[Any]:
    return np.eye(6)[extra()["categories"]]


def statistics() -> NDArray[Any]:
    return extra()["image statistics"]


READS = {  # organisation -> what low areas read, what high areas read
    "softmax": (features()["activation"][0], softmax(0.5)),
    "category and image statistics": (statistics(), one_hot()),
    "image statistics": (statistics(), statistics() ** 2),
    "difficulty": (features()["activation"][0], features()["activation"][-1]),
}


@pytest.mark.parametrize("organisation", ALTERNATIVES)
def test_low_and_high_areas_read_what_is_said(organisation: str) -> None:
    fmri, _ = made(organisation=organisation)
    low, high = places(fmri)
    assert min(low.sum(), high.sum()) >= 8
    for where, own, other in zip((low, high), READS[organisation], READS[organisation][::-1], strict=True):
        assert r(own, fmri)[where].mean() > 0.5
        assert r(other, fmri)[where].mean() < 0.4
    silent = fmri.targets["depth"].isna().to_numpy()
    assert max(r(space, fmri)[silent].mean() for space in READS[organisation]) < 0.05
    for gradient in features()["gradient"]:
        assert r(gradient, fmri).mean() < 0.05


def test_the_softmax_is_sharper_than_the_networks() -> None:
    fmri, _ = made(organisation="softmax")
    _, high = places(fmri)
    assert r(softmax(0.5), fmri)[high].mean() > r(softmax(1.0), fmri)[high].mean() + 0.02


def test_the_loss_is_read_late_and_in_high_areas() -> None:
    fmri, meg = made(organisation="difficulty", vertices=200)
    loss = extra()["loss"][:, None]
    _, high = places(fmri)
    depth = fmri.targets["depth"].to_numpy()
    assert r(loss, fmri)[high].mean() > 0.2
    assert r(loss, fmri)[depth < 0.45].mean() < 0.05
    course = r(loss, meg).reshape(275, len(TIMES)).max(0)
    assert TIMES[course.argmax()] == pytest.approx(0.3)
    assert fmri.provenance["truth"]["kinds"] == ["activation", "difficulty"]
    assert fmri.provenance["truth"]["ordered"] == ["activation"]


def expansion(layer: NDArray[Any]) -> NDArray[Any]:
    """Products of all pairs of columns."""
    i, j = np.triu_indices(layer.shape[1])
    return layer[:, i] * layer[:, j]


def test_nonlinear_readouts_are_of_the_same_features() -> None:
    layer = features()["activation"][-1]
    found = {readout: made(readout=readout)[0] for readout in ("linear", "rectified", "energy", "normalized")}
    low, high = places(found["linear"])
    linear = {readout: r(layer, fmri)[high].mean() for readout, fmri in found.items()}
    squares = {readout: r(expansion(layer), fmri)[high].mean() for readout, fmri in found.items()}
    assert linear["linear"] > 0.7 > linear["rectified"] > 0.5
    assert linear["linear"] > linear["normalized"] + 0.01
    assert linear["energy"] < 0.1
    assert squares["energy"] > 0.4 > 0.1 > squares["linear"]
    assert squares["rectified"] > squares["linear"] + 0.05
    for fmri in found.values():
        np.testing.assert_array_equal(fmri.ncsnr, found["linear"].ncsnr)
    first = r(expansion(features()["activation"][0]), found["energy"])
    assert first[low].mean() > 0.4 > 0.1 > first[high].mean()


def test_readouts_are_their_formulas() -> None:
    d = np.random.default_rng(0).standard_normal((500, 6)) * np.arange(1, 7)
    units = (d - d.mean(0)) / d.std(0)
    d = units * d.std(0)
    pool = np.sqrt(sum(units[:, [(place + step) % 6 for place in range(6)]] ** 2 for step in range(1, 5)) / 4)
    formulas = {
        "linear": d,
        "rectified": np.maximum(units - 0.3, 0),
        "energy": units**2,
        "normalized": units / (0.5 + pool),
    }
    for readout, expected in formulas.items():
        found = read_out(d, readout)
        np.testing.assert_allclose(found.std(0), d.std(0))
        np.testing.assert_allclose(
            found / found.std(0), (expected - expected.mean(0)) / expected.std(0), atol=1e-12, err_msg=readout
        )
    np.testing.assert_array_equal(read_out(np.zeros((4, 2)), "energy"), 0)


def test_gradients_are_read_linearly_beside_a_nonlinear_readout() -> None:
    fmri, _ = made(organisation="forward-then-backward", readout="energy")
    _, high = places(fmri)
    assert r(features()["gradient"][-1], fmri)[high].mean() > 0.4


def test_subjects_have_half_of_a_nonlinear_readout_of_their_own() -> None:
    brain = replace(BRAIN, readout="rectified", subjects=2, ceiling=0.99)
    (first, second), _ = simulate_brain(features(), brain)
    a, b = (np.asarray(recording.average_repeats().responses) for recording in (first, second))
    seen = np.flatnonzero(first.targets["depth"].notna())
    alike = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in seen])
    assert 0.3 < alike < 0.6


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_gradients_are_as_strong_as_said(strength: float) -> None:
    whole, _ = made(organisation="forward-then-backward")
    part, meg = made(organisation="forward-then-backward", strength=strength)
    _, high = places(part)
    last = features()["gradient"][-1]
    ratio = (r(last, part)[high] ** 2).mean() / (r(last, whole)[high] ** 2).mean()
    share = strength**2 / (1 + strength**2) / 0.5
    assert ratio == pytest.approx(share, abs=0.12)
    assert (r(last, meg).max() > 0.3) == (strength > 0)
    assert ("gradient" in part.provenance["truth"]["kinds"]) == (strength > 0)


# Noise, ceilings, places.


def test_noise_grows_with_the_loss_and_with_nothing_else() -> None:
    for organisation in ("none", "forward"):
        settings = {"noise": "grows with the loss", "repeats": 4, "ceiling": 0.3, "times": TIMES[::5]}
        for recording in made(organisation=organisation, **settings):
            values = np.asarray(recording.responses, dtype=np.float64)
            images, group = np.unique(recording.image_ids, return_inverse=True)
            means = np.stack([values[group == image].mean(0) for image in images])
            size = np.sqrt(np.stack([((values - means[group])[group == i] ** 2).mean() for i in images]))
            order = extra()["loss"].argsort()
            assert size[order[-30:]].mean() / size[order[:30]].mean() == pytest.approx(4, rel=0.15)
            assert (size**2).mean() * 4 / 3 == pytest.approx(1, rel=0.1)
    even, _ = made(organisation="none")
    assert "noise" not in repr(BRAIN)
    assert even.provenance["truth"]["noise"] == "even"


def test_ceilings_spread_about_their_mean_and_subjects_have_their_own() -> None:
    brain = replace(BRAIN, subjects=2, ceiling=0.7, spread=0.1, vertices=400, silent=10)
    (first, second), _ = simulate_brain(features(60), brain)
    ceilings = []
    for fmri in (first, second):
        ncsnr = fmri.ncsnr[fmri.targets["depth"].notna()]
        ceilings.append(np.sqrt(ncsnr**2 / (ncsnr**2 + 1 / brain.repeats)))
    for own in ceilings:
        assert own.mean() == pytest.approx(0.7, abs=0.02)
        assert own.std() == pytest.approx(0.1, abs=0.015)
        assert own.min() >= 0.1 - 1e-9
        assert own.max() <= 0.97 + 1e-9
    assert abs(np.corrcoef(*ceilings)[0, 1]) < 0.2
    np.testing.assert_array_equal(first.ncsnr[first.targets["depth"].isna()], 0)


def test_unresponsive_vertices_have_a_place_and_no_signal() -> None:
    fmri, _ = made(unresponsive=90)
    has_depth = fmri.targets["depth"].notna().to_numpy()
    assert has_depth.sum() == 120 + 90
    still = has_depth & (fmri.ncsnr == 0)
    assert still.sum() == 90
    assert fmri.targets["depth"][still].std() > 0.2
    assert max(r(layer, fmri)[still].mean() for layer in features()["activation"]) < 0.05
    assert fmri.targets["label"].is_unique


# Sums of absolute values of fMRI and MEG responses before alternatives came.
BEFORE = {
    "forward": (132953.1969, 1821876.114),
    "forward-then-backward": (132621.6997, 1824083.736),
    "gradient-misplaced": (132545.8859, 1817283.341),
    "none": (133310.7452, 1819001.677),
}


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_earlier_brains_are_what_they_were(organisation: str) -> None:
    brain = Brain(organisation, subjects=1, vertices=150, silent=50, times=TIMES)
    (fmri,), (meg,) = simulate_brain(features(250), brain)
    sums = [float(np.abs(np.asarray(made.responses, dtype=np.float64)).sum()) for made in (fmri, meg)]
    np.testing.assert_allclose(sums, BEFORE[organisation], rtol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"readout": "cubic"}, "readout must be one of .*got 'cubic'"),
        ({"noise": "loud"}, "noise must be one of .*got 'loud'"),
        ({"spread": -0.1}, "spread must be at least 0, got -0.1"),
        ({"spread": np.nan}, "spread must be at least 0, got nan"),
        ({"strength": -1}, "strength must be at least 0, got -1"),
        ({"unresponsive": -1}, "unresponsive must be at least 0, got -1"),
    ],
)
def test_a_brain_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Brain: {message}"):
        replace(BRAIN, **settings)


@pytest.mark.parametrize("organisation", [*ALTERNATIVES, "none"])
def test_what_a_brain_needs_is_asked_for(organisation: str) -> None:
    brain = replace(BRAIN, organisation=organisation, noise="grows with the loss")
    assert "loss" in brain.needs
    for name in brain.needs:
        less = {key: values for key, values in extra().items() if key != name}
        with pytest.raises(ValueError, match=f"simulate_brain: extra must hold {name!r}"):
            simulate_brain(features(), brain, extra=less)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mood": np.ones(IMAGES)}, "extra must be some of logits, .*got 'mood'"),
        ({"loss": np.ones(7)}, rf"extra\['loss'\] must be \[{IMAGES}\], got \[7\]"),
        ({"loss": np.full(IMAGES, np.nan)}, r"extra\['loss'\] must be finite"),
        ({"loss": np.ones(IMAGES)}, "features must be finite and vary over images"),
    ],
)
def test_what_is_given_is_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"simulate_brain: {message}"):
        simulate_brain(features(), replace(BRAIN, organisation="difficulty"), extra=extra() | given)


def test_settings_that_differ_are_shown() -> None:
    shown = repr(replace(BRAIN, readout="energy", spread=0.1))
    assert shown.endswith("seed=0, readout='energy', spread=0.1)")
    assert repr(BRAIN).endswith("seed=0)")
