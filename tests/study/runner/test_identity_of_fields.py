"""Every field of a study file: which tasks another value of it changes. A field without a case fails."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradkern.recordings import Recording, save_recording
from gradkern.study.runner import make_plan, read_run
from tests.small_studies import IMAGES, save_subject, small_study

STUDY = """\
hierarchy = "place"

[images]
pictures = "pictures"

[models]
toy = {name = "efficientnet-lite0", weights = "random"}
other = {name = "efficientnet-lite0", weights = "random", seed = 1, layers = ["blocks.0", "blocks.2"]}

[capture]
layers = ["blocks.0", "blocks.2"]
sketch = 64

[objectives]
norm = "FeatureNorm"
labelled = {name = "CrossEntropy", labels = "labels.csv"}
text = {name = "SigmoidContrastive", tables = {text = "text.npy", labels = "which.npy"}}

[recordings]
first = "first.h5"
sensors = "sensors.h5"

[encode]
folds = 3
alphas = [0.1, 10.0]

[analyses]
unique = {n_components = 2}
permutations = {permutations = 20}
maps = {stats = ["r"]}
figures = true
verdict = true
"""
ALL = {"capture", "fit", "unique", "permutations", "maps", "figures", "verdict"}
SCORED = {"fit", "maps", "figures"}
FITTED = {*SCORED, "unique", "permutations"}
GRADIENTS = ("norm", "labelled", "text")


def of(kinds: set[str] | str, *words: str) -> tuple[set[str], tuple[str, ...]]:
    """Tasks of kinds; where there are words, those whose names have one of them."""
    return ({kinds} if isinstance(kinds, str) else kinds), words


NOTHING = of(set())
OF_TOY = of(ALL, "toy")
OF_NORM = of(ALL, "norm")
OF_FIRST = [of({"fit", "unique", "permutations"}, "first"), of({"figures", "verdict"})]
# section, key, value -> what it changes; the names of what is new count too
CASES = [
    ("", "hierarchy", "'other'", of({"figures", "verdict"})),
    ("", "layers", "['blocks.0']", of("verdict")),
    ("", "depth", "[0.5]", of("verdict")),
    ("", "nuisances", "'labels.csv'", of("verdict")),
    ("", "labels", "'labels.csv'", of("verdict")),
    ("splits", "test", "{column = 'split'}", of("verdict")),
    ("images.pictures", "folder", "'same-pictures'", NOTHING),
    ("images.pictures", "file", None, NOTHING),  # an HDF5 dataset has no names: tests of recordings match by position
    ("images.pictures", "dataset", None, NOTHING),
    ("models.toy", "name", None, OF_TOY),  # the catalogue has one model that needs no network
    ("models.toy", "weights", "'weights.pth'", OF_TOY),
    ("models.toy", "seed", "5", OF_TOY),
    ("models.toy", "config", None, OF_TOY),  # see below: this model has none
    ("models.toy", "untrained", "0", of(ALL - {"verdict"}, "toy")),
    ("models.toy", "images", "'pict*'", NOTHING),
    ("models.toy", "tokens", "'mean'", OF_TOY),
    ("models.toy", "sketch", "65", OF_TOY),
    ("models.toy", "dtype", "'bfloat16'", OF_TOY),
    ("models.toy", "batch_size", "5", OF_TOY),
    ("models.toy", "block", "12", OF_TOY),
    ("models.toy", "layers", "['blocks.1']", OF_TOY),
    ("models.toy", "whole", "true", OF_TOY),
    ("capture", "tokens", "'mean'", of(ALL)),
    ("capture", "sketch", "65", of(ALL)),
    ("capture", "dtype", "'bfloat16'", of(ALL)),
    ("capture", "batch_size", "5", of(ALL)),
    ("capture", "block", "12", of(ALL)),
    ("capture", "layers", "['blocks.1']", OF_TOY),
    ("capture", "whole", "true", of(ALL)),
    ("objectives.norm", "name", "'Entropy'", OF_NORM),
    ("objectives.norm", "models", "['toy', 'other']", NOTHING),
    ("objectives.norm", "images", "'*'", NOTHING),
    ("objectives.labelled", "labels", "'other-labels.csv'", of(ALL, "labelled")),
    ("objectives.text", "settings", "{scale = 7.0}", of(ALL, "text")),
    ("objectives.text", "tables", "{text = 'text.npy', labels = 'other.npy'}", of(ALL, "text")),
    ("recordings.first", "file", "'other.h5'", OF_FIRST),
    ("recordings.first", "modality", "'meg'", of({"figures", "verdict"})),
    ("recordings.first", "images", "'pictures'", NOTHING),
    ("recordings.first", "roi", "['V1', 'V2']", [of({"fit", "unique", "permutations"}, "first"), of("figures")]),
    ("encode", "by", "'session'", of(FITTED)),
    ("encode", "folds", "4", of(FITTED)),
    ("encode", "inner_folds", "3", of(FITTED)),
    ("encode", "gap", "1.5", of(FITTED)),
    ("encode", "alphas", "[1.0]", of(FITTED)),
    ("encode", "selection", "'loo'", of(FITTED)),
    ("encode", "seed", "1", of(FITTED)),
    ("encode", "raw_gradients", "true", [of({*FITTED, "verdict"}, *GRADIENTS)]),
    ("encode", "block", "5", of(FITTED)),
    ("controls", "capture", "['gradient/random-cotangent']", of(ALL, *GRADIENTS)),
    ("controls", "encode", "['image-permuted']", [of(SCORED, *GRADIENTS)]),
    ("controls", "seed", "1", NOTHING),  # without a control there is nothing to draw
    ("analyses", "encode", "true", NOTHING),
    ("analyses", "verdict", "true", NOTHING),
    ("analyses", "figures", "true", NOTHING),
    ("analyses", "unique", "{n_components = 2}", NOTHING),
    ("analyses", "permutations", "{permutations = 20}", NOTHING),
    ("analyses", "maps", "{stats = ['r']}", NOTHING),
    ("analyses.unique", "covariates", "'same-layer'", of({"unique", "maps", "figures"}, *GRADIENTS)),
    ("analyses.unique", "n_components", "3", of({"unique", "maps", "figures"}, *GRADIENTS)),
    ("analyses.unique", "band_weights", "3", of({"unique", "maps", "figures"}, *GRADIENTS)),
    ("analyses.unique", "permutations", "30", of({"unique", "maps", "figures"}, *GRADIENTS)),
    ("analyses.unique", "seed", "3", of({"unique", "maps", "figures"}, *GRADIENTS)),
    ("analyses.permutations", "permutations", "30", of("permutations")),
    ("analyses.permutations", "seed", "3", of("permutations")),
    ("analyses.maps", "stats", "['best-r']", of("maps")),
    ("settings", "permutations", "40", of("verdict")),
    ("settings", "bootstraps", "40", of("verdict")),
    ("settings", "max_targets", "40", of("verdict")),
    ("settings", "max_locations", "40", of("verdict")),
    ("settings", "seed", "4", of("verdict")),
    ("settings", "folds", "4", of("verdict")),
    ("settings", "selection", "'loo'", of("verdict")),
    ("settings", "preference", "'softmax'", of("verdict")),
    ("settings", "latency", "'peak'", of("verdict")),
    ("settings", "window", "[0.1, 0.2]", of("verdict")),
    ("settings", "alphas", "[2.0]", of("verdict")),
    ("settings", "layer", "'blocks.0'", of("verdict")),
    ("settings", "subject_checks", "false", of("verdict")),
    ("executor", "kind", "'processes'", NOTHING),
    ("executor", "workers", "7", NOTHING),
    ("executor", "max_jobs", "7", NOTHING),
    ("executor", "python", "'python3'", NOTHING),
    ("executor", "device", "'cuda'", NOTHING),
    ("executor.fit", "device", "'cuda:1'", NOTHING),
    *(("executor", stage, "{minutes = 3}", NOTHING) for stage in sorted(ALL)),
    *(
        (section, key, value, NOTHING)
        for section in ("executor", "executor.fit")
        for key, value in (("partition", "'a'"), ("account", "'a'"), ("qos", "'a'"), ("constraint", "'a'"),
                           ("gres", "'gpu:1'"), ("memory", "'1G'"), ("cpus", "3"), ("minutes", "9"))
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_study(tmp_path_factory.mktemp("fields") / "lab", STUDY)
    lab = path.parent
    save_subject(lab / "other.h5", range(IMAGES), 7)
    rng = np.random.default_rng(5)
    sensors = ["a", "b", "c"]
    recording = Recording(
        rng.standard_normal((IMAGES, 6)).astype(np.float32),
        pd.DataFrame({"image": range(IMAGES)}),
        pd.DataFrame(
            {
                "label": [f"{s} {t}" for s in sensors for t in (0.1, 0.2)],
                "sensor": np.repeat(sensors, 2),
                "time": [0.1, 0.2] * 3,
                "roi": "V1",
            }
        ),
        subject="m",
        units="T",
    )
    save_recording(recording, lab / "sensors.h5")
    shutil.copytree(lab / "pictures", lab / "same-pictures")
    (lab / "weights.pth").write_bytes(b"weights")
    text = (lab / "labels.csv").read_text()
    (lab / "other-labels.csv").write_text(text.replace("000.png,0", "000.png,3"))
    np.save(lab / "text.npy", rng.standard_normal((5, 4)).astype(np.float32))
    np.save(lab / "which.npy", np.arange(IMAGES) % 5)
    np.save(lab / "other.npy", np.arange(IMAGES) % 4)
    return path


@pytest.fixture(scope="module")
def before(study: Path) -> dict[str, str]:
    return ids(study)


def ids(study: Path, *changes: str) -> dict[str, str]:
    return {planned.task.name: planned.task.id for planned in make_plan(read_run(study, changes)).tasks}


def named(given: object, names: set[str]) -> set[str]:
    """The names that cases describe."""
    groups = given if isinstance(given, list) else [given]
    return {
        name
        for kinds, words in groups
        for name in names
        if name.partition("/")[0] in kinds and (not words or set(words) & set(name.split("/")))
    }


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [case for case in CASES if case[2] is not None],
    ids=[f"{section}.{key}".lstrip(".") for section, key, value, _ in CASES if value is not None],
)
def test_another_value_changes_these_tasks(
    study: Path, before: dict[str, str], section: str, key: str, value: str, wanted: object
) -> None:
    changes = [f"{section}.{key}".lstrip(".") + f"={value}"]
    if key == "depth":
        changes = ["layers=['blocks.0']", *changes]
    if key == "folder":
        changes = ["images={pictures={folder='same-pictures'}}"]
    after = ids(study, *changes)
    changed = {name for name, identity in after.items() if before.get(name) != identity}
    assert changed == named(wanted, set(after))


def test_the_sizes_of_an_architecture_change_its_tasks(study: Path) -> None:
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    config = ", ".join(f"{name} = {size}" for name, size in (sizes | {"image_size": 32, "patch_size": 8}).items())
    change = "models.toy={name='vit-large-16', weights='random', layers=['network.vit.embeddings'], config={%s}}"
    first, second = (ids(study, change % text) for text in (config, config.replace("= 16,", "= 24,")))
    assert {name for name in first if first[name] != second[name]} == named(OF_TOY, set(first))


SECTIONS = sorted({section for section, *_ in CASES} - {"splits"})


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_case(study: Path, section: str) -> None:
    change = f"{section}.nonsense=1".lstrip(".")
    if section == "images.pictures":
        change = "images.pictures={folder='pictures', nonsense=1}"
    elif section == "analyses.maps":
        change = "analyses.maps={nonsense=1}"
    with pytest.raises(ValueError, match="must be some of") as raised:
        make_plan(read_run(study, [change]))
    known = set(re.search(r"must be some of (.*), got 'nonsense'", str(raised.value))[1].split(", "))
    tables = {name.partition(".")[0] for name in SECTIONS if name} | {"splits"}
    kind = section.partition(".")[0] if section.startswith("objectives") else section
    with_cases = {key for place, key, *_ in CASES if place == section or (kind != section and place.startswith(kind))}
    assert known - (tables if section == "" else set()) == with_cases
