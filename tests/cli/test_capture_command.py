"""`gradkern capture`: the features of `gradkern.capture`, from files and words alone."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

import gradkern
from gradkern import Recording, Sketch, capture
from gradkern.cli import main
from gradkern.encoding import in_rows_of, matched_rows
from gradkern.features import Features, load_features
from gradkern.models import CATALOGUE, load_model, recognise_model
from gradkern.objectives import CrossEntropy, FeatureNorm, named_objective, objective_classes
from gradkern.recordings import FileImages, folder_images, load_recording, save_recording
from tests.fake_datasets.photographs import CONFIGURATION, COUNT, LABELS, MODEL, names, pixels, write

TINY = ["--untrained", "3", "--sketch", "64"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("capture"))


@pytest.fixture(autouse=True)
def inside(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs)


def command(out: Path, *more: str, images: str = "photographs") -> list[str]:
    return ["capture", MODEL, "--images", images, "--config", "tiny.json", *TINY, "--out", str(out), *more]


def in_python(objective: Any, **ask: Any) -> Features:
    model = load_model(MODEL, "random", seed=3, config=CONFIGURATION)
    source, found = folder_images("photographs")
    ask = {"sketch": Sketch(64), "progress": False} | ask
    return capture(model, model.spec.prepared(source, found), objective, **ask)


def check_same(first: Features, second: Features) -> None:
    assert list(first) == list(second)
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    assert first.images == second.images


def test_it_is_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "captures" / "norm"
    kinds = ["activation", "weight_gradient"]
    more = ["--objective", "feature-norm", "--kinds", *kinds, "--layers", "blocks.0", "blocks.2", "--tokens", "patches"]
    assert main(command(out, *more, "--batch-size", "3")) == 0
    said = capsys.readouterr()
    assert said.out == f"8 images, 2 layers, activation, weight_gradient under feature-norm: all in {out}\n"
    expected = in_python(FeatureNorm(), kinds=kinds, layers=["blocks.0", "blocks.2"], tokens="patches", batch_size=3)
    check_same(load_features(out), expected)
    assert load_features(out).images.names == tuple(sorted(names()))
    assert main(command(out, *more, "--batch-size", "3")) == 0  # is there already
    assert main(command(out, *more, "--batch-size", "3", "--seed", "1")) == 2
    assert "out " in (error := capsys.readouterr().err)
    assert "sketch_seed: 0, now 1" in error


def test_labels_come_by_name_whatever_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--objective", "cross-entropy", "--labels", "labels.csv", "--controls", "target-shuffled"]
    assert main(command(tmp_path / "hard", *more)) == 0
    assert "labels: 'label' of labels.csv, by 'image'; 1 rows are of other images" in capsys.readouterr().out
    by_name = dict(zip(names(), LABELS, strict=True))
    labels = torch.tensor([by_name[name] for name in sorted(by_name)])
    expected = in_python(CrossEntropy(labels), kinds=["activation", "gradient", "gradient/target-shuffled"])
    check_same(load_features(tmp_path / "hard"), expected)
    soft = torch.nn.functional.one_hot(labels, 10).double() * 0.91 + 0.009
    table = pd.DataFrame(soft.numpy(), columns=[f"p{i}" for i in range(10)])
    table.insert(3, "stimulus", [name.split("/")[1].removesuffix(".png") for name in sorted(by_name)])
    table.to_csv(tmp_path / "soft.tsv", sep="\t", index=False)
    columns = [f"p{i}" for i in range(10)]
    asked = ["--objective", "cross-entropy", "--labels", str(tmp_path / "soft.tsv"), "--label-column", *columns]
    assert main(command(tmp_path / "soft", *asked)) == 0
    check_same(load_features(tmp_path / "soft"), in_python(CrossEntropy(soft.float())))


def test_what_was_stopped_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileImages.__getitem__

    def stopped(source: FileImages, number: int) -> Any:
        if number == 6:
            raise KeyboardInterrupt
        return read(source, number)

    more = ["--objective", "entropy", "--batch-size", "2"]
    with monkeypatch.context() as patched:
        patched.setattr(FileImages, "__getitem__", stopped)
        assert main(command(tmp_path / "out", *more)) == 130
    error = capsys.readouterr().err
    done = f"{tmp_path / 'out'} holds 6 of 8 images"
    assert error == f"gradkern capture: stopped; {done}; the same command goes on from there\n"
    assert main(command(tmp_path / "out", *more)) == 0
    assert f"{done}: going on from there" in capsys.readouterr().out
    assert main(command(tmp_path / "whole", *more)) == 0
    check_same(load_features(tmp_path / "out"), load_features(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(FileImages, "__getitem__", lambda source, number: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(command(tmp_path / "new", *more)) == 130
    assert "stopped; nothing was captured yet" in capsys.readouterr().err


def test_an_objective_has_the_name_of_its_class_too(tmp_path: Path) -> None:
    for name in ("kl-uniform", "KLToUniform"):
        assert main(command(tmp_path / "out", "--objective", name, "--layers", "blocks.0")) == 0  # is there already
    assert load_features(tmp_path / "out").objective == "kl-uniform"


def test_json_is_all_that_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "out", "--json")) == 0
    said = capfd.readouterr()
    assert said.err == ""
    done = json.loads(said.out)
    assert (done["images"], done["kinds"], done["weights"]) == (COUNT, ["activation"], "random")
    assert done["layers"] == ["blocks.0", "blocks.1", "blocks.2"]


class TestImages:
    def test_a_dataset_of_an_hdf5_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        order = sorted(range(COUNT), key=names().__getitem__)
        with h5py.File(tmp_path / "images.h5", "w") as file:
            file["brick/images"] = np.stack([pixels(number) for number in order])
        assert main(command(tmp_path / "one", images=str(tmp_path / "images.h5"))) == 0
        found = load_features(tmp_path / "one")
        expected = in_python(None, kinds=["activation"])
        torch.testing.assert_close(found["activation", "blocks.2"], expected["activation", "blocks.2"], rtol=0, atol=0)
        assert found.images.names == tuple(f"#{number}" for number in range(COUNT))
        assert found.images.hashes == expected.images.hashes
        with h5py.File(tmp_path / "images.h5", "a") as file:
            file["other"] = np.zeros((2, 4, 4, 3), np.uint8)
        assert main(command(tmp_path / "two", images=str(tmp_path / "images.h5"))) == 2
        assert "got brick/images, other; say which by" in capsys.readouterr().err
        assert main(command(tmp_path / "two", images=f"{tmp_path / 'images.h5'}:brick/images")) == 0
        assert main(command(tmp_path / "no", images=f"{tmp_path / 'images.h5'}:none")) == 2
        (table := tmp_path / "t.csv").write_text("image,label\n" + "".join(f"{i},{i}\n" for i in range(7)))
        asked = ["--objective", "cross-entropy", "--labels", str(table)]
        call = command(tmp_path / "no", *asked, images=f"{tmp_path / 'images.h5'}:brick/images")
        capsys.readouterr()
        assert main(call) == 2
        assert "must have the 0-based number of each image" in capsys.readouterr().err
        table.write_text("image,label\n" + "".join(f"{i},{i}\n" for i in range(8)))
        assert main(call) == 0
        assert load_features(tmp_path / "no").labels.tolist() == list(range(8))

    def test_only_what_recordings_show(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for subject, shown in (("s1", [1, 3]), ("s2", [3, 5])):
            recording = Recording(
                np.eye(2), pd.DataFrame({"image": [0, 1]}), pd.DataFrame({"label": ["a", "b"]}), subject, "z",
                image_names=tuple(names()[number] for number in shown),
            )  # fmt: skip
            save_recording(recording, tmp_path / f"{subject}.h5")
        files = [str(tmp_path / "s1.h5"), str(tmp_path / "s2.h5")]
        assert main(command(tmp_path / "out", "--shown-in", *files)) == 0
        assert "3 of 8 images are shown in" in capsys.readouterr().out
        assert load_features(tmp_path / "out").images.names == tuple(names()[number] for number in (1, 3, 5))
        assert main(command(tmp_path / "no", images=files[0])) == 2
        assert f"and --shown-in {files[0]}" in capsys.readouterr().err
        assert main(command(tmp_path / "no", "--shown-in", files[0], images="photographs/a")) == 2
        assert "--images must hold all images that" in capsys.readouterr().err

    def test_numbers_of_a_part_are_those_of_the_whole(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As for NSD, whose stimuli have no names: 3 of 8 images are captured, and found again by their numbers."""
        with h5py.File(tmp_path / "images.h5", "w") as file:
            file["bricks"] = np.stack([pixels(number) for number in range(COUNT)])
        table, voxels = pd.DataFrame({"image": [6, 2, 4, 2]}), pd.DataFrame({"label": ["a", "b"]})
        save_recording(Recording(np.eye(4, 2), table, voxels, "s", "z"), tmp_path / "s.h5")
        (tmp_path / "t.csv").write_text("id,class\n" + "".join(f"{i},{(3 * i) % 10}\n" for i in range(COUNT)))
        more = ["--shown-in", str(tmp_path / "s.h5"), "--labels", str(tmp_path / "t.csv")]
        call = command(tmp_path / "out", "--objective", "cross-entropy", *more, images=str(tmp_path / "images.h5"))
        assert main(call) == 0
        found, recording = load_features(tmp_path / "out"), load_recording(tmp_path / "s.h5")
        assert found.images.names == ("#2", "#4", "#6")
        assert found.labels.tolist() == [6, 2, 8]
        assert matched_rows(found, recording)[[2, 4, 6]].tolist() == [0, 1, 2]
        in_order = in_rows_of(found, recording)
        assert in_order.image_ids.tolist() == [2, 0, 1, 0]
        other = Recording(np.eye(4, 2), table.assign(image=[6, 2, 4, 7]), voxels, "s", "z")
        with pytest.raises(ValueError, match="got none of number 7 and 0 others among 3"):
            matched_rows(found, other)
        save_recording(Recording(np.eye(2), table[:2].assign(image=[9, 2]), voxels, "s", "z"), tmp_path / "far.h5")
        assert main([*call, "--shown-in", str(tmp_path / "far.h5")]) == 2
        assert "got none for 1 of 2, first 9 (there are numbers below 8)" in capsys.readouterr().err
        assert main(command(tmp_path / "no", "--shown-in", str(tmp_path / "s.h5"))) == 2
        assert "--shown-in must name its images as --images does" in capsys.readouterr().err

    def test_those_in_the_package(self, tmp_path: Path) -> None:
        assert main(command(tmp_path / "out", "--layers", "blocks.0", images="kay2017")) == 0
        assert len(load_features(tmp_path / "out").losses) == 115


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "entropi"], "--objective must be one of none, contrastive, .*, got 'entropi'"),
        (["--objective", "entropy", "3"], "--objective must be a name, and settings as KEY=VALUE, got '3'"),
        (["--objective", "self-distillation", "view=3"], "got 'view'; did you mean 'views'"),
        (["--objective", "self-distillation", "views=x"], "views must be a whole number, got 'x'"),
        (["--objective", "contrastive", "text=x.npy"], "--labels must be given for contrastive"),
        (["--objective", "entropy", "--labels", "labels.csv"], "--labels must be left out for entropy"),
        (["--objective", "cross-entropy", "--labels", "no.csv"], "--labels must be a table, got 'no.csv'"),
        (["--objective", "cross-entropy", "--labels", "tiny.json"], "--labels must be a .csv, .tsv or .txt file"),
        (["--objective", "cross-entropy", "--label-column", "x"], "must come with --labels"),
        (
            ["--objective", "cross-entropy", "--labels", "labels.csv", "--label-column", "x"],
            "--label-column must be a column of labels.csv, 'image', 'label', got 'x'",
        ),
        (
            ["--objective", "cross-entropy", "--labels", "labels.csv", "--label-column", "image"],
            "--labels must be class numbers, .*, got 'c/other.png'|--labels must be class numbers, .*, got 'b/photo",
        ),
        (["--kinds", "gradient"], "--objective must be given for gradient, got none"),
        (["--kinds", "luck"], "--kinds must be some of activation, gradient, weight_gradient, got 'luck'"),
        (["--controls", "luck"], "--controls must be some of target-shuffled, .*, got 'luck'"),
        (["--tokens", "luck"], "--tokens must be some of all, .*, got 'luck'"),
        (["--layers", "blocks.9"], "layers must name modules of the model, got 'blocks.9'"),
        (["--sketch", "many"], "--sketch must be a number of features or raw, got 'many'"),
        (["--sketch", "3"], "k must be at least 64, got 3"),
        (["--device", "cuda:77"], "device must be one of this machine, got 'cuda:77'"),
        (["--device", "meta"], "device must be cpu or cuda, got 'meta'"),
        (["--device", "fast"], "device must be cpu, cuda, .*, got 'fast'"),
        (["--images", "nowhere"], "--images must be a folder, FILE.h5, .*, got 'nowhere'"),
        (["--images", "labels.csv"], "--images must be a folder or an HDF5 file"),
        (["--weights", "x.pth"], "--untrained must come without weights"),
        (["--config", "no.json"], "--config must be a JSON file, got 'no.json'"),
        (["--config", "labels.csv"], "--config must be a JSON file, got 'labels.csv'"),
        (["--shown-in", "labels.csv"], "labels.csv"),
        (["--batch-size", "0"], "batch_size must be an integer of at least 1, got 0"),
        (["--objective", "self-distillation"], "the model has no projection, which objective"),
    ],
)
def test_bad_input_is_one_line_that_names_the_argument(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith("gradkern capture: ")
    assert re.search(message, error), error
    assert not (tmp_path / "out" / "capture.json").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "image,label\na/photo-00.png,1\n",
            "the name of each image in 'image', got none for 7 of 8, first 'a/photo-02",
        ),
        ("picture,label,class\nx,1,2\n", "--image-column must say which column of"),
        ("image,label,class\nx,1,2\n", "--label-column must say which column of .*, got several: 'label', 'class'"),
        ("image,label\nx,1.5\n", "--labels must be class numbers, .*, got '1.5' in row 1 of 'label'"),
        ("image,label\nx,\n", "got an empty cell in row 1"),
        ("image,label\nx,1\nx,2\n", "--labels must be one for each image, got|the name of each image in"),
        ("image,label\n", "--labels must have rows"),
        ("image,image\nx,1\n", "--labels must have|--label-column must"),
        ("\0\1\n\n,,,\n,", "--labels must|--image-column must"),
        ("", "--labels must be a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(
    rows: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(rows)
    asked = ["--objective", "cross-entropy", "--labels", str(tmp_path / "t.csv")]
    assert main(command(tmp_path / "out", *asked)) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(message, error), error


def test_two_labels_of_one_image_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{name},1" for name in names()]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows, rows[0]]))
    asked = ["--objective", "cross-entropy", "--labels", str(tmp_path / "t.csv")]
    assert main(command(tmp_path / "out", *asked)) == 0
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows, f"{names()[0]},2"]))
    assert main(command(tmp_path / "other", *asked)) == 2
    assert "--labels must be one for each image, got 1 and 2 for 'a/photo-00.png'" in capsys.readouterr().err


class TestModels:
    def test_a_folder_of_transformers_is_known_by_its_sizes(self, tmp_path: Path) -> None:
        for name, row in CATALOGUE.items():
            builder: Any = row.builder
            if hasattr(builder, "configuration"):
                configuration = builder.configuration({})
                configuration.architectures = [builder.architecture]
                configuration.save_pretrained(tmp_path / name)
                assert recognise_model(tmp_path / name) == name

    def test_what_is_no_model_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "weights.pth").write_bytes(b"x")
        (tmp_path / "folder").mkdir()
        (tmp_path / "list").mkdir()
        (tmp_path / "list" / "config.json").write_text("[1]")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.json").write_text('{"architectures": ["ViTModel"], "hidden_size": 7}')
        for model, message in (
            ("resnet", "name must be one of"),
            (str(tmp_path / "weights.pth"), "gradkern capture NAME --weights"),
            (str(tmp_path / "folder"), "folder must hold config.json"),
            (str(tmp_path / "list"), "must hold a configuration as JSON"),
            (str(tmp_path / "other"), "got another ViTModel"),
        ):
            call = ["capture", model, "--images", "photographs", "--out", str(tmp_path / "out")]
            assert main(call) == 2
            assert message in capsys.readouterr().err

    def test_weights_of_a_file(self, tmp_path: Path) -> None:
        model = load_model(MODEL, "random", seed=3, config=CONFIGURATION)
        torch.save(model.network.state_dict(), tmp_path / "weights.pth")
        base = ["capture", MODEL, "--images", "photographs", "--config", "tiny.json", "--sketch", "64"]
        assert main([*base, "--weights", str(tmp_path / "weights.pth"), "--out", str(tmp_path / "out")]) == 0
        found, expected = load_features(tmp_path / "out"), in_python(None, kinds=["activation"])
        torch.testing.assert_close(found["activation", "blocks.1"], expected["activation", "blocks.1"], rtol=0, atol=0)
        assert found.facts["weights"] == str(tmp_path / "weights.pth")


def test_what_a_capture_finds_out_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(MODEL, "random", seed=3, config=CONFIGURATION)
    state = {name: torch.full_like(value, float("nan")) for name, value in model.network.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    base = ["capture", MODEL, "--images", "photographs", "--config", "tiny.json", "--out", str(tmp_path / "out")]
    assert main([*base, "--weights", str(tmp_path / "weights.pth")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "is not finite" in error


def test_every_objective_is_known_by_its_name_and_takes_its_settings_in_words(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.eye(3))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    needs = {"text": str(tmp_path / "text.npy"), "queries": str(tmp_path / "text.npy"), "labels": torch.tensor([0, 1])}
    for name, kind in objective_classes().items():
        taken = {key: value for key, value in needs.items() if key in kind.__dataclass_fields__}
        assert named_objective(name, taken).name == named_objective(kind.__name__, taken).name == name
    assert set(objective_classes().values()) == {
        value
        for value in map(gradkern.objectives.__dict__.get, gradkern.objectives.__all__)
        if isinstance(value, type) and hasattr(value, "__dataclass_fields__") and hasattr(value, "exact")
    }
    with pytest.raises(ValueError, match=r"queries must be a \.npy file of numbers"):
        named_objective("detection-surrogate", {"queries": str(tmp_path / "pickled.npy")})
    assert named_objective("masked-autoencoder", {"normalize": "no", "ratio": "0.5"}).facts["normalize"] is False
