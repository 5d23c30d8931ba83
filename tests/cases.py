"""The cases of every op, for the tests, the emulation and the benchmarks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradkern.kernels import reference
from gradkern.kernels.reference import Window

WIDTH = 64  # columns of a segment; sizes are chosen around it
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MODEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
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
    SketchCase((2, 3, WIDTH + 4), 99),
    SketchCase((1, 600, WIDTH + 8), 256, seed=7),  # several slices on a GPU
    SketchCase((0, 3, 100), 64),
    SketchCase((3, 0, 100), 64),
    SketchCase((3, 2, 0), 64),
    SketchCase((1, 600, WIDTH + 3), 256, seed=3),  # several slices on a GPU
    SketchCase((2, 600, WIDTH + 1), 5000, nnz=2, seed=8),  # several slices on a GPU
    SketchCase((2, 9, 7 * WIDTH), 20011, nnz=5, seed=4),  # two spans of buckets on a GPU
    SketchCase((1, 3, WIDTH + 1), 16_390),  # a little more than a span of buckets on a GPU
    SketchCase((1, 3, WIDTH), 20_011, seed=5346),  # the last segment begins the second span on a GPU
    SketchCase((1, 3, WIDTH + 1), 70_001),  # more buckets than a multiprocessor's shared memory holds
    SketchCase((1, 1, 300_001), 4096, seed=6),  # several parts on a CPU
)


@dataclass(frozen=True)
class OuterCase:
    sizes: tuple[int, int, int, int]  # n, t, p, o
    k: int = 64
    nnz: int = 1
    seed: int = 0
    first_segment: int = 0
    bias: bool = False
    shift: int = 0  # elements that the arrays lie off an aligned address

    @property
    def spec(self) -> tuple[int, int, int, int]:
        return self.k, self.seed, self.nnz, self.first_segment

    @property
    def positions(self) -> int:
        return self.sizes[1]

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        n, t, p, o = self.sizes
        return draw((n, t, p), dtype, 1), draw((n, t, o), dtype, 2)

    def truth(self, a: Tensor, g: Tensor) -> Tensor:
        return reference.sketch_outer(a, g, *self.spec, self.bias)

    def run(self, a: Tensor, g: Tensor, allow_tf32: bool = False) -> Tensor:
        result: Tensor = torch.ops.gradkern.sketch_outer(a, g, *self.spec, self.bias, allow_tf32)
        return result

    def __str__(self) -> str:
        text = f"outer-{'x'.join(map(str, self.sizes))}-k{self.k}-nnz{self.nnz}"
        return text + "-bias" * self.bias + f"-shift{self.shift}" * bool(self.shift)


# Sizes around a CPU's tile of 6 rows and 64 columns and a GPU's of 128 and 64, its 16 and 32 positions at a time.
OUTER = (
    OuterCase((2, 1, 1, 1)),
    OuterCase((2, 1, 1, 1), bias=True),
    OuterCase((2, 2, WIDTH - 1, 5), bias=True),
    OuterCase((1, 15, WIDTH, 127), 65),
    OuterCase((1, 16, WIDTH + 1, 128), 1000, nnz=3, bias=True),
    OuterCase((2, 17, WIDTH - 1, 129), 1024, seed=5, bias=True, first_segment=2**40),
    OuterCase((1, 33, WIDTH, 130), 20011, bias=True),  # buckets in the result itself; the bias has its own segment
    OuterCase((1, 63, 2 * WIDTH - 1, 7), 300, nnz=2, seed=2**63 - 1),
    OuterCase((1, 64, 2 * WIDTH, 6), 1024, bias=True),
    OuterCase((1, 65, 2 * WIDTH + 2, 65), 1000),
    OuterCase((1, 200, 72, 136), 1024),
    OuterCase((1, 9, 200, 200), bias=True),
    OuterCase((2, 3, 330, 260), 128, nnz=3),  # three slices on a GPU
    OuterCase((1, 2, 40, 1300), 20011),  # slices whose buckets are in the workspace; several blocks of rows on a CPU
    OuterCase((1, 300, 70, 13), 256, seed=3, bias=True),  # several blocks of positions on a CPU
    OuterCase((1, 20, 72, 72), 200, shift=1),
    OuterCase((1, 20, 72, 72), 200, shift=8),
    OuterCase((0, 3, 5, 5)),
    OuterCase((2, 0, 5, 5), bias=True),
    OuterCase((2, 3, 0, 5)),
    OuterCase((2, 3, 0, 5), bias=True),
    OuterCase((2, 3, 5, 0), bias=True),
)


@dataclass(frozen=True)
class ConvCase:
    x: tuple[int, int, int, int]  # n, c, h, w
    o: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    k: int = 256
    nnz: int = 1
    seed: int = 0
    first_segment: int = 0
    bias: bool = False
    shift: int = 0

    @property
    def spec(self) -> tuple[int, int, int, int]:
        return self.k, self.seed, self.nnz, self.first_segment

    @property
    def window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.dilation, self.groups)

    @property
    def g(self) -> tuple[int, int, int, int]:
        sizes = zip(self.x[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        out = [(x + 2 * pad - dil * (kernel - 1) - 1) // stride + 1 for x, kernel, stride, pad, dil in sizes]
        return self.x[0], self.o, out[0], out[1]

    @property
    def positions(self) -> int:
        return self.g[2] * self.g[3]

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return draw(self.x, dtype, 1), draw(self.g, dtype, 2)

    def truth(self, x: Tensor, g: Tensor) -> Tensor:
        return reference.sketch_conv(x, g, self.window, self.spec, self.bias)

    def run(self, x: Tensor, g: Tensor, allow_tf32: bool = False) -> Tensor:
        window = list(self.kernel), list(self.stride), list(self.padding), list(self.dilation), self.groups
        result: Tensor = torch.ops.gradkern.sketch_conv(x, g, *self.spec, *window, self.bias, allow_tf32)
        return result

    def __str__(self) -> str:
        window = (self.kernel, self.stride, self.padding, self.dilation)
        sizes = "-".join("x".join(map(str, pair)) for pair in (self.x, *window))
        text = f"conv-{sizes}-o{self.o}-g{self.groups}-k{self.k}-nnz{self.nnz}"
        return text + "-bias" * self.bias + f"-shift{self.shift}" * bool(self.shift)


CONV = (
    ConvCase((2, 1, 1, 1), 1, (1, 1)),
    ConvCase((2, 3, 1, 1), 16, (1, 1), bias=True),  # one position
    ConvCase((1, 70, 4, 8), 17, (1, 1), k=1000, bias=True),
    ConvCase((1, 64, 5, 7), 130, (1, 1), nnz=3, first_segment=2**40, bias=True),  # the bias has its own segment
    ConvCase((1, 70, 6, 5), 20, (1, 1), (2, 2), nnz=2, seed=2**63 - 1),
    ConvCase((1, 20, 5, 5), 20, (1, 1), padding=(1, 1)),
    ConvCase((2, 8, 9, 8), 33, padding=(1, 1), bias=True),
    ConvCase((1, 7, 12, 11), 64, stride=(2, 1), padding=(0, 1), dilation=(2, 1), k=1000),
    ConvCase((1, 3, 21, 20), 32, (7, 7), (2, 2), (3, 3), k=20011, bias=True),
    ConvCase((1, 3, 24, 24), 33, (8, 8), (8, 8)),  # patches
    ConvCase((1, 2, 4, 290), 5, padding=(1, 1)),  # rows longer than a block of positions on a CPU
    ConvCase((1, 6, 10, 6), 16, (3, 2), dilation=(1, 2), padding=(1, 1)),
    ConvCase((2, 6, 20, 19), 12, (5, 3), (2, 1), (2, 0), (1, 2), groups=2, k=100),
    ConvCase((1, 12, 6, 6), 60, padding=(1, 1), groups=3, bias=True),  # tiles of 20 rows
    ConvCase((1, 4, 1, 70), 16, (1, 5), padding=(0, 2), bias=True),  # one dimension
    ConvCase((1, 8, 3, 1), 16, (2, 1), padding=(1, 0)),  # an output one wide
    ConvCase((1, 4, 1, 1), 9, padding=(1, 1), bias=True),  # mostly padding
    ConvCase((1, 3, 4, 4), 5, stride=(5, 5), padding=(1, 1)),  # stride beyond the kernel
    ConvCase((1, 12, 3, 8), 140, (1, 1), groups=2, k=500, shift=1),
    ConvCase((1, 64, 4, 4), 129, nnz=2, padding=(1, 1), k=90),  # three slices on a GPU
    ConvCase((2, 9, 8, 7), 9, padding=(1, 1), groups=9, bias=True),  # depthwise
    ConvCase((1, 5, 9, 9), 10, (5, 5), (2, 2), (2, 2), groups=5, k=1000, nnz=3, first_segment=9),
    ConvCase((1, 70, 9, 9), 70, (7, 7), padding=(3, 3), groups=70, k=128),
    ConvCase((1, 32, 7, 6), 12, padding=(1, 1), groups=4, bias=True),  # groups of 3 rows, two segments a row
    ConvCase((1, 130, 3, 3), 130, groups=130, k=64),  # two pieces on a GPU
    ConvCase((1, 514, 2, 1), 1028, (2, 1), groups=514, k=64),  # two slices on a GPU
    ConvCase((1, 6, 1, 2), 12, (1, 1), groups=6, k=20011),
    ConvCase((0, 3, 4, 4), 5),
    ConvCase((2, 0, 4, 4), 5, bias=True),
    ConvCase((2, 0, 4, 4), 3, bias=True),
)

WeightCase = OuterCase | ConvCase

# Benchmarks time layers of vision models with 16 images.
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

# Benchmarks time the tokens of a ViT-B with registers at 224 px.
SKETCH_BENCH = tuple(SketchCase((64, 201, 768), k) for k in (1024, 4096))


RIDGE_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class MomentsCase:
    n: int
    b: int
    f: int
    order: str = "runs"  # groups one after another; "turns": groups change row by row; "some": some rows have no group
    apart: int = 0  # elements from the end of a row to the next row

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Columns whose mean is 0.1 to 1e4 standard deviations."""
        offset = torch.logspace(-1, 4, max(self.b, 1), dtype=torch.float64)[: self.b]
        y = (draw((self.n, self.b), torch.float64, 1) + offset).to(dtype)
        rows = torch.arange(self.n)
        if self.order == "runs":
            group = rows * self.f // max(self.n, 1)
        else:
            group = rows % self.f if self.order == "turns" else (rows * 7) % (self.f + 2) - 1
            group[group >= self.f] = -1
        return self.spaced(y), group.int()

    def spaced(self, y: Tensor) -> Tensor:
        return torch.nn.functional.pad(y, (0, self.apart), value=float("nan"))[:, : self.b]

    def __str__(self) -> str:
        return f"moments-{self.n}x{self.b}-f{self.f}-{self.order}" + f"-apart{self.apart}" * bool(self.apart)


# Sizes around a GPU's 32 columns and 256 rows a turn, a CPU's vectors of columns, 16 rows and 256 columns.
MOMENTS = (
    MomentsCase(1, 1, 1),
    MomentsCase(7, 3, 2, "turns"),
    MomentsCase(33, 31, 5, "some"),
    MomentsCase(100, 32, 1),
    MomentsCase(60, 33, 3, "turns", apart=5),
    MomentsCase(300, 47, 4),
    MomentsCase(513, 8, 2, "some"),
    MomentsCase(90, 257, 3, "some"),
    MomentsCase(40, 300, 2, apart=1),
    MomentsCase(400, 515, 3, "turns"),  # several threads on a CPU
    MomentsCase(5, 4, 9),  # empty groups
    MomentsCase(0, 5, 2),
    MomentsCase(5, 0, 2),
    MomentsCase(5, 3, 0, "some"),
)


@dataclass(frozen=True)
class ScoresCase:
    a: int
    r: int
    b: int

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        B, D, E, F = (draw((self.r, self.b), dtype if i != 2 else torch.float64, i) for i in range(4))
        S, U, W = (draw((self.a, self.r), torch.float64, i) for i in range(4, 7))
        return B, D, E, F, S, U, W

    def __str__(self) -> str:
        return f"scores-a{self.a}-r{self.r}-b{self.b}"


# Sizes around a GPU's 16 alphas, 128 columns and 32 rows, a CPU's 4 or 8 alphas, 24 columns and 128 rows.
SCORES = (
    ScoresCase(1, 1, 1),
    ScoresCase(3, 5, 23),
    ScoresCase(4, 31, 24),
    ScoresCase(7, 32, 25),
    ScoresCase(15, 33, 127),
    ScoresCase(16, 34, 129),
    ScoresCase(17, 64, 128),
    ScoresCase(33, 70, 130),
    ScoresCase(9, 127, 47),
    ScoresCase(10, 129, 200),  # several threads on a CPU
    ScoresCase(2, 300, 385),
    ScoresCase(0, 3, 4),
    ScoresCase(2, 0, 4),
    ScoresCase(2, 3, 0),
)


@dataclass(frozen=True)
class ScaleCase:
    q: int
    b: int

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        values = draw((self.q,), torch.float64, 2).exp()
        return draw((self.q, self.b), dtype, 1), values, draw((self.b,), torch.float64, 3).mul(3).exp()

    def __str__(self) -> str:
        return f"scale-{self.q}x{self.b}"


SCALE = tuple(ScaleCase(q, b) for q, b in ((1, 1), (3, 255), (2, 256), (3, 257), (5, 700), (120, 300), (0, 3), (3, 0)))

# Benchmarks time a block of targets of an encoding model.
MOMENTS_BENCH = tuple(MomentsCase(4000, b, 5, order) for b in (1000, 1024) for order in ("runs", "turns"))
SCORES_BENCH = tuple(ScoresCase(a, 1024, 1024) for a in (10, 20, 100))
SCALE_BENCH = (ScaleCase(1024, 1024), ScaleCase(4096, 1024))
