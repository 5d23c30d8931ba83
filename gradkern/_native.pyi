"""What python/bindings.cpp exports; a test compares the two."""

from collections.abc import Sequence
from typing import Any

def check_sketch(op: str, k: int, seed: int, nnz: int, first_segment: int) -> None: ...
def cuda_architectures() -> str: ...
def current_isa() -> str: ...
def isas() -> list[str]: ...
def sketch(
    x: Any,
    workspace: Any,
    out: Any,
    k: int,
    seed: int,
    nnz: int,
    first_segment: int,
    threads: int,
    stream: int,
) -> None: ...
def sketch_workspace(is_cuda: bool, n: int, rows: int, cols: int, k: int) -> int: ...
def sketch_outer(
    a: Any,
    g: Any,
    workspace: Any,
    out: Any,
    k: int,
    seed: int,
    nnz: int,
    first_segment: int,
    bias: bool,
    threads: int,
    stream: int,
    allow_tf32: bool,
) -> None: ...
def sketch_conv(
    x: Any,
    g: Any,
    workspace: Any,
    out: Any,
    k: int,
    seed: int,
    nnz: int,
    first_segment: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    bias: bool,
    threads: int,
    stream: int,
    allow_tf32: bool,
) -> None: ...
def sketch_outer_workspace(is_cuda: bool, n: int, t: int, p: int, o: int, k: int, bias: bool) -> int: ...
def sketch_conv_workspace(
    is_cuda: bool,
    x: Sequence[int],
    g: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    k: int,
    bias: bool,
) -> int: ...
def column_moments(
    y: Any, group: Any, sum: Any, spread: Any, low: Any, high: Any, threads: int, stream: int
) -> None: ...
def fold_scores(
    B: Any, D: Any, E: Any, F: Any, S: Any, U: Any, W: Any, product: Any, square: Any, threads: int, stream: int
) -> None: ...
def select_scale(C: Any, values: Any, alpha: Any, out: Any, threads: int, stream: int) -> None: ...
