"""Commands that take long: what they show meanwhile, where they compute, what Ctrl-C leaves, and their JSON."""

import io
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from gradkern import capture
from gradkern.cli import main
from gradkern.encoding import load_scores
from gradkern.recordings import Recording
from tests.fake_datasets.captures_and_recordings import arguments
from tests.fake_datasets.captures_and_recordings import write as write_captures
from tests.fake_datasets.small_study import write as write_study

FEW = ["--folds", "2", "--kinds", "gradient", "--layers", "1"]
COMMANDS = ("encode", "unique", "similarity", "verdict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(write_captures(tmp_path_factory.mktemp("long")))


def call(command: str, folder: Path, out: Path, *more: str) -> list[str]:
    if command == "verdict":
        return ["verdict", str(folder / "study.toml"), "--output", str(out), *more]
    if command == "unique":
        return arguments(folder, out, *FEW, "--unique", "--components", "2", "--permutations", "19", *more)
    asked = FEW if command == "encode" else ["--permutations", "99", "--distance", "euclidean", *FEW[2:]]
    return arguments(folder, out, *asked, *more, command=command)


class TestJSON:
    @pytest.mark.parametrize("command", COMMANDS[1:])
    def test_it_is_all_that_is_printed(
        self, command: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / ("s.nc" if command == "similarity" else "out")
        assert main(call(command, folder, out, "--json")) == 0
        said = capfd.readouterr()
        assert said.err == ""
        done = json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert done["output"] == str(out)
        if command == "unique":
            first, second = done["recordings"]
            scores = load_scores(out)["s1"]
            best = {row["objective"]: row for row in first["best"]}
            assert set(best) == {"_square", "_cube"}
            assert best["_cube"]["r"] == pytest.approx(float(scores.r.mean(("fold", "target"))[1]))
            assert (first["kept"], first["targets"], second["recording"]) == (False, 5, "s2")
            assert 0 < best["_cube"]["p"] <= 1
            assert main(call(command, folder, out, "--json")) == 0
            assert [row["kept"] for row in json.loads(capfd.readouterr().out)["recordings"]] == [True, True]
        if command == "similarity":
            assert (done["kept"], done["subjects"]) == (False, ["sub 1", "sub 2"])
        if command == "verdict":
            table = pd.read_csv(out / "verdict.csv")
            assert [row["id"] for row in done["verdict"]] == table["id"].tolist()
            assert [row["conclusion"] for row in done["verdict"]] == table["conclusion"].tolist()

    def test_errors_are_those_without(self, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(call("encode", folder, tmp_path / "out", "--json", "--by", "concept")) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1


class TestCtrlC:
    def test_recordings_that_are_done_are_kept(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            fit = torch.linalg.eigh

            def stopped(*given: Any, **named: Any) -> Any:
                if (tmp_path / "out" / "s1.nc").exists():
                    raise KeyboardInterrupt
                return fit(*given, **named)

            patched.setattr(torch.linalg, "eigh", stopped)
            assert main(call("encode", folder, tmp_path / "out")) == 130
        error = capsys.readouterr().err
        kept = tmp_path / "out" / "s1.nc"
        assert error == (
            f"gradkern encode: stopped; {kept}: whole, and kept by the same command, which computes the rest\n"
        )
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["s1.nc"]
        assert main(call("encode", folder, tmp_path / "out")) == 0
        assert "s1: kept" in capsys.readouterr().out
        assert load_scores(tmp_path / "out")["s2"].r.notnull().all()

    @pytest.mark.parametrize("command", ["encode", "similarity", "verdict"])
    def test_nothing_is_left_of_what_is_not_done(
        self,
        command: str,
        folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def stopped(recording: Recording) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(Recording, "check", stopped)
        assert main(call(command, folder, tmp_path / "out")) == 130
        assert capsys.readouterr().err == f"gradkern {command}: stopped; nothing was written\n"
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Terminal(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


class TestProgress:
    @pytest.fixture
    def minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every look at the clock finds it 40 s later."""
        clock = itertools.count(step=40)
        monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))

    @pytest.mark.parametrize(
        ("command", "what"),
        [
            ("unique", ["unique variance of sub 2: 2 of 2 gradients", "scores of sub 1: 4 of 4 fits"]),
            ("similarity", [r"similarity: \d+ of 99 permutations"]),
            ("verdict", [r"verdict: \d+ of \d+ claims"]),
        ],
    )
    def test_a_log_has_a_line_a_minute_with_the_time_left(
        self,
        command: str,
        what: list[str],
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        minutes: None,
    ) -> None:
        with (tmp_path / "log").open("w") as log:
            monkeypatch.setattr(sys, "stderr", log)
            assert main(call(command, folder, tmp_path / "o")) == 0
        lines = (tmp_path / "log").read_text().splitlines()
        for start in what:
            line = rf"{start}, [\d.e-]+ a second, (\d+ s|\d+ min|\d+ h \d+ min) left"
            assert any(re.fullmatch(line, found) for found in lines), lines

    def test_a_terminal_has_a_bar(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        monkeypatch.setenv("TERM", "xterm")
        assert main(call("encode", folder, tmp_path / "o")) == 0
        assert "scores of sub 1" in terminal.getvalue()
        assert "4/4 fits" in terminal.getvalue()

    def test_a_pipe_has_nothing(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes) -> None:
        monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
        assert main(call("encode", folder, tmp_path / "o")) == 0
        assert pipe.getvalue() == ""

    def test_a_capture_counts_from_where_it_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: None
    ) -> None:
        torch.manual_seed(0)
        model, images = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(48, 3)), torch.randn(12, 3, 4, 4)
        with (tmp_path / "log").open("w") as log:
            monkeypatch.setattr(sys, "stderr", log)
            capture(model, images, None, layers=["1"], kinds=["activation"], batch_size=1)
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines[0] == "capture: 2 of 12 images, 0.025 a second, 7 min left"
        assert lines[1] == "capture: 4 of 12 images, 0.025 a second, 5 min left"


class TestDevice:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu"])
    def test_one_that_is_not_there_is_said_before_anything_is_read(
        self, command: str, device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(call(command, tmp_path, tmp_path / "o", "--device", device)) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert "computing_on: device must be" in error
        assert f"got {device!r}" in error

    @pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes")
    @pytest.mark.parametrize("command", COMMANDS)
    def test_it_reaches_what_computes(
        self,
        command: str,
        folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A torch without CUDA raises when the first array goes there."""
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert main(call(command, folder, tmp_path / "o", "--device", "cuda")) == 1
        assert re.search(r"CUDA|NVIDIA", capsys.readouterr().err)
