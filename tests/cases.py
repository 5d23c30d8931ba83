"""One table of cases for every op: read by the tests, the emulation and the benchmarks."""

from dataclasses import dataclass

import torch

from gradkern.reference import Window

WIDTH = 64  # columns of a segment; sizes are chosen around it
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MODEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass(frozen=True)
class SketchCase:
    shape: tuple[int, int, int]  # [n, rows, cols]
    k: int
    nnz: int = 1
    seed: int = 0
    first_segment: int = 0

    def inputs(self, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.shape, generator=generator).to(dtype).to(device)

    @property
    def spec(self) -> tuple[int, int, int, int]:
        return self.k, self.seed, self.nnz, self.first_segment

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}-k{self.k}-nnz{self.nnz}"


SKETCH = (
    SketchCase((2, 1, 1), 64),
    SketchCase((2, 3, WIDTH - 1), 64),
    SketchCase((2, 3, WIDTH), 65),
    SketchCase((3, 2, WIDTH + 1), 127, seed=2**63 - 1),
    SketchCase((1, 5, 3 * WIDTH + 2), 1000, nnz=3, first_segment=2**40),
    SketchCase((2, 7, 2 * WIDTH), 1024, nnz=9, seed=5),
    SketchCase((0, 3, 100), 64),
    SketchCase((3, 0, 100), 64),
    SketchCase((3, 2, 0), 64),
    SketchCase((1, 600, WIDTH + 3), 256, seed=3),  # several slices on a GPU
    SketchCase((2, 9, 7 * WIDTH), 20011, seed=4),  # several windows of buckets on a GPU
    SketchCase((1, 1, 300_001), 4096, seed=6),  # several parts on a CPU
)


@dataclass(frozen=True)
class OuterCase:
    shape: tuple[int, int, int, int]  # n, t, p, o
    k: int
    nnz: int = 1
    seed: int = 0
    first_segment: int = 0
    bias: bool = False

    def inputs(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        n, t, p, o = self.shape
        return draw((n, t, p), dtype, 1), draw((n, t, o), dtype, 2)

    @property
    def spec(self) -> tuple[int, int, int, int]:
        return self.k, self.seed, self.nnz, self.first_segment

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}-k{self.k}-nnz{self.nnz}{'-bias' * self.bias}"


OUTER = (
    OuterCase((2, 1, 1, 1), 64),
    OuterCase((2, 1, 1, 1), 64, bias=True),
    OuterCase((2, 2, WIDTH - 1, 5), 64, bias=True),
    OuterCase((1, 15, WIDTH, 6), 65, bias=True),
    OuterCase((1, 16, WIDTH + 1, 7), 100, nnz=3, seed=2**63 - 1),
    OuterCase((3, 17, 2 * WIDTH + 40, 65), 1024, seed=5, first_segment=2**40),
    OuterCase((1, 33, 2 * WIDTH + 1, 130), 1000, bias=True, first_segment=3),
    OuterCase((2, 197, 3 * WIDTH, 64), 1024, nnz=2),
    OuterCase((1, 600, 70, 13), 256, seed=3, bias=True),  # several blocks of positions
    OuterCase((1, 65, 10 * WIDTH + 3, 128), 64, seed=1),  # several blocks of columns
    OuterCase((1, 5, 3, 800), 64, seed=1),  # several blocks of rows on a CPU
    OuterCase((1, 40, 200, 129), 20011, seed=4),  # several windows of buckets on a GPU
    OuterCase((0, 3, 100, 5), 64),
    OuterCase((2, 0, 100, 5), 64, bias=True),
    OuterCase((2, 3, 0, 5), 64),
    OuterCase((2, 3, 0, 5), 64, bias=True),
    OuterCase((2, 3, 100, 0), 64, bias=True),
)


@dataclass(frozen=True)
class ConvCase:
    x: tuple[int, int, int, int]  # n, c, h, w
    o: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    k: int = 128
    nnz: int = 1
    seed: int = 0
    first_segment: int = 0
    bias: bool = False

    @property
    def g(self) -> tuple[int, int, int, int]:
        sizes = zip(self.x[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        out = [(x + 2 * pad - dil * (kernel - 1) - 1) // stride + 1 for x, kernel, stride, pad, dil in sizes]
        return self.x[0], self.o, out[0], out[1]

    def inputs(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        return draw(self.x, dtype, 1), draw(self.g, dtype, 2)

    @property
    def spec(self) -> tuple[int, int, int, int]:
        return self.k, self.seed, self.nnz, self.first_segment

    @property
    def window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.dilation, self.groups)

    def __str__(self) -> str:
        sizes = ["x".join(map(str, pair)) for pair in (self.x, self.kernel, self.stride, self.padding, self.dilation)]
        return f"{'-'.join(sizes)}-o{self.o}-g{self.groups}-k{self.k}-nnz{self.nnz}{'-bias' * self.bias}"


CONV = (
    ConvCase((2, 1, 1, 1), 1, (1, 1)),
    ConvCase((2, 3, 5, 5), 7, (1, 1), bias=True),
    ConvCase((2, 3, 9, 8), 5, (3, 3), padding=(1, 1), bias=True),
    ConvCase((1, 64, 7, 7), 6, (1, 1), bias=True),  # the bias alone in its segment
    ConvCase((1, 70, 6, 5), 13, (1, 1), stride=(2, 2), nnz=2, first_segment=9),
    ConvCase((2, 6, 20, 19), 12, (5, 3), (2, 1), (2, 0), (1, 2), groups=2, k=100, seed=2**63 - 1),
    ConvCase((1, 3, 40, 41), 70, (7, 7), (2, 2), (3, 3), bias=True, k=1000),
    ConvCase((1, 3, 28, 28), 33, (14, 14), (14, 14)),  # patches
    ConvCase((1, 4, 5, 300), 9, (3, 3), padding=(1, 1)),  # rows longer than a block of positions
    ConvCase((1, 3, 33, 35), 8, (3, 3), (1, 1), (2, 2), (2, 2), bias=True, k=20011),
    ConvCase((2, 8, 14, 13), 8, (3, 3), (2, 2), (1, 1), groups=8, bias=True),  # depthwise
    ConvCase((1, 5, 20, 33), 5, (5, 5), (1, 1), (2, 2), groups=5, nnz=3),
    ConvCase((1, 70, 9, 9), 70, (7, 7), (1, 1), (3, 3), groups=70, first_segment=2**40),
    ConvCase((1, 3, 17, 18), 6, (3, 3), (2, 3), (1, 0), (2, 1), groups=3),  # two outputs a group
    ConvCase((2, 8, 8, 8), 16, (3, 3), padding=(1, 1), groups=4, bias=True),
    ConvCase((2, 5, 1, 50), 9, (1, 7), (1, 2), (0, 3), bias=True),  # 1-d
    ConvCase((1, 4, 1, 1), 9, (3, 3), (1, 1), (1, 1), bias=True),  # mostly padding
    ConvCase((1, 3, 4, 4), 5, (3, 3), (5, 5), (1, 1)),  # stride beyond the kernel
    ConvCase((0, 3, 5, 5), 5, (3, 3)),
)

# What a benchmark times: layers of vision models, 16 images.
OUTER_BENCH = tuple(OuterCase((16, 197, p, o), 1024) for p, o in ((384, 1536), (768, 3072), (1536, 384)))
CONV_BENCH = (
    ConvCase((16, 64, 56, 56), 64, (3, 3), padding=(1, 1), k=1024),
    ConvCase((16, 128, 28, 28), 128, (3, 3), padding=(1, 1), k=1024),
    ConvCase((16, 256, 14, 14), 256, (3, 3), padding=(1, 1), k=1024),
    ConvCase((16, 512, 7, 7), 512, (3, 3), padding=(1, 1), k=1024),
    ConvCase((16, 128, 56, 56), 128, (3, 3), (2, 2), (1, 1), k=1024),
    ConvCase((16, 3, 224, 224), 64, (7, 7), (2, 2), (3, 3), k=1024),
    ConvCase((16, 3, 224, 224), 384, (16, 16), (16, 16), k=1024),
    ConvCase((16, 128, 28, 28), 256, (1, 1), k=1024),
    ConvCase((16, 96, 56, 56), 96, (3, 3), padding=(1, 1), groups=96, k=1024),
    ConvCase((16, 672, 14, 14), 672, (5, 5), padding=(2, 2), groups=672, k=1024),
    ConvCase((16, 384, 14, 14), 384, (7, 7), padding=(3, 3), groups=384, k=1024),
    ConvCase((16, 144, 56, 56), 144, (5, 5), (2, 2), (2, 2), groups=144, k=1024),
)

# What a benchmark times: tokens of a ViT-B with registers at 224 px.
SKETCH_BENCH = tuple(SketchCase((64, 201, 768), k) for k in (1024, 4096))
