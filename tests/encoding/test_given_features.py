"""Features that others captured are scored as our own: by names and pixels, in Python and on the command line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradkern import Recording, features
from gradkern.cli import main
from gradkern.encoding import join_captures, load_scores, matched_rows, nuisances, score
from gradkern.errors import Refused
from gradkern.recordings import save_recording
from tests.fake_datasets.given_features import write_neuralset, write_thingsvision, write_torchlens

N, SHOWN = 60, 48
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 5)).astype(np.float32)
Y = X @ rng.standard_normal((5, 3)) + 0.1 * rng.standard_normal((N, 3))
NAMES = [f"concept-{i % 7}/image_{i:02d}b.jpg" for i in range(N)]


def recording(ids: np.ndarray, *, folders: bool = True) -> Recording:
    """The responses to these images, in this order of the image source."""
    names = tuple(NAMES[i] if folders else Path(NAMES[i]).name for i in ids)
    shown = pd.DataFrame({"image": range(len(ids))})
    targets = pd.DataFrame({"label": list("abc"), "roi": ["V1", "V1", "V1"]})
    return Recording(Y[ids], shown, targets, "s", "z", image_names=names)


@given(
    order=st.permutations(range(N)), prefix=st.sampled_from(["", "/data/things/", "C:\\images\\"]), bare=st.booleans()
)
@settings(max_examples=15, deadline=None)
def test_rows_are_found_by_any_path_to_the_image(order: list[int], prefix: str, bare: bool) -> None:
    ids = np.array(order)[:SHOWN]
    names = [prefix + (name.replace("/", "\\") if "\\" in prefix else name) for name in NAMES]
    brain = recording(ids, folders=not bare)
    if bare and not prefix:
        names = [Path(name).name for name in names]
    np.testing.assert_array_equal(matched_rows(features.given(X, names), brain), ids)


def test_scores_are_those_of_the_right_rows() -> None:
    ids = np.random.default_rng(1).permutation(N)[:SHOWN]
    scores = score(features.given(X, NAMES, model="resnet50"), recording(ids)).r
    right = score({"X": X[ids]}, recording(ids)).r
    np.testing.assert_allclose(scores.values, right.values, atol=1e-6)
    assert float(scores.mean()) > 0.9


class TestOtherImages:
    def test_numbers_of_another_data_set_are_no_names(self) -> None:
        names = tuple(f"{i:04d}.png" for i in range(N))
        brain = Recording(
            Y, pd.DataFrame({"image": range(N)}), pd.DataFrame({"label": list("abc")}), "s", "z", image_names=names
        )
        theirs = features.given(X, [f"nsd/{name}" for name in names])
        with pytest.raises(ValueError, match="features must be of all 60 images"):
            matched_rows(theirs, brain)

    def test_two_images_of_one_file_name_are_an_error(self) -> None:
        theirs = features.given(X, [f"{i}/{Path(NAMES[i // 2 * 2]).name}" for i in range(N)])
        with pytest.raises(ValueError, match=r"tell images apart.*'0/image_00b\.jpg'.*'1/image_00b\.jpg'"):
            matched_rows(theirs, recording(np.arange(N), folders=False))

    def test_pixels_decide_where_both_have_them(self) -> None:
        pixels = [np.full((2, 3, 3), i, np.uint8) for i in range(N)]
        ids = np.random.default_rng(2).permutation(N)[:SHOWN]
        brain = Recording(
            Y[ids], pd.DataFrame({"image": range(SHOWN)}), pd.DataFrame({"label": list("abc")}), "s", "z",
            images=[pixels[i] for i in ids],
        )  # fmt: skip
        np.testing.assert_array_equal(matched_rows(features.given(X, images=pixels), brain), ids)
        with pytest.raises(ValueError, match="none with the pixels"):
            matched_rows(features.given(X, images=[255 - image for image in pixels]), brain)


@pytest.mark.parametrize("form", ["thingsvision", "TorchLens", "neuralset"])
def test_the_command_line_takes_what_others_wrote(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write = {"thingsvision": write_thingsvision, "TorchLens": write_torchlens}
    theirs = tmp_path / "resnet50"
    write_neuralset(theirs, X, NAMES) if form == "neuralset" else write[form](theirs, {"features": X}, NAMES)
    ids = np.random.default_rng(1).permutation(N)[:SHOWN]
    save_recording(recording(ids), tmp_path / "s1.h5")
    common = ["--features", str(theirs), "--recordings", str(tmp_path / "s1.h5")]
    assert main(["encode", *common, "--output", str(tmp_path / "scores")]) == 0
    table = load_scores(tmp_path / "scores")["s1"].to_dataset()
    assert float(table.r.mean()) > 0.9
    assert table.feature.values.tolist() == ["resnet50/none/activation/features"]
    assert main(["encode", *common, "--output", str(tmp_path / "scores")]) == 0
    assert "kept" in capsys.readouterr().out
    similar = ["similarity", *common, "--permutations", "9", "--output", str(tmp_path / "similarity.nc")]
    if form == "thingsvision":
        assert main(similar) == 0
        (theirs / "file_names.txt").unlink()
        assert main(["encode", *common, "--output", str(tmp_path / "other")]) != 0
        assert "names must tell which images" in capsys.readouterr().err


def test_gradients_of_others_have_kinds_and_may_have_losses() -> None:
    gradients = {("activation", "4"): X, ("gradient", "4"): 2 * X}
    with pytest.raises(Refused, match="losses"):
        nuisances(features.given(gradients, NAMES))
    theirs = features.given(gradients, NAMES, losses=np.arange(N), model="m", depth={"4": 0.5})
    assert nuisances(theirs).shape == (N, 2)
    (space, other) = join_captures([theirs])
    assert (str(space), space.depth, str(other)) == ("m/none/activation/4", 0.5, "m/given/gradient/4")


def test_layers_of_one_model_from_two_sources_are_joined() -> None:
    order = np.random.default_rng(3).permutation(N)
    first = features.given({"a": X}, NAMES, model="m")
    second = features.given({"b": torch.from_numpy(X[order])}, [NAMES[i] for i in order], model="m")
    spaces = join_captures([first, second])
    a, b = (np.asarray(values) for values in spaces.values())
    np.testing.assert_array_equal(a, b)


@given(rows=st.integers(40, 80), shown=st.integers(30, 60))
@settings(max_examples=15, deadline=None)
def test_arrays_without_names_have_a_row_for_each_image_of_the_source(rows: int, shown: int) -> None:
    brain = recording(np.arange(shown))
    X = np.random.default_rng(0).standard_normal((rows, 3))
    if rows == shown:
        score({"X": X}, brain)
        return
    with pytest.raises(
        ValueError, match=rf"score: features must have a row for each .* {shown} images, got {rows} rows"
    ):
        score({"X": X}, brain)
