"""One table of cases for every op: read by the tests, the emulation and the benchmarks."""

from dataclasses import dataclass

import torch

WIDTH = 64  # columns of a segment; sizes are chosen around it
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


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
    SketchCase((2, 3, WIDTH + 4), 99),  # 16-byte loads on a GPU, of the wider dtypes alone
    SketchCase((1, 600, WIDTH + 8), 256, seed=7),  # several slices, 16-byte loads
    SketchCase((0, 3, 100), 64),
    SketchCase((3, 0, 100), 64),
    SketchCase((3, 2, 0), 64),
    SketchCase((1, 600, WIDTH + 3), 256, seed=3),  # several slices on a GPU
    SketchCase((2, 600, WIDTH + 1), 5000, nnz=2, seed=8),  # several slices on a GPU, three warps each
    SketchCase((2, 9, 7 * WIDTH), 20011, nnz=5, seed=4),  # several windows of buckets on a GPU
    SketchCase((1, 3, WIDTH + 1), 70_001),  # more buckets than a multiprocessor's shared memory holds
    SketchCase((1, 1, 300_001), 4096, seed=6),  # several parts on a CPU
)

# What a benchmark times: tokens of a ViT-B with registers at 224 px.
SKETCH_BENCH = tuple(SketchCase((64, 201, 768), k) for k in (1024, 4096))
