"""What a study file can say, and what the commands do with it."""

import json
import re
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from gradkern import models, objectives
from gradkern.cli import main
from gradkern.errors import Refused
from gradkern.recordings import Recording, save_recording
from gradkern.study import parse_study
from gradkern.study.runner import make_plan, read_run, run
from tests.small_studies import IMAGES, STUDY, picture, save_subject, small_study, toy

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def quiet(line: str) -> None:
    """Say nothing."""


def save_meg(path: Path) -> None:
    rng = np.random.default_rng(5)
    sensors, times = ["a", "b", "c"], [0.1, 0.2]
    recording = Recording(
        responses=rng.standard_normal((40, 6)).astype(np.float32),
        presentations=pd.DataFrame({"image": np.arange(40) % 20}),
        targets=pd.DataFrame(
            {"label": [f"{s} {t}" for s in sensors for t in times], "sensor": np.repeat(sensors, 2), "time": times * 3}
        ),
        subject="meg",
        units="T",
    )
    save_recording(recording, path)


def test_the_smallest_study_of_the_documents_runs(tmp_path: Path) -> None:
    smallest, largest, *_ = FENCE.findall((ROOT / "docs" / "studies.md").read_text())
    path = small_study(tmp_path / "lab", smallest)
    result = run(path, models={"lite": toy()}, say=quiet)
    assert not result.failed
    table = pd.read_csv(path.with_suffix("") / "scores.csv")
    assert set(zip(table["objective"], table["kind"], strict=True)) == {("none", "activation"), ("norm", "gradient")}
    whole = tmp_path / "whole.toml"
    whole.write_text(largest)
    description = read_run(whole)
    assert [entry.name for entry in description.objectives_of("lite", "things")] == ["norm", "entropy", "labelled"]
    assert [entry.name for entry in description.objectives_of("dino", "nsd")] == ["norm", "text"]
    assert description.executor.stages["capture"].partition == "gpu"
    assert (description.executor.device, description.executor.stages["fit"].account) == ("cuda", "lab")
    assert description.analyses.wanted == ("encode", "unique", "permutations", "maps", "figures", "verdict")


def examples() -> dict[str, tuple[str, str]]:
    """The examples of the page by their names: shell commands and the study file."""
    section = (ROOT / "docs" / "studies.md").read_text().partition("## Examples\n")[2].partition("\n## ")[0]
    found = re.findall(r"\*\*(.*?)\*\*.*?```sh\n(.*?)```\n\n```toml\n(.*?)```", section, re.DOTALL)
    return {name.strip("."): (shell, text) for name, shell, text in found}


def calls_of(shell: str) -> list[list[str]]:
    """The calls of gradkern in shell commands, loops unrolled."""
    calls = []
    for line in shell.splitlines():
        loop = re.fullmatch(r"for s in ([\d ]+); do (.*); done", line)
        lines = [loop[2].replace("$s", number) for number in loop[1].split()] if loop else [line]
        calls += [shlex.split(each)[1:] for each in lines if each.startswith("gradkern")]
    return calls


def test_examples_for_data_sets_parse_and_name_what_their_commands_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(examples()) == ["NSD", "THINGS-MEG", "NOD", "Your own NIfTI", "The paper's design"]
    for shell, text in examples().values():
        written = set()
        for words in calls_of(shell):
            written.add(words[words.index("--out") + 1])
            words[words.index("--out") + 1] = str(tmp_path / "out.h5")
            assert main([*words[:3], str(tmp_path / "nothing"), *words[4:]]) == 2
            error = capsys.readouterr().err
            assert "nothing" in error, error  # the folder is missing; nothing is wrong with the options
        study = tmp_path / "study.toml"
        study.write_text(text)
        description = read_run(study)
        assert {entry.file for entry in description.recordings.values()} == written
        assert all(entry.model in models.names() for entry in description.models.values())
        assert all(hasattr(objectives, entry.objective) for entry in description.objectives.values())


def test_image_sets_modalities_controls_and_claims_of_one_file(tmp_path: Path) -> None:
    path = small_study(tmp_path / "lab", STUDY + "[analyses]\nverdict = true\n", _with_everything)
    with h5py.File(path.parent / "others.h5", "w") as file:
        file["pixels"] = np.stack([picture(number, seed=9) for number in range(20)])
    save_meg(path.parent / "meg.h5")
    said: list[str] = []
    result = run(path, models={"toy": toy(), "before": toy()}, say=said.append)
    assert not result.failed, said
    assert any("norm: no gradient/target-shuffled" in line for line in said)
    folder = path.with_suffix("")
    scores = pd.read_csv(folder / "scores.csv")
    rows = scores[(scores["recording"] == "sensors") & (scores["model"] == "toy")]
    assert set(rows["modality"]) == {"meg"}
    assert set(rows["objective"]) == {"none", "norm"}  # labels are of the other images
    kinds = set(scores[(scores["objective"] == "labelled") & (scores["recording"] == "first")]["kind"])
    assert kinds == {f"gradient{control}{more}" for control in ("", "/target-shuffled") for more in ("", "/raw")}
    claims = pd.read_csv(folder / "claims.csv")
    assert {"toy"} == set(claims["model"])  # models before training are controls of the others
    assert set(zip(claims["objective"], claims["image set"], strict=True)) == {
        ("norm", "pictures"), ("labelled", "pictures"), ("norm", "others"),
    }  # fmt: skip
    with_untrained = claims[(claims["image set"] == "pictures") & claims["id"].str.contains("untrained", na=False)]
    assert len(with_untrained)
    assert (folder / "verdicts" / "toy" / "norm" / "pictures" / "report.html").is_file()


def _with_everything(text: str) -> str:
    text = text.replace(
        'pictures = "pictures"', 'pictures = "pictures"\nothers = {file = "others.h5", dataset = "pixels"}'
    )
    text = text.replace(
        "[capture]", 'before = {name = "efficientnet-lite0", untrained = 3, images = "pictures"}\n\n[capture]'
    )
    text = text.replace(', layers = ["blocks.0", "blocks.2"]', "")
    text = text.replace('labels = "labels.csv"}', 'labels = "labels.csv", images = "pictures"}')
    text = text.replace('second = "second.h5"', 'sensors = {file = "meg.h5", images = "others"}')
    text = text.replace('first = "first.h5"', 'first = {file = "first.h5", images = "pictures"}')
    controls = '[controls]\ncapture = ["gradient/target-shuffled"]\nencode = ["raw"]\n'
    settings = "[settings]\npermutations = 19\nbootstraps = 20\nfolds = 3\nsubject_checks = false\n"
    return f'hierarchy = {{order = ["V1", "V2", "V4"]}}\n{text}\n{controls}\n{settings}'


WRONG: list[tuple[str, str, str]] = [
    ("[capture]", "[captures]", r"keys must be some of .*'captures'; did you mean 'capture'"),
    ("sketch = 64", "sketsh = 64", r"keys of capture must be .*'sketsh'; did you mean 'sketch'"),
    ("folds = 3", "fold = 3", r"keys of encode must be .*did you mean 'folds'"),
    ('"FeatureNorm"', '"FeatureNrom"', r"objectives.norm.name must be one of .*did you mean 'FeatureNorm'"),
    ('"FeatureNorm"', '{name = "FeatureNorm", models = "dino*"}', r"objectives.norm.models must be of toy"),
    ('"FeatureNorm"', '{name = "MaskedPatchSurrogate", settings = {rato = 1}}', r"did you mean 'ratio'"),
    ('"efficientnet-lite0"', '"efficientnet-lite"', r"models.toy.name must be .*did you mean 'efficientnet-lite0'"),
    ('"blocks.2"]', '"block.2"]', r"models.toy.layers must be .*did you mean 'blocks"),
    ('"first.h5"', '{file = "first.h5", images = "picture"}', r"recordings.first.images must be one of pictures"),
    ('"first.h5"', '"third.h5"', r"recordings.first must be there, but there is no 'third.h5'"),
    ('"labels.csv"', '"label.csv"', r"objectives.labelled.labels must be there, but there is no 'label.csv'"),
    ('pictures = "pictures"', 'pictures = "nowhere"', r"images.pictures"),
    ("folds = 3", "folds = 11", r"recordings.second must be of 2 images for each of 11 folds, got 20 images"),
    ("10.0]", '10.0]\n[executor]\npartition = "a; rm -r b"', r"executor.partition must be a word of SLURM"),
    ("10.0]", '10.0]\n[executor]\ndevice = "gpu"', r'executor.device must be "cpu", "cuda" or "cuda:1"'),
    ("10.0]", '10.0]\n[executor]\nkind = "slrum"', r"executor.kind must be one of local, processes, slurm"),
    ("10.0]", '10.0]\n[controls]\ncapture = ["raw"]', r"controls.capture must be some of .*got 'raw'"),
    ("norm =", '"no/rm" =', r"objectives must be names without '/'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_study(tmp_path_factory.mktemp("wrong") / "lab")


@pytest.mark.parametrize(("before", "after", "message"), WRONG, ids=[after for _, after, _ in WRONG])
def test_what_is_wrong_is_named_before_any_work(lab: Path, before: str, after: str, message: str) -> None:
    path = lab.with_name("wrong.toml")
    assert before in STUDY
    path.write_text(STUDY.replace(before, after, 1))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_plan(read_run(path))
    assert not path.with_suffix("").exists()


def test_the_verdict_reads_its_studies_and_names_the_command_of_the_others(lab: Path) -> None:
    with pytest.raises(ValueError, match=r"features must be captures by name \(`gradkern run` makes them"):
        parse_study(lab)
    both = lab.with_name("both.toml")
    both.write_text('features.x = "a"\nfmri.x = ["a.h5"]\n[models]\na = "b"\n')
    with pytest.raises(ValueError, match=r"models must be left out beside \[features\]"):
        parse_study(both)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_device_of_a_kind_of_task_is_of_that_kind(tmp_path: Path) -> None:
    changes = ["objectives={norm='FeatureNorm'}", "recordings={first='first.h5'}", "executor.fit.device='cuda'"]
    result = run(small_study(tmp_path / "lab"), models={"toy": toy()}, changes=changes, say=quiet)
    assert {name.partition("/")[0] for name in result.done} == {"capture"}
    assert all("cuda" in error for name, error in result.failed.items())
    assert len(result.failed) == 2


def test_too_few_images_for_the_folds_are_refused_or_left_out(tmp_path: Path) -> None:
    path = small_study(tmp_path / "lab")
    save_subject(path.parent / "second.h5", range(20, IMAGES), 2)
    with pytest.raises(Refused, match=r"recordings.second"):
        make_plan(read_run(path), {"toy": toy()})
    said: list[str] = []
    result = run(path, models={"toy": toy()}, debug=True, say=said.append)
    assert not result.failed
    assert result.folder == path.with_suffix("") / "debug"
    assert any("recordings.second is left out" in line for line in said)
    assert {name.split("/")[-1] for name in result.done if name.startswith("capture")} == {"0-8"}
    assert len(pd.read_csv(result.folder / "scores.csv")) == 2 * 3


def test_commands_print_what_there_is_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(text: str) -> str:
        return text.replace('labelled = {name = "CrossEntropy", labels = "labels.csv"}\n', "")

    path = small_study(tmp_path / "lab", change=change)
    study = ["--set", "capture.block=24", str(path)]
    assert main(["run", "--dry-run", *study]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"^new      ", said, re.MULTILINE)) == 6
    assert "6 of 6 tasks would run" in said
    assert not path.with_suffix("").joinpath("results").exists()
    assert main(["estimate", *study]) == 0
    disk = int(re.search(r"in all .*?, ([\d,]+) bytes", capsys.readouterr().out)[1].replace(",", ""))
    assert main(["run", *study, "--only", "capture/*", "--shard", "1/1"]) == 0
    assert main(["status", *study]) == 0
    assert re.search(r"capture +2 of 2 done\nfit +0 of 4 done \(4 new\)", capsys.readouterr().out)
    assert main(["run", *study]) == 0
    assert "4 tasks done now, 2 before, 0 not" in capsys.readouterr().out
    folder = path.with_suffix("")
    used = sum(file.stat().st_size for file in (folder / "results").rglob("*") if file.is_file())
    assert abs(disk - used) <= 0.15 * used
    assert main(["report", *study]) == 0
    assert "toy, gradient of norm" in capsys.readouterr().out
    assert main(["store", "ls", *study]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main(["store", "prune", *study, "--set", "objectives={other='Entropy'}", "--yes"]) == 0
    assert len(re.findall(r"^removed ", capsys.readouterr().out, re.MULTILINE)) == 3  # of norm
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert all({"task", "id", "inputs", "seconds", "peak_memory", "machine"} <= set(entry) for entry in entries)
    shutil.rmtree(folder)


@pytest.mark.parametrize("command", ["run", "status", "estimate", "report", "store ls", "store verify", "store prune"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert "example:\n  gradkern " in capsys.readouterr().out


def test_shards_are_counted_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "study.toml", "--shard", "0/4"])
    assert "must be I/N with I from 1 to N" in capsys.readouterr().err


def test_parsed_values_are_those_of_the_file(lab: Path) -> None:
    description = read_run(lab, ["models.toy.seed=3", "encode.alphas=[1.0, 2.0]"])
    assert description.models["toy"].seed == 3
    assert description.encode.cv.alphas == (1.0, 2.0)
