"""What python/bindings.cpp exports; a test compares the two."""

from typing import Any

def check_sketch(k: int, seed: int, nnz: int, first_segment: int) -> None: ...
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
