"""A study from files: what the command writes is what the functions say, and bad study files are named."""

import base64
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from gradkern import Sketch, capture, load_model, objectives, simulate_brain
from gradkern.cli import main
from gradkern.encoding import nuisances, unit_length
from gradkern.features import load_features
from gradkern.hierarchy import euclidean_hierarchy, rank_hierarchy
from gradkern.models import UNTRAINED, untrained
from gradkern.objectives import Output
from gradkern.recordings import HCP_ORDER, Brain, load_recording, save_recording
from gradkern.ridge import CrossValidation
from gradkern.study import Study, VerdictSettings, parse_study, read_study, verdict

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES, WIDTH = 120, 10
CONTROL = "gradient/random-cotangent"
BRAIN = Brain(
    "forward-then-backward", subjects=2, repeats=2, ceiling=0.9, vertices=60, silent=10,
    times=tuple(0.06 * step for step in range(8)),
)  # fmt: skip
SETTINGS_TEXT = "permutations = 19\nbootstraps = 20\nmax_targets = 50\nmax_locations = 40\nseed = 3\n"
SETTINGS = VerdictSettings(
    CrossValidation(seed=3), permutations=19, bootstraps=20, max_targets=50, max_locations=40, seed=3
)
STUDY = f"""hierarchy = "depth"
[features]
mean = {{folder = "tokens", token = "mean"}}
rms = {{folder = "tokens", token = "rms"}}
"feature norm" = "norm"
[fmri]
betas = ["fmri-0.h5", "fmri-1.h5"]
"5.5 s" = ["later-0.h5", "later-1.h5"]
[meg]
sensors = ["meg-0.h5", "meg-1.h5"]
[settings]
{SETTINGS_TEXT}"""


UNTRAINED_STUDY = """hierarchy = "depth"
features.x = {folder = "tokens", token = "rms", untrained = "untrained"}
fmri.betas = ["fmri-0.h5"]
"""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outside(self.inside(x).tanh())


class Toy(nn.Module):
    """Four blocks over the four quarters of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.head = nn.Linear(WIDTH, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, images: Tensor) -> Output:
        x = images.flatten(1).unflatten(1, (4, -1))[..., :WIDTH]
        for block in self.blocks:
            x = block(x)
        features = x.mean(1)
        return Output(features, self.head(features))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures of a network, recordings made of what was captured, and a study file."""
    home = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    model, images = load_model(Toy()), torch.randn(IMAGES, 3, 4, 4)
    options: dict[str, Any] = {"sketch": "raw", "progress": False}
    kinds = ("activation", "gradient", CONTROL)
    capture(
        model, images, objectives.CrossEntropy(), kinds=kinds, tokens=("mean", "rms"), out=home / "tokens", **options
    )
    capture(model, images, objectives.FeatureNorm(), tokens="mean", out=home / "norm", **options)
    kinds = ("activation", "gradient", "weight_gradient")
    capture(model, images, objectives.FeatureNorm(), kinds=kinds, sketch=Sketch(64), out=home / "weights")
    fresh, options = untrained(model), options | {"tokens": ("mean", "rms")}
    capture(fresh, images, objectives.CrossEntropy(), out=home / "untrained", **options)
    capture(fresh, images.flip(0), objectives.CrossEntropy(), out=home / "other images", **options)
    capture(fresh, images, objectives.CrossEntropy(), kinds=("activation",), out=home / "no gradients", **options)
    (home / "untrained.toml").write_text(UNTRAINED_STUDY)
    captured = load_features(home / "tokens")
    layers = {
        kind: [values[:, 0].numpy() for (each, _), values in captured.items() if each == kind]
        for kind in ("activation", "gradient")
    }
    for name, seed in (("fmri", 0), ("later", 1)):
        fmri, meg = simulate_brain(layers, Brain(**{**vars(BRAIN), "seed": seed}))
        for number, (one, other) in enumerate(zip(fmri, meg, strict=True)):
            # subjects of a real study have their own voxels
            labels = [f"{label} {name}" for label in one.targets["label"]] if number else one.targets["label"]
            one = type(one)(**{**vars(one), "targets": one.targets.assign(label=labels)})
            save_recording(one, home / f"{name}-{number}.h5")
            occipital = other.targets["sensor"].str[2].eq("O").to_numpy()
            if name == "fmri":
                save_recording(other.select_targets(occipital, "occipital"), home / f"meg-{number}.h5")
    (home / "study.toml").write_text(STUDY)
    return home


@pytest.fixture(scope="module")
def written(home: Path, one_thread: None) -> Path:
    command = ["verdict", str(home / "study.toml"), "--output", str(home / "out"), "--multiverse"]
    assert main(command) == 0
    return home / "out"


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def test_the_numbers_are_those_of_the_functions(home: Path, written: Path) -> None:
    captured = load_features(home / "tokens")
    names = [f"blocks.{i}" for i in range(4)]
    features = {
        kind: [
            values if kind == "activation" else unit_length(values)
            for values in (captured[kind, name][:, 0].numpy() for name in names)
        ]
        for kind in ("activation", "gradient", CONTROL)
    }
    fmri, meg = (
        [load_recording(home / f"{part}-{number}.h5").average_repeats() for number in range(2)]
        for part in ("fmri", "meg")
    )
    hard = nuisances(captured).values
    study = Study(features, [0, 1 / 3, 2 / 3, 1], fmri, meg, "depth", hard, captured=captured)
    expected = verdict(replace(study, outputs=captured.outputs["logits"].numpy()), SETTINGS)
    found = read(written / "verdict.csv")
    numbers = ["estimate", "low", "high", "p", "smallest p", "subjects", "images", "targets", "ceiling", "power"]
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], check_dtype=False, rtol=1e-9)
    assert found["claim"].tolist() == expected["claim"].tolist()
    for words in ("conclusion", "simulated", "units", "data", "against"):
        assert found[words].astype(object).fillna("").tolist() == expected[words].tolist()
    assert (found["simulated"].astype(object).fillna("") != "").tolist() == found["power"].notna().tolist()
    assert "gradient-predicts-meg-more-than:random-cotangent" in set(found["id"])


class TestMultiverse:
    def test_every_choice_that_a_claim_can_hang_on_is_varied_alone(self, written: Path) -> None:
        runs = read(written / "multiverse.csv")
        both = {"": 1, "features": 2, "penalty": 2}
        fmri, meg = {"fmri": 1, "targets": 1, "fmri subjects": 1}, {"meg subjects": 1}
        for claim, wanted in {
            "gradient-predicts-fmri": both | fmri,
            "activation-maps-hierarchy": both | fmri | {"preference": 2},
            "gradient-predicts-meg-beyond:linear-activations": both | meg,
            "gradient-predicts-meg-beyond:activations": {"": 1, "features": 2} | meg,
            "gradient-later-than-activation": both | meg | {"latency": 4},
        }.items():
            assert runs.loc[runs["id"] == claim, "changed"].fillna("").value_counts().to_dict() == wanted

    def test_the_study_as_it_is_comes_first_and_others_differ(self, written: Path) -> None:
        runs, base = read(written / "multiverse.csv"), read(written / "verdict.csv").set_index("id")
        first = runs[runs["changed"].isna()].set_index("id")
        np.testing.assert_array_equal(first["value"], base.loc[first.index, "estimate"])
        tested = runs[runs["conclusion"].isin(["supported", "not found"]) & runs["changed"].notna()]
        # activations are the same whatever the objective
        same = tested["id"].eq("activation-maps-hierarchy") & tested["features"].eq("feature norm")
        values = tested["value"] == base.loc[tested["id"], "estimate"].to_numpy()
        # the penalty chooses the targets alone whose shares rise along the hierarchy
        may = tested["id"].eq("gradient-predicts-higher-areas-more") & tested["changed"].eq("penalty")
        np.testing.assert_array_equal(values[~may], same[~may])

    def test_refusals_are_kept_with_their_reason(self, written: Path) -> None:
        runs, base = read(written / "multiverse.csv"), read(written / "verdict.csv").set_index("id")
        refused = runs[runs["conclusion"] == "refused"]
        assert set(refused["changed"]) == {"fmri subjects"}
        assert refused["why"].str.contains(r"subjects must have the same targets, got different \['label'\]").all()
        survived = read(written / "survival.csv").set_index("id")
        told = refused["id"].value_counts().reindex(survived.index, fill_value=0)
        np.testing.assert_array_equal(told, base.loc[survived.index, "data"] == "fMRI")
        # beside what was refused, what could not be tested has no number
        without = runs[runs["value"].isna()]["id"].value_counts().reindex(survived.index, fill_value=0)
        np.testing.assert_array_equal(survived["refused"], without)
        assert (survived["refused"] >= told).all()

    def test_a_control_that_not_all_captures_have_is_not_tested_there(self, written: Path) -> None:
        runs = read(written / "multiverse.csv")
        row = runs[(runs["features"] == "feature norm") & runs["id"].str.contains("random-cotangent")]
        assert row["conclusion"].tolist() == ["not tested"] * 2  # more than it, fMRI and MEG
        (why,) = set(row["why"])
        assert "these features have no such test: their capture lacks the control" in why

    def test_region_means_are_fewer_targets_and_subjects_first_are_one(self, written: Path) -> None:
        runs = read(written / "multiverse.csv")
        by = runs[runs["id"] == "gradient-predicts-meg"].set_index("changed")
        assert by.loc["meg subjects", "value"] > 0
        assert np.isnan(by.loc["meg subjects", "low"])  # of one subject there is no interval over subjects
        assert not np.isnan(by.loc["penalty", "low"]).any()


class TestReport:
    def test_everything_is_in_the_page(self, written: Path) -> None:
        page = (written / "report.html").read_text()
        assert len(page) < 15e6
        names = {path.name for path in written.iterdir()}
        pictures = {name for name in names if name.endswith(".png")}
        tables = {"verdict.csv", "power.csv", "multiverse.csv", "survival.csv"}
        same = {Path(name).with_suffix(suffix).name for name in pictures for suffix in (".svg", ".csv")}
        assert names - pictures == tables | same | {"report.html"}
        assert {"map_gradient.png", "regions.png", "times.png", "sensors_gradient.png"} <= pictures
        assert "fMRI: penalties at an edge of the grid" in page
        inside = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
        assert {base64.b64decode(data) for data in inside} == {(written / name).read_bytes() for name in pictures}
        assert not re.search(r'(src|href)="http', page)
        for word in ("study_sha256", "features.mean.images", "settings.seed", "averaged 2 presentations of each"):
            assert word in page, word
        assert str(written.parent) not in page

    def test_the_power_of_each_test_is_there(self, written: Path) -> None:
        page, power = (written / "report.html").read_text(), read(written / "power.csv")
        table = page[page.index('<th scope="col">test</th>') :]
        table = table[: table.index("</section>")]
        rows = re.findall(r"<tr><td>([^<]+)</td>", table)
        assert set(power["text"]) == set(rows)
        assert set(rows) <= set(read(written / "verdict.csv")["claim"])
        assert "gradients predict MEG" in rows

    def test_an_earlier_verdict_is_kept_unless_it_is_to_be_replaced(
        self, home: Path, written: Path, tmp_path: Path, capsys: Any
    ) -> None:
        study = str(home / "nowhere.toml")  # which would be the error, had work begun
        assert main(["verdict", study, "--output", str(written)]) == 2
        assert "give --overwrite to replace it" in capsys.readouterr().err
        (tmp_path / "scores.nc").write_text("of the demo")
        assert main(["verdict", study, "--output", str(tmp_path), "--overwrite"]) == 2
        assert "holds no verdict.csv" in capsys.readouterr().err
        assert main(["verdict", study, "--output", str(tmp_path / "new"), "--together"]) == 2
        assert "--together needs --multiverse" in capsys.readouterr().err


def test_what_a_study_file_says_is_read(home: Path, tmp_path: Path) -> None:
    (home / "other.toml").write_text(
        'hierarchy = "depth"\nlayers = ["blocks.3", "blocks.0", "blocks.2"]\n[features]\nx = "weights"\n'
        '[meg]\ns = ["meg-0.h5"]\n[settings]\nlayer = "blocks.2"\nselection = "kfold"\nalphas = [1, 10]\n'
        'latency = "peak"\nwindow = [0, 0.3]\npreference = "best layer"\n'
    )
    study = read_study(home / "other.toml")
    np.testing.assert_allclose(study.variants.features["x"].depth, [0, 2 / 3, 1])
    assert list(study.variants.features["x"].kinds) == ["activation", "gradient"]
    assert any("weight_gradient is no control" in note for note in study.notes)
    settings = study.settings
    assert (settings.layer, settings.cv.selection, settings.cv.alphas) == (1, "kfold", (1.0, 10.0))
    assert (settings.latency.estimator, settings.latency.window, settings.preference.by) == (
        "peak",
        (0.0, 0.3),
        "best layer",
    )
    assert not study.variants.fmri


def test_names_of_earlier_versions_are_read(tmp_path: Path) -> None:
    old = (
        'axis = {order = ["V1", "V2"]}\n[features]\nx = "tokens"\n[fmri]\ny = ["fmri-0.h5"]\n'
        "[judging]\ntargets = 50\nplaces = 40\naxes = 3\nseed = 3\nfolds = 4\n"
    )
    new = old
    names = {"axis": "hierarchy", "judging": "settings", "targets": "max_targets", "places": "max_locations"}
    for before, now in names.items():
        new = re.sub(rf"\b{before}\b", now, new)
    first, second = (parse_study(saved(tmp_path, text)) for text in (old, new))
    keys = {"hierarchy_key": "hierarchy", "settings_key": "settings"}
    assert replace(first, **keys, without_effect=second.without_effect) == second
    assert (second.settings.max_targets, second.settings.max_locations) == (50, 40)
    assert second.without_effect == ("settings.axes",)
    assert (second.settings.cv.seed, second.settings.cv.folds, second.settings.seed) == (3, 4, 3)
    with pytest.raises(ValueError, match=r"axis must be left out beside hierarchy, which means the same, got {'order'"):
        parse_study(saved(tmp_path, 'hierarchy = "depth"\n' + old))


def saved(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("permutations", "permutation"),
            "keys of settings must be some of .*, got 'permutation'; did you mean 'permu",
        ),
        (("[meg]", "[megg]"), "keys must be some of .*, got 'megg'; did you mean 'meg'?"),
        (("token =", "tokens ="), "keys of features.mean must be some of .*, got 'tokens'; did you mean 'token'?"),
        (("[meg]", "[colour]"), "keys must be some of .*, got 'colour'$"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_study(saved(tmp_path, STUDY.replace(*change, 1)))


def test_a_study_file_is_parsed_before_anything_is_opened(tmp_path: Path) -> None:
    description = parse_study(saved(tmp_path, STUDY))
    assert list(description.features) == ["mean", "rms", "feature norm"]
    assert (description.features["rms"].folder, description.features["rms"].token) == ("tokens", "rms")
    assert description.fmri["5.5 s"] == ("later-0.h5", "later-1.h5")
    assert description.settings == SETTINGS
    assert pickle.loads(pickle.dumps(description)) == description


def test_a_hierarchy_is_derived_from_points_or_regions(home: Path, tmp_path: Path) -> None:
    def made(hierarchy: str) -> Any:
        return read_study(written_study(home, STUDY.replace('"depth"', hierarchy, 1)))

    plain = made('"distance"')
    assert plain.variants.hierarchy == "distance"
    assert not any("the hierarchy is" in note for note in plain.notes)

    def distance(targets: pd.DataFrame) -> Any:
        places, sides = targets[["x", "y", "z"]], targets["hemisphere"]
        return euclidean_hierarchy(places, (targets["roi"] == "V1").to_numpy(), sides)

    ranks: dict[str, Any] = {
        "V1, V2, V3": lambda targets: rank_hierarchy(["V1", "V2", "V3"], targets["roi"]),
        "HCP-MMP1": lambda targets: rank_hierarchy(HCP_ORDER, targets["roi"]),
    }
    for hierarchy, column, expected in (
        ('{euclidean = "V1"}', "distance to V1", distance),
        ('{order = ["V1", "V2", "V3"]}', "rank of the region in V1, V2, V3", ranks["V1, V2, V3"]),
        ('{order = "HCP-MMP1"}', "rank of the region in HCP-MMP1", ranks["HCP-MMP1"]),
    ):
        study = made(hierarchy)
        assert study.variants.hierarchy == study.variants.study().hierarchy == column
        for name, before in plain.variants.fmri.items():
            for one, other in zip(study.variants.fmri[name], before, strict=True):
                values = expected(other.targets)
                np.testing.assert_array_equal(one.targets[column], values)
                there = int(np.isfinite(values).sum())
                line = f"the hierarchy is the {column}, of {there} targets; {70 - there} have no value"
                assert f"fmri.{name}, {one.subject}: {line}" in study.notes
        assert not any(column in one.targets for one in study.variants.meg["sensors"])


def test_gradients_of_an_untrained_model_are_a_control(home: Path) -> None:
    study = read_study(home / "untrained.toml")
    features = study.variants.features["x"]
    assert list(features.kinds) == ["activation", "gradient", CONTROL, UNTRAINED]
    captured = load_features(home / "untrained")
    expected = [unit_length(captured["gradient", f"blocks.{i}"][:, 1].numpy()) for i in range(4)]
    np.testing.assert_array_equal(features.kinds[UNTRAINED], expected)
    assert study.facts["features.x.untrained"] == "untrained"
    assert study.facts["features.x.untrained.weights"] == "random"
    raw = read_study(written_study(home, UNTRAINED_STUDY.replace('"rms"', '"rms", raw = true')))
    np.testing.assert_array_equal(
        raw.variants.features["x"].kinds[UNTRAINED][2], captured["gradient", "blocks.2"][:, 1].numpy()
    )


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        ('"tokens"', "a capture of the model with other weights, got one of the same"),
        ('"norm"', "a capture with the objective 'cross-entropy', got 'feature-norm'"),
        ('"other images"', "a capture of the same images, got others"),
        ('"no gradients"', "a capture with gradients at blocks.0, .*, got none at 'blocks.0'"),
        ("true", "a folder that capture.*, got True"),
        ('"nowhere"', "there, but there is no 'nowhere'"),
    ],
)
def test_what_is_no_untrained_model_of_the_same_is_refused(home: Path, instead: str, message: str) -> None:
    text = UNTRAINED_STUDY.replace('untrained = "untrained"', f"untrained = {instead}")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"features\.x\.untrained must be {message}"):
        read_study(written_study(home, text))


def written_study(home: Path, text: str) -> Path:
    path = home / "another.toml"
    path.write_text(text)
    return path


CHANGES: tuple[tuple[str, Callable[[str], str], str], ...] = (
    ("unknown key", lambda s: "colour = 1\n" + s, r"keys must be some of features, .*, got 'colour'"),
    ("not TOML", lambda s: s + "[", "must be TOML"),
    ("no features", lambda s: s.replace("[features]", "[meg2]"), r"got 'meg2'"),
    ("missing capture", lambda s: s.replace('"norm"', '"nowhere"'), "features.feature norm must be there, .*nowhere"),
    ("not a capture", lambda s: s.replace('"norm"', '"."'), r"features.feature norm: load_features: folder must hold"),
    ("missing recording", lambda s: s.replace("fmri-1", "fmri-9"), r"fmri.betas must be there, .* 'fmri-9.h5'"),
    ("not a recording", lambda s: s.replace("fmri-1.h5", "study.toml"), "fmri.betas, study.toml: load_recording"),
    ("no list", lambda s: s.replace('["meg-0.h5", "meg-1.h5"]', '"meg-0.h5"'), "meg.sensors must be a list of files"),
    ("a subject twice", lambda s: s.replace("fmri-1", "fmri-0"), r"fmri.betas must be a file a subject, got"),
    ("no token", lambda s: s.replace('"rms"', '"class"'), r"features.rms.token must be one of mean, rms, got 'class'"),
    ("token unsaid", lambda s: s.replace(', token = "rms"', ""), r"features.rms.token must be one of .*, got None"),
    ("token of one", lambda s: s.replace('"norm"', '{folder = "norm", token = "mean"}'), "token must be left out"),
    ("other key", lambda s: s.replace("token =", "tokens =", 1), "keys of features.mean must be some of folder, token"),
    ("unknown layer", lambda s: 'layers = ["blocks.9"]\n' + s, r"layers must be some of blocks.0, .*, got 'blocks.9'"),
    ("two layers", lambda s: 'layers = ["blocks.0", "blocks.1"]\n' + s, "layers must be at least 3"),
    ("other depth", lambda s: 'layers = ["blocks.0"]\ndepth = [0.5]\n' + s, r"depth must be that of features.mean, 0"),
    ("depth alone", lambda s: "depth = [0.5]\n" + s, r"depth must be a list of numbers, one for each of layers"),
    ("hierarchy", lambda s: s.replace('"depth"', "1", 1), r"hierarchy must be a column's name, {euclidean = .*, got 1"),
    ("no V1", lambda s: s.replace('"depth"', '{euclidean = "V9"}', 1), "hierarchy: fmri.betas, .* 1: .*targets .* V9"),
    ("settings", lambda s: s + "colour = 1\n", "keys of settings must be some of"),
    ("permutations", lambda s: s.replace("= 19", "= 5"), "settings.permutations must be a whole number of at least 19"),
    ("a bool", lambda s: s.replace("seed = 3", "seed = true"), "settings.seed must be a whole number .*, got True"),
    ("selection", lambda s: s + 'selection = "best"\n', "settings.selection must be one of auto, .* got 'best'"),
    ("alphas", lambda s: s + "alphas = [0]\n", r"settings.alphas must be a list of positive numbers, got \[0\]"),
    ("layer", lambda s: s + 'layer = "blocks.9"\n', "settings.layer must be one of blocks.0"),
    ("window", lambda s: s + "window = [1, 0]\n", "settings.window must be two times in s"),
)  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_bad_study_files_are_named(
    home: Path, change: Callable[[str], str], message: str, capsys: Any, tmp_path: Path
) -> None:
    changed = change(STUDY)
    assert changed != STUDY
    (home / "changed.toml").write_text(changed)
    assert main(["verdict", str(home / "changed.toml"), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "changed.toml" in error
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_depths_that_nobody_knows_must_be_given(home: Path) -> None:
    model = nn.Sequential(nn.Flatten(1), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 6))
    images = torch.randn(IMAGES, 3, 4, 4)
    capture(model, images, objectives.FeatureNorm(), layers=["1", "2", "3"], sketch=Sketch(64), out=home / "bare")
    text = 'hierarchy = "depth"\n[features]\nx = "bare"\n[fmri]\ny = ["fmri-0.h5"]\n'
    (home / "bare.toml").write_text(text)
    with pytest.raises(ValueError, match=r"bare\.toml: depth must be given, with layers: features\.x .* '1', got none"):
        read_study(home / "bare.toml")
    (home / "bare.toml").write_text('layers = ["1", "2", "3"]\ndepth = [0, 0.4, 1]\n' + text)
    assert read_study(home / "bare.toml").variants.features["x"].depth == [0, 0.4, 1]


def test_images_of_other_recordings_are_refused(home: Path) -> None:
    images = torch.randn(100, 3, 4, 4)
    capture(load_model(Toy()), images, objectives.FeatureNorm(), tokens="mean", sketch="raw", out=home / "fewer")
    (home / "few.toml").write_text(STUDY.replace('"norm"', '"fewer"'))
    with pytest.raises(ValueError, match=r"features must be captures of the same images, got .*'feature norm': 100"):
        read_study(home / "few.toml")
    (home / "few.toml").write_text('hierarchy = "depth"\n[features]\nx = "fewer"\n[fmri]\ny = ["fmri-0.h5"]\n')
    with pytest.raises(ValueError, match=r"few\.toml: fmri\.y, fmri-0\.h5: .*image_ids must lie in 0\.\.99"):
        read_study(home / "few.toml")
