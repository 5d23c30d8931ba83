"""The emulated instructions of the tensor cores: every element of a fragment lies where the PTX ISA says."""

import ctypes

import pytest
import torch
from torch import Tensor

from tests import emulate

LANES = range(32)
SHAPES = {torch.bfloat16: 16, torch.float16: 16, torch.float32: 8}  # positions of one instruction


def a_element(dtype: torch.dtype, lane: int, i: int) -> tuple[int, int]:
    """(row, column) of a_i: PTX ISA, matrix fragments for mma.m16n8k16 (.f16, .bf16) and mma.m16n8k8 (.tf32)."""
    group, thread = lane >> 2, lane % 4
    if dtype == torch.float32:
        return group + 8 * (i in (1, 3)), thread + 4 * (i >= 2)
    row = group if 0 <= i < 2 or 4 <= i < 6 else group + 8
    return row, thread * 2 + (i & 1) + 8 * (i >= 4)


def b_element(dtype: torch.dtype, lane: int, i: int) -> tuple[int, int]:
    """(row, column) of b_i."""
    group, thread = lane >> 2, lane % 4
    if dtype == torch.float32:
        return thread + 4 * i, group
    return thread * 2 + (i & 1) + 8 * (i >= 2), group


def c_element(lane: int, i: int) -> tuple[int, int]:
    """(row, column) of c_i, the same for both shapes."""
    return (lane >> 2) + 8 * (i >= 2), lane % 4 * 2 + (i & 1)


def fragments(matrix: Tensor, element: object, registers: int) -> Tensor:
    count = registers * 4 // matrix.element_size()
    places = [[element(matrix.dtype, lane, i) for i in range(count)] for lane in LANES]
    return torch.stack([torch.stack([matrix[place] for place in lane]) for lane in places]).contiguous()


@pytest.mark.parametrize("dtype", SHAPES, ids=str)
@pytest.mark.parametrize("schedule", [0, 1, 2])
def test_product_reads_fragments_where_ptx_says(dtype: torch.dtype, schedule: int, emulated: ctypes.CDLL) -> None:
    generator = torch.Generator().manual_seed(schedule)
    # small integers: TF32 and 16 bits hold them, so the result is exact
    a = torch.randint(-9, 10, (16, SHAPES[dtype]), generator=generator).to(dtype)
    b = torch.randint(-9, 10, (SHAPES[dtype], 8), generator=generator).to(dtype)
    before = torch.randint(-9, 10, (16, 8), generator=generator).float()
    a_registers, b_registers = fragments(a, a_element, 4), fragments(b, b_element, 2)
    sums = torch.stack([torch.stack([before[c_element(lane, i)] for i in range(4)]) for lane in LANES])
    arguments = (emulate.pointer(tensor) for tensor in (a_registers, b_registers, sums))
    emulate.raise_error(
        emulated.emulated_multiply_add(emulate.DTYPES[dtype], *arguments, ctypes.c_uint64(schedule)),
    )
    expected = before + a.float() @ b.float()
    for lane in LANES:
        for i in range(4):
            assert sums[lane, i] == expected[c_element(lane, i)]


@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_arrive_where_ptx_says(transposed: bool, emulated: ctypes.CDLL) -> None:
    """ldmatrix: lane l's register i holds row l / 4, elements 2 (l % 4) and the next, of matrix i or its transpose."""
    matrices = torch.arange(4 * 8 * 8, dtype=torch.int16).reshape(4, 8, 8)
    registers = torch.zeros(32, 4, 2, dtype=torch.int16)
    emulate.raise_error(
        emulated.emulated_load_matrices(
            transposed, emulate.pointer(matrices), emulate.pointer(registers), ctypes.c_uint64(0)
        )
    )
    source = matrices.transpose(1, 2) if transposed else matrices
    for lane in LANES:
        pair = slice(lane % 4 * 2, lane % 4 * 2 + 2)
        assert torch.equal(registers[lane], source[:, lane // 4, pair])


def bits(value: float) -> int:
    return int(torch.tensor(value).view(torch.int32))


def test_tf32_is_the_nearest_with_ties_away_from_zero(emulated: ctypes.CDLL) -> None:
    def rounded(value: float) -> float:
        as_bits = torch.tensor(emulated.emulated_to_tf32(ctypes.c_float(value)) - 2**32 * (value < 0))
        return float(as_bits.to(torch.int32).view(torch.float32))

    unit = 2.0**-10
    for sign in (1, -1):
        assert rounded(sign * (1 + 0.49 * unit)) == sign
        assert rounded(sign * (1 + 0.5 * unit)) == sign * (1 + unit)
        assert rounded(sign * (1 + 1.5 * unit)) == sign * (1 + 2 * unit)
        assert rounded(sign * float("inf")) == sign * float("inf")
    assert emulated.emulated_to_tf32(ctypes.c_float(float("nan"))) == 0x7FFFFFFF


def test_product_of_tf32_does_not_read_the_low_bits(emulated: ctypes.CDLL) -> None:
    low = 2.0**-11 + 2.0**-14  # what the lowest 13 of 23 bits may hold
    a_registers = torch.full((32, 4), 1 + low)
    b_registers = torch.full((32, 2), 3 + 2 * low)
    sums = torch.zeros(32, 4)
    arguments = (emulate.pointer(tensor) for tensor in (a_registers, b_registers, sums))
    emulate.raise_error(emulated.emulated_multiply_add(0, *arguments, ctypes.c_uint64(0)))
    assert torch.equal(sums, torch.full((32, 4), 24.0))
