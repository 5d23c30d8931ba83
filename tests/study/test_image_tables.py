"""Tables and folders of images in a study file: nuisances, labels, images and test images go to the right images."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradkern import Recording, Sketch, capture, objectives
from gradkern.encoding import image_statistics, nuisances
from gradkern.features import load_features
from gradkern.objectives import Output
from gradkern.recordings import save_recording
from gradkern.study import Study, choices, parse_study, read_study

IMAGES = 12
NAMES = tuple(f"{number % 3}/picture {number:02d}.png" for number in range(IMAGES))
HEAD = 'layers = ["1", "2", "3"]\ndepth = [0, 0.5, 1]\n'
BODY = '[features]\nx = "bare"\ny = "bare"\n[fmri]\ns = ["s1.h5", "s2.h5"]\n'
MIXED = np.random.default_rng(0).permutation(IMAGES)
VALUES = np.arange(IMAGES) ** 2 / 2


class Classifier(nn.Module):
    """Three blocks, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Output:
        x = images.flatten(1).unflatten(1, (4, -1))
        for block in self.blocks:
            x = block(x).tanh()
        features = x.mean(1)
        return Output(features, self.head(features))


def recording(subject: str, ids: Any, names: tuple[str, ...] | None, **columns: Any) -> Recording:
    presentations = pd.DataFrame({"image": ids, **columns})
    responses = np.random.default_rng(1).standard_normal((len(ids), 3))
    targets = pd.DataFrame({"label": list("abc"), "distance": [0.0, 1.0, 2.0]})
    return Recording(responses, presentations, targets, subject, "z", image_names=names)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tables")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(1), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 6))
    pixels = torch.randn(IMAGES, 3, 4, 4)
    capture(model, pixels, objectives.FeatureNorm(), layers=["1", "2", "3"], sketch=Sketch(64), out=home / "bare",
            progress=False)  # fmt: skip
    split = np.where(np.arange(IMAGES) % 4 == 0, "test", "train")
    save_recording(recording("1", range(IMAGES), NAMES, split=split), home / "s1.h5")
    save_recording(recording("2", range(4, IMAGES), None, split=split[4:]), home / "s2.h5")
    for number, name in enumerate(NAMES):
        (home / "stimuli" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(home / "stimuli" / name)
    table = pd.DataFrame({"image": MIXED, "loudness": VALUES[MIXED], "kind": [f"kind {i % 3}" for i in MIXED]})
    table.to_csv(home / "by id.csv", index=False)
    by_name = table.drop(columns="image").assign(name=[NAMES[i] for i in MIXED])
    by_name.to_csv(home / "by name.csv", index=False)
    by_name.assign(name=[Path(NAMES[i]).stem for i in MIXED]).to_csv(home / "by stem.tsv", index=False, sep="\t")
    table.sort_values("image").drop(columns="image").to_csv(home / "in order.csv", index=False)
    pd.DataFrame({"image": [2, 7, 3]}).to_csv(home / "ids.csv", index=False)
    pd.DataFrame({"name": [NAMES[i] for i in (2, 7, 3)]}).to_csv(home / "names.csv", index=False)
    pd.DataFrame({"image": range(IMAGES), "split": split}).to_csv(home / "split.csv", index=False)
    return home


def read(home: Path, text: str, body: str = BODY) -> Any:
    path = home / "study.toml"
    path.write_text(HEAD + text + "\n" + body)
    return read_study(path)


SOURCES = (
    'file = "by id.csv"',
    'file = "by name.csv"',
    'file = "by stem.tsv"',
    'file = "in order.csv", in_order = true',
)


@pytest.mark.parametrize("source", SOURCES)
def test_rows_go_to_their_images_by_id_by_name_or_in_order(home: Path, source: str) -> None:
    text = f'nuisances = {{{source}, columns = ["loudness"]}}\nlabels = {{{source}, column = "kind"}}'
    study: Study = read(home, text).variants.study()
    own = nuisances(load_features(home / "bare")).values
    np.testing.assert_array_equal(study.nuisances, np.column_stack([own, VALUES]))
    assert study.labels.tolist() == [f"kind {i % 3}" for i in range(IMAGES)]


def test_labels_may_be_a_column_of_the_nuisances_which_are_the_others(home: Path) -> None:
    read_file = read(home, 'nuisances = "by id.csv"\nlabels = "kind"')
    study = read_file.variants.study()
    own = nuisances(load_features(home / "bare")).values
    np.testing.assert_array_equal(study.nuisances, np.column_stack([own, VALUES]))
    assert study.labels.tolist() == [f"kind {i % 3}" for i in range(IMAGES)]
    assert "nuisances: loudness of by id.csv beside those of the captures" in read_file.notes
    assert "labels: 3 different ones of 12 images" in read_file.notes
    assert read_file.facts["nuisances"].startswith("by id.csv, ")


def test_they_stay_when_the_features_vary(home: Path) -> None:
    file = read(home, 'nuisances = "by id.csv"\nlabels = "kind"')
    study = file.variants.study()
    other, _ = choices(file.variants, file.settings)["features"]["y"](study, file.settings)
    np.testing.assert_array_equal(other.nuisances, study.nuisances)
    np.testing.assert_array_equal(other.labels, study.labels)
    assert re.search("labels +3 different ones", repr(study))


def test_images_are_those_of_their_names(home: Path, tmp_path: Path) -> None:
    study = read(home, 'images = "stimuli"').variants.study()
    assert [int(study.images[number][0, 0, 0]) for number in range(IMAGES)] == list(range(IMAGES))
    statistics = image_statistics(study.images)
    np.testing.assert_array_equal(study.image_statistics, statistics)
    assert np.ptp(statistics.sel(statistic="luminance/mean").values) > 0
    body = BODY.replace('"s1.h5", ', "")  # the other recording names no image
    with pytest.raises(ValueError, match=r"images must be \{folder = 'stimuli', in_order = true\}, as no recording"):
        read(home, 'images = "stimuli"', body)
    sorted_names = read(home, 'images = {folder = "stimuli", in_order = true}', body).variants.study()
    order = [int(sorted_names.images[number][0, 0, 0]) for number in range(IMAGES)]
    assert order == sorted(range(IMAGES), key=lambda number: NAMES[number])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"ids.csv"', [2, 3, 7]),
        ('"names.csv"', [2, 3, 7]),
        ('"split.csv"', [0, 4, 8]),
        ('{file = "split.csv", value = "train"}', [1, 2, 3, 5, 6, 7, 9, 10, 11]),
        ('{column = "split"}', [0, 4, 8]),
        ('{column = "split", value = "train"}', [1, 2, 3, 5, 6, 7, 9, 10, 11]),
    ],
)
def test_images_to_test_on_are_listed_or_those_of_a_split(home: Path, source: str, expected: list[int]) -> None:
    study = read(home, "", BODY + f"[splits]\ntest = {source}\n").variants.study()
    assert study.test_images.dtype == bool
    assert np.flatnonzero(study.test_images).tolist() == expected
    assert f"{len(expected)} of 12" in repr(study)


def test_outputs_are_those_of_their_capture(home: Path) -> None:
    logits = np.random.default_rng(2).standard_normal((IMAGES, 5))
    np.save(home / "logits.npy", logits)
    body = BODY.replace('x = "bare"', 'x = {folder = "bare", outputs = "logits.npy"}')
    file = read(home, "", body)
    np.testing.assert_array_equal(file.variants.study().outputs, logits)
    other, _ = choices(file.variants, file.settings)["features"]["y"](file.variants.study(), file.settings)
    assert other.outputs is None
    np.save(home / "logits.npy", logits[1:])
    with pytest.raises(
        ValueError, match=r"features.x.outputs must be floating-point \[12, outputs\], got float64 \[11"
    ):
        read(home, "", body)


def test_logits_of_a_capture_are_its_outputs(home: Path) -> None:
    layers, pixels = ["blocks.0", "blocks.1", "blocks.2"], torch.randn(IMAGES, 3, 4, 4)
    captured = capture(Classifier(), pixels, objectives.CrossEntropy(), layers=layers, tokens="mean", sketch="raw",
                       out=home / "logits", progress=False)  # fmt: skip
    body = BODY.replace('x = "bare"', 'x = "logits"').replace('y = "bare"\n', "")
    body = f"layers = {json.dumps(layers)}\ndepth = [0, 0.5, 1]\n{body}"
    (home / "logits.toml").write_text(body)
    np.testing.assert_array_equal(
        read_study(home / "logits.toml").variants.study().outputs, captured.outputs["logits"].numpy()
    )
    (home / "logits.toml").write_text(body.replace('x = "logits"', 'x = {folder = "logits", outputs = "logits.npy"}'))
    with pytest.raises(ValueError, match=r"features\.x\.outputs must be left out: the capture has logits"):
        read_study(home / "logits.toml")


def test_what_is_parsed_can_be_pickled(home: Path) -> None:
    (home / "other.toml").write_text(f'nuisances = "by id.csv"\nlabels = "kind"\n{BODY}[splits]\ntest = "ids.csv"\n')
    description = parse_study(home / "other.toml")
    assert pickle.loads(pickle.dumps(description)) == description
    assert description.labels is not None
    assert (description.labels.file, description.labels.columns) == ("by id.csv", ("kind",))


WRONG = (
    ('nuisances = "in order.csv"', r"nuisances must be a table with a column 'image', 'id', 'name', 'file', or \{file"),
    ('nuisances = {file = "by id.csv", in_order = true}', "nuisances must be without in_order, as 'image' says"),
    ('nuisances = "by id.csv"', r"nuisances must be numbers \(choose some by columns = \[...\]\), got words in 'kind'"),
    ('nuisances = {file = "by id.csv", columns = ["loudnes"]}', "got 'loudnes'; did you mean 'loudness'?"),
    ('nuisances = {file = "by id.csv", colums = ["kind"]}', "keys of nuisances must be .*; did you mean 'columns'?"),
    ('nuisances = "nowhere.csv"', "nuisances must be there, but there is no 'nowhere.csv'"),
    ('nuisances = "stimuli"', "nuisances.file must be a table, .csv or .tsv, got 'stimuli'"),
    ("nuisances = 3", "nuisances must be a table such as 'table.csv', .* got 3"),
    ('labels = "kind"', "labels must be a table such as 'labels.csv', or a column of the table of nuisances, got"),
    ('labels = "by id.csv"', "labels must be a table with one column of labels, .* got 'loudness', 'kind'"),
    ('labels = {file = "by id.csv", column = "loudness"}', "labels must be words or whole numbers, got other numbers"),
    ('labels = "ids.csv"', "labels must be a row for each of 12 images, got 3 rows"),
    ('images = "nowhere"', "images: folder_images: folder must be a directory"),
    ('images = {folder = "stimuli", in_order = true}', "images must be without in_order, as recordings name"),
    ("images = 3", "images must be a folder of images, or .* got 3"),
    ('[splits]\ntest = "split"', r"splits.test must be a table of images such as 'ids.csv', or \{column"),
    ('[splits]\ntests = "ids.csv"', "keys of splits must be some of test, got 'tests'; did you mean 'test'?"),
    ('[splits]\ntest = {column = "part"}', "splits.test must be a column of all presentations, 'part', got 'image'"),
    ('[splits]\ntest = {column = "split", value = "oood"}', "test_images must be some and not all of 12, got 0"),
    ('[splits]\ntest = "in order.csv"', "splits.test must be a table of images in a column 'image', .* got 12 rows"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_does_not_fit_is_named(home: Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=rf"study\.toml: .*{message}"):
        read(home, "", BODY + text) if text.startswith("[") else read(home, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(image=t["image"] + 1), "of images 0 to 11, counted from 0, got 12 in 'image'"),
        (lambda t: t.assign(image=t["image"].replace(3, 4)), "a row for each image, got 2 for image 4"),
        (lambda t: t.assign(loudness=t["loudness"].replace(2.0, np.nan)), "finite, got NaN or inf in 'loudness'"),
        (lambda t: t.assign(loudness=1.0), "columns that vary, got the same number in all rows of 'loudness'"),
        (lambda t: t.iloc[1:], "a row for each of 12 images, got 11 rows"),
        (lambda t: t.assign(image="picture"), "names of images, got 'picture' and 11 others that are not"),
        (
            lambda t: t.assign(image=[NAMES[i].replace("picture 05", "pictur 05") for i in t["image"]]),
            "got '2/pictur 05.png' and 0 others that are not; did you mean '2/picture 05.png'?",
        ),
    ],
)
def test_what_a_table_says_wrongly_is_named(home: Path, change: Any, message: str) -> None:
    change(pd.read_csv(home / "by id.csv")).to_csv(home / "changed.csv", index=False)
    with pytest.raises(ValueError, match=rf"nuisances\b.* {re.escape(message)}"):
        read(home, 'nuisances = {file = "changed.csv", columns = ["loudness"]}')


def test_words_that_look_like_gaps_are_labels(home: Path) -> None:
    words = ["none", "NA", "null"] * 4
    pd.DataFrame({"image": range(IMAGES), "kind": words}).to_csv(home / "words.csv", index=False)
    assert read(home, 'labels = "words.csv"').variants.study().labels.tolist() == words
    pd.DataFrame({"image": range(IMAGES), "kind": [*words[1:], ""]}).to_csv(home / "words.csv", index=False)
    with pytest.raises(ValueError, match="labels must be a label for each image, got none in 1 rows"):
        read(home, 'labels = "words.csv"')


def test_names_on_which_recordings_disagree_are_an_error(home: Path) -> None:
    other = (*NAMES[:5], "another.png", *NAMES[6:])
    save_recording(recording("3", range(IMAGES), other), home / "s3.h5")
    with pytest.raises(
        ValueError, match=r"image 5 must have one name in all recordings, got '2/picture 05\.png' in 1 and"
    ):
        read(home, "", BODY.replace("s2.h5", "s3.h5"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.arange(IMAGES - 1)}, r"labels must be \[12\] of whole numbers or words, got int64 \[11\]"),
        ({"labels": np.linspace(0, 1, IMAGES)}, r"labels must be \[12\] of whole numbers or words, got float64"),
        ({"labels": ["a"] * IMAGES}, "labels must be at least 2 different ones, got 'a'"),
        ({"test_images": np.ones(IMAGES)}, r"test_images must be bool \[12\], got float64"),
        ({"test_images": np.ones(IMAGES, dtype=bool)}, "test_images must be some and not all of 12, got 12"),
        ({"images": np.zeros((3, 2, 2))}, "images must be 12, as the features have, got 3"),
        ({"image_statistics": np.ones((IMAGES, 2), dtype=int)}, "image_statistics must be floating-point"),
        ({"outputs": np.full((IMAGES, 2), np.nan)}, "outputs must be finite, got 24 NaN"),
    ],
)
def test_a_study_refuses_what_does_not_fit_its_images(home: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Study: {message}"):
        replace(read(home, "").variants.study(), **changes)


# Which image a row is.


class Named:
    """Random images that are known by their names."""

    def __init__(self, names: Any) -> None:
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Tensor:
        return torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(NAMES.index(self.names[number])))


def of_names(home: Path, folder: str, names: Any, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(1), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 6))
    images = torch.randn(IMAGES, 3, 4, 4) if names is None else Named(names)
    capture(model, images, objectives.FeatureNorm(), layers=["1", "2", "3"], sketch=Sketch(64), out=home / folder,
            progress=False)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_recordings_are_matched_with_the_captures_by_names(tmp_path: Path, seed: int) -> None:
    """A subject who saw a part of the images, which a reader numbers anew, gets the rows of these images."""
    random = np.random.default_rng(seed)
    of_names(tmp_path, "named", [NAMES[i] for i in random.permutation(IMAGES)])
    shown = [random.permutation(IMAGES)[:10], random.permutation(IMAGES)]
    for number, ids in enumerate(shown, 1):
        own = tuple("./" + NAMES[i] for i in ids)
        save_recording(recording(f"{number}", range(len(ids)), own), tmp_path / f"s{number}.h5")
    read_file = read(tmp_path, "", BODY.replace("bare", "named"))
    study = read_file.variants.study()
    names = study.captured.images.names
    for ids, seen in zip(shown, study.fmri, strict=True):
        by_name = {names[row]: values for row, values in zip(seen.image_ids, seen.responses[:], strict=True)}
        first = recording("x", range(len(ids)), None).responses
        for place, i in enumerate(ids):
            np.testing.assert_allclose(by_name[NAMES[i]], first[place])
    assert any("rows of the captured features" in note for note in read_file.notes)


def test_rows_that_nothing_matches_are_refused(tmp_path: Path) -> None:
    of_names(tmp_path, "named", NAMES)
    of_names(tmp_path, "other", [*NAMES[1:], NAMES[0]], seed=1)
    of_names(tmp_path, "fewer", NAMES[:-1])
    for number in (1, 2):
        save_recording(recording(f"{number}", range(IMAGES), NAMES), tmp_path / f"s{number}.h5")
    body = BODY.replace("bare", "named")
    with pytest.raises(ValueError, match="same images in one order, got another in 'y'"):
        read(tmp_path, "", body.replace('y = "named"', 'y = "other"'))
    with pytest.raises(ValueError, match="captures of the same images"):
        read(tmp_path, "", body.replace('y = "named"', 'y = "fewer"'))
    with pytest.raises(ValueError, match=r"got none of .*11\.png"):
        read(tmp_path, "", BODY.replace("bare", "fewer"))
    save_recording(recording("1", range(10), NAMES[:10]), tmp_path / "s1.h5", overwrite=True)
    of_names(tmp_path, "bare", None)
    with pytest.raises(ValueError, match=r"10 images by names or pixels, got 12 rows .*the capture has no names"):
        read(tmp_path, "")
