"""How commands end: help with an example, bad input in one line, anything else with its traceback kept."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradkern.cli import main
from gradkern.errors import Refused

COMMANDS = {
    "demo": ["demo"],
    "models": ["models"],
    "layers": ["layers", "dinov2-base"],
    "capture": ["capture", "resnet50", "--images", "x", "--out", "y"],
    "encode": ["encode", "--features", "x", "--recordings", "y"],
    "similarity": ["similarity", "--features", "x", "--recordings", "y"],
    "verdict": ["verdict", "study.toml"],
    "doctor": ["doctor"],
    "data": ["data", "check", "kay2017"],
}


def broken(options: Any) -> int:
    """A programming error, of the kind that NumPy raises as a ValueError."""
    return int((np.zeros(3) + np.zeros(2)).sum())


def plant(monkeypatch: pytest.MonkeyPatch, command: str, run: Any) -> None:
    monkeypatch.setattr(importlib.import_module(f"gradkern.cli._{command}"), "run", run)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_the_command_understands(command: str, capsys: Any) -> None:
    words = COMMANDS[command][: 2 if command == "data" else 1]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "--debug" in text
    examples = re.findall(r"^  (gradkern .*)$", text[text.index("example:") :], re.MULTILINE)
    assert examples
    for example in examples:
        assert example.split()[1 : 1 + len(words)] == words


@pytest.mark.parametrize("command", COMMANDS)
def test_a_programming_error_keeps_its_traceback(
    command: str, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(monkeypatch, command, broken)
    assert main(COMMANDS[command]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith(f"gradkern {command}: unexpected ValueError: operands could not be broadcast")
    (log,) = tmp_path.iterdir()
    assert f"traceback: {log}" in error
    assert "in broken" in log.read_text()
    assert main([*COMMANDS[command], "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert "in broken" in error
    assert list(tmp_path.iterdir()) == [log]


def refusing(options: Any) -> int:
    raise Refused("the images are too few")


def missing(options: Any) -> int:
    raise FileNotFoundError("there is no x")


def of_the_library(options: Any) -> int:
    raise ValueError("raised by a test, which is no check of gradkern")


def stopped(options: Any) -> int:
    raise KeyboardInterrupt


def test_ctrl_c_is_one_line_without_a_log(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(monkeypatch, "doctor", stopped)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "gradkern doctor: stopped\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("run", "status"), [(refusing, 2), (missing, 2), (of_the_library, 1)])
def test_only_messages_about_input_are_without_a_log(
    run: Any, status: int, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(monkeypatch, "doctor", run)
    assert main(["doctor"]) == status
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert ("traceback" in error) == (status == 1)
    assert len(list(tmp_path.iterdir())) == (status == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verdict", "nowhere.toml"], "nowhere.toml must be a study file, but there is no such file"),
        (["verdict", "x", "--together", "--output", "new"], "--together needs --multiverse"),
        (["layers", "resnet"], "name must be one of"),
        ([*COMMANDS["encode"], "--by", "day"], "--by must be one of image, concept, session, .*, got 'day'"),
        ([*COMMANDS["encode"], "--controls", "luck"], "--controls must be some of raw, .*, got 'luck'"),
        ([*COMMANDS["encode"], "--unique", "luck"], "--unique must be one of same-layer, all-layers, got 'luck'"),
        ([*COMMANDS["similarity"], "--distance", "far"], "--distance must be one of correlation, .*, got 'far'"),
        ([*COMMANDS["similarity"], "--comparison", "x"], "--comparison must be one of Spearman, .*, got 'x'"),
        ([*COMMANDS["similarity"], "--by", "day"], "--by must be one of roi, time, all, got 'day'"),
    ],
)
def test_bad_input_is_one_line_without_a_log(
    arguments: list[str], message: str, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.match(rf"gradkern {arguments[0]}: .*{message}", error), error
    assert not list(tmp_path.iterdir())
