"""What a page turns is what the still figure shows: values, places and colors come back from the packed scene."""

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradkern import simulate_brain
from gradkern.plotting import Cortex, CortexView
from gradkern.plotting._turned import cortex_scene, sensor_scene
from gradkern.recordings import Brain
from tests.small_cortex import at_vertices, recording_of, spheres

VIEW = CortexView(cortex=Cortex(spheres()))


def unpacked(text: str, type: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), type)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60, unique=True), st.data())
def test_values_come_back_within_a_step_and_missing_ones_stay_missing(values: list[float], data: Any) -> None:
    known = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    known[0] = True
    shown = np.where(known, values, np.nan)
    scene = cortex_scene(shown, at_vertices({"left": range(len(values))}), "r", view=VIEW)
    packed = json.loads(scene.packed())
    levels = unpacked(packed["parts"][0]["values"], "<u2")[: len(values)]
    low, high = packed["range"]
    np.testing.assert_array_equal(levels == 65_535, ~known)
    returned = low + levels[known] / 65_534 * (high - low)
    np.testing.assert_allclose(returned, shown[known], atol=(high - low) / 65_534 + 1e-9)


def test_meshes_come_back_and_are_held_once() -> None:
    like = at_vertices({"left": [3, 4], "right": [5]}, roi='<script>"')
    scene, again = (cortex_scene([1.0, 2.0, 3.0], like, "r", opacity=[0, 0.5, 1], view=VIEW) for _ in range(2))
    assert list(scene.meshes) == list(again.meshes)
    for part, (points, triangles) in zip(scene.parts, spheres().values(), strict=True):
        mesh = json.loads(scene.meshes[part.mesh])
        at = np.array(mesh["low"]) + unpacked(mesh["points"], "<u2").reshape(-1, 3) * np.array(mesh["step"])
        np.testing.assert_allclose(at, points, atol=1e-3)
        np.testing.assert_array_equal(unpacked(mesh["triangles"], "<u2").reshape(-1, 3), triangles)
    left, right = json.loads(scene.packed())["parts"]
    assert unpacked(left["opacity"], "u1")[[3, 4, 5]].tolist() == [0, 128, 0]
    assert unpacked(right["opacity"], "u1")[5] == 255
    assert "opaque: certainty" in scene.note


def test_large_meshes_are_refused_for_the_page_would_be_too_large() -> None:
    points = np.random.default_rng(0).standard_normal((60_001, 3))
    view = CortexView(cortex=Cortex({"left": (points, [[0, 1, 2]])}))
    with pytest.raises(ValueError, match="at most 60,000 vertices to be turned, got 60,001"):
        cortex_scene([1.0], at_vertices({"left": [0]}), "r", view=view)


class TestHelmet:
    def test_every_sensor_is_on_it_at_every_time(self) -> None:
        layer = np.random.default_rng(0).standard_normal((20, 5))
        brain = Brain("forward", subjects=1, vertices=20, repeats=1, times=(0.0, 0.1, 0.2))
        meg = simulate_brain({"activation": [layer, layer]}, brain)[1][0]
        assert meg.geometry is not None
        values = np.arange(len(meg.targets), dtype=float)
        scene = sensor_scene(values, meg, meg.geometry.positions(), "r")
        (part,) = scene.parts
        assert scene.steps == ["0 ms", "100 ms", "200 ms"]
        by_time = [values[(meg.targets["time"] == time).to_numpy()] for time in (0.0, 0.1, 0.2)]
        np.testing.assert_array_equal(np.sort(part.values, axis=1), np.sort(by_time, axis=1))
        mesh = json.loads(scene.meshes[part.mesh])
        names = [mesh["names"][at] for at in unpacked(mesh["name"], "<u2")]
        at = np.array(mesh["low"]) + unpacked(mesh["points"], "<u2").reshape(-1, 3) * np.array(mesh["step"])
        first = dict(zip(meg.targets["sensor"], values, strict=True))
        for name, place, value in zip(names, at, part.values[-1], strict=True):
            np.testing.assert_allclose(place, 1000 * meg.geometry.positions()[name], atol=0.01)
            assert first[name] == value
        triangles = unpacked(mesh["triangles"], "<u2").reshape(-1, 3)
        assert set(triangles.ravel()) == set(range(275))
        sides = np.linalg.norm(at[triangles] - at[np.roll(triangles, 1, axis=1)], axis=2)
        assert sides.max() < 4.01 * np.median(sides)  # none across the face

    def test_magnetometers_and_gradiometers_have_their_own(self) -> None:
        sites = ["011", "012", "034", "264", "181"]
        names = [f"MEG {site}{end}" for site in sites for end in (1, 2, 3)]
        at = {
            name: np.array([0.1 * np.cos(n // 3), 0.1 * np.sin(n // 3), 0.02 * (n // 3)])
            for n, name in enumerate(names)
        }
        like = recording_of(pd.DataFrame({"sensor": names, "time": 0.1}), "sensors")
        scene = sensor_scene(np.arange(15.0), like, at, "r")
        values = {part.name: sorted(part.values[0].tolist()) for part in scene.parts}
        assert values == {"magnetometers": [0, 3, 6, 9, 12], "gradiometers": [1.5, 4.5, 7.5, 10.5, 13.5]}

    @pytest.mark.parametrize(
        ("places", "message"),
        [(np.eye(3), "at least 4 to be turned, got 3"), (np.outer(np.arange(5), [0, 0, 1.0]), "not lie on one line")],
    )
    def test_too_few_sensors_are_refused(self, places: np.ndarray, message: str) -> None:
        like = recording_of(pd.DataFrame({"sensor": [f"S{n}" for n in range(len(places))], "time": 0.1}), "sensors")
        with pytest.raises(ValueError, match=message):
            sensor_scene(np.ones(len(places)), like, {f"S{n}": place for n, place in enumerate(places)}, "r")
