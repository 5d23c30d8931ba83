"""A folder has one writer at a time, its arrays are replaced whole, and its space is there before the work."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Sketch
from tests.features.image_truth import squares

ASK = {"layers": ["1"], "sketch": Sketch(64), "progress": False, "batch_size": 2}
WRITER = """
import sys, time, torch, gradkern
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))

def squares(output, batch):
    if int(batch.index[-1]) >= int(sys.argv[2]):
        print("holding", flush=True)
        sys.stdin.readline()
    return output.square().sum(1)

squares.facts = {"name": "squares", "exact": True}
images = torch.arange(8 * 48).reshape(8, 3, 4, 4) / 400
try:
    ask = {"layers": ["1"], "sketch": gradkern.Sketch(64), "batch_size": 2}
    found = gradkern.capture(model, images, squares, out=sys.argv[1], **ask)
    print("whole", float(found["gradient", "1"].double().sum()), flush=True)
except BlockingIOError as error:
    print("refused", error, flush=True)
"""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))


def images(n: int = 8) -> Tensor:
    return torch.arange(n * 48).reshape(n, 3, 4, 4) / 400


def writer(folder: Path, holds_at: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(holds_at)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())


@pytest.mark.parametrize("holds_at", [0, 5])
def test_a_second_writer_is_told_who_writes(holds_at: int, tmp_path: Path) -> None:
    first = writer(tmp_path / "run", holds_at)
    assert first.stdout.readline() == "holding\n"
    second = writer(tmp_path / "run", 99)
    said, _ = second.communicate(timeout=60)
    assert f"must be written by one process at a time, got process {first.pid} on " in said
    answers = "\n" * 30
    whole, _ = first.communicate(answers, timeout=60)
    expected = gradkern.capture(model(), images(), squares, **ASK)
    assert whole.split()[-2] == "whole"
    stored = gradkern.load_features(tmp_path / "run")
    assert float(whole.split()[-1]) == pytest.approx(float(stored["gradient", "1"].double().sum()))
    assert torch.equal(stored["activation", "1"], expected["activation", "1"])


def test_a_writer_that_died_is_in_nobodys_way(tmp_path: Path) -> None:
    first = writer(tmp_path / "run", 5)
    assert first.stdout.readline() == "holding\n"
    first.kill()
    first.wait()
    assert (tmp_path / "run" / ".writer.lock").exists()
    assert json.loads((tmp_path / "run" / "capture.json").read_text())["done"] == 4
    whole, _ = writer(tmp_path / "run", 99).communicate(timeout=60)
    assert whole.startswith("whole")
    assert not (tmp_path / "run" / ".writer.lock").exists()
    assert gradkern.load_features(tmp_path / "run").losses.isfinite().all()


def test_many_writers_at_once_make_one_whole_capture(tmp_path: Path) -> None:
    writers = [writer(tmp_path / "run", 99) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in writers]
    assert any(line.startswith("whole") for line in said)
    assert all(line.startswith(("whole", "refused")) for line in said)
    expected = gradkern.capture(model(), images(), squares, **ASK)
    assert torch.equal(gradkern.load_features(tmp_path / "run")["activation", "1"], expected["activation", "1"])


def test_arrays_are_replaced_not_cut(tmp_path: Path) -> None:
    """A reader that has an array mapped goes on reading it while a new one is made."""

    class Interrupted(Exception):
        pass

    def fails(output: Tensor, batch: object) -> Tensor:
        raise Interrupted

    gradkern.capture(model(), images(), None, kinds=["activation"], out=tmp_path / "run", **ASK)
    file = tmp_path / "run" / "activation-1.npy"
    mapped, before = np.load(file, mmap_mode="r"), np.load(file)
    state = json.loads((tmp_path / "run" / "capture.json").read_text())
    (tmp_path / "run" / "capture.json").write_text(json.dumps(state | {"done": 0}))
    gradkern.capture(model(), images(), None, kinds=["activation"], out=tmp_path / "run", **ASK)
    assert np.array_equal(mapped, before)
    assert np.array_equal(np.load(file), before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_with_the_bytes(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    needed = 2 * (128 + 8 * 64 * 4) + 128 + 8 * 4 + (128 + 8 * 4 * 4) + 8 * 32  # features, losses, outputs, hashes
    with pytest.raises(OSError, match=rf"run must have room for {needed} bytes, got \d+ free"):
        gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    monkeypatch.undo()
    features = gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    expected = gradkern.capture(model(), images(), squares, **ASK)
    assert torch.equal(features["gradient", "1"], expected["gradient", "1"])


def test_space_is_on_the_disk_before_the_work(tmp_path: Path) -> None:
    def fails(output: Tensor, batch: object) -> Tensor:
        if int(batch.index[-1]) > 1:
            blocks = (tmp_path / "run" / "activation-1.npy").stat().st_blocks
            raise KeyboardInterrupt(str(blocks))
        return output.square().sum(1)

    fails.facts = {"name": "fails", "exact": True}
    with pytest.raises(KeyboardInterrupt) as stopped:
        gradkern.capture(model(), images(400), fails, out=tmp_path / "run", **ASK)
    assert int(str(stopped.value)) * 512 >= 400 * 64 * 4


def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    def odd(output: Tensor, batch: object) -> Tensor:
        lost = torch.tensor([float("nan") if int(i) in (3, 6) else 0.0 for i in batch.index])
        return output.square().sum(1) + lost

    odd.facts = {"name": "odd", "exact": True}
    for out in (None, tmp_path / "run"):
        with pytest.warns(UserWarning, match="objective is not finite for 2 of 8 images, the first of them image 3"):
            features = gradkern.capture(model(), images(), odd, out=out, **ASK)
        assert features.facts["losses_not_finite"] == 2
        assert features["gradient", "1"].isfinite().all()


def test_a_layer_with_a_slash_in_its_name_has_a_file(tmp_path: Path) -> None:
    class Slash(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.d = nn.ModuleDict({"a/b": nn.Linear(48, 4)})

        def forward(self, x: Tensor) -> Tensor:
            return self.d["a/b"](x.flatten(1))

    ask = ASK | {"layers": (name for name in ["d.a/b"])}
    features = gradkern.capture(Slash(), images(), squares, out=tmp_path / "run", **ask)
    assert gradkern.load_features(tmp_path / "run")["gradient", "d.a/b"].shape == features["gradient", "d.a/b"].shape


def test_a_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    """It has neither names nor hashes of its images, and no probe."""
    features = gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    state = json.loads((tmp_path / "run" / "capture.json").read_text())
    old = {name: value for name, value in state.items() if name not in ("hashes_are_of", "probe")}
    (tmp_path / "run" / "capture.json").write_text(json.dumps(old))
    (tmp_path / "run" / "image-hashes.npy").unlink()
    stored = gradkern.load_features(tmp_path / "run")
    assert stored.images.names is None
    assert stored.images.hashes is None
    assert torch.equal(stored["gradient", "1"], features["gradient", "1"])
    again = gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    assert torch.equal(again["gradient", "1"], features["gradient", "1"])


def test_a_folder_that_nobody_may_write_to_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    opened = os.open

    def denied(path: object, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", denied)
    again = gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    assert torch.equal(again["gradient", "1"], features["gradient", "1"])


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match="out must be a new folder or an earlier capture, got the file"):
        gradkern.capture(model(), images(), squares, out=tmp_path / "run", **ASK)
    assert (tmp_path / "run").read_text() == "mine"
