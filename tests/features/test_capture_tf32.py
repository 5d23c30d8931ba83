"""Whether a capture's float32 is float32: TF32 on a GPU is off unless asked for, and torch is left as it was."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import gradkern
from gradkern import Features, Sketch

WAYS = {False: ("ieee", False), True: ("tf32", True)}


class Recording(nn.Module):
    """A convolution that writes down how a GPU would compute it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen, self.fails = nn.Conv2d(3, 4, 3), set(), False

    def forward(self, images: Tensor) -> Tensor:
        self.seen.add((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision == "tf32"))
        with torch.backends.cudnn.flags(enabled=True):  # which models may use, reads torch's older switch
            return self.conv(images) if not self.fails else 1 / 0


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


def by_flag() -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True


def by_parent() -> None:
    torch.backends.cudnn.fp32_precision = "tf32"


def by_switch() -> None:
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"


SETTINGS = [lambda: None, by_flag, by_parent, by_switch]


def switches() -> tuple[str, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.backends.cuda.matmul.fp32_precision,
        cudnn.fp32_precision,
        cudnn.conv.fp32_precision,
        str(cudnn.allow_tf32),
    )


def captured(model: Recording, **options: bool) -> Features:
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return gradkern.capture(
        model,
        images,
        lambda output, batch: output.square().sum((1, 2, 3)),
        layers=["conv"],
        sketch=Sketch(64),
        **options,
    )


@pytest.mark.parametrize("allow_tf32", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_tf32_is_used_where_it_is_allowed_and_nowhere_else(setting: Callable[[], None], allow_tf32: bool) -> None:
    setting()
    before, model = switches(), Recording()
    options = {"allow_tf32": True} if allow_tf32 else {}
    assert captured(model, **options).facts["allow_tf32"] is allow_tf32
    assert model.seen == {WAYS[allow_tf32]}
    assert switches() == before


def test_an_error_leaves_torch_as_it_was() -> None:
    before, model = switches(), Recording()
    model.fails = True
    with pytest.raises(ZeroDivisionError):
        captured(model)
    assert switches() == before


def test_files_are_not_continued_in_another_precision(tmp_path) -> None:
    options = {"out": tmp_path / "features"}
    captured(Recording(), **options)
    with pytest.raises(FileExistsError, match="allow_tf32"):
        captured(Recording(), **options, allow_tf32=True)
