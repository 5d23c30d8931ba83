"""What a launch asks of the CUDA runtime beside the launch: nothing that another thread or device would notice."""

import ctypes

import torch

from tests import emulate


def sketches(library: ctypes.CDLL, *dimensions: int) -> None:
    for k in dimensions:
        emulate.sketch(library, torch.ones(1, 3, 64), (k, 0, 1, 0))


def test_shared_memory_is_allowed_once_for_a_kernel_and_device_emulated(emulated: ctypes.CDLL) -> None:
    """A limit set for each launch could be lowered by a thread with another k between the two calls of this one."""
    with emulate.setting(emulated, "limit_switches", ctypes.c_uint64, 0) as switches:
        sketches(emulated, 1024, 5000)  # 65,536 and 60,000 bytes
        first = switches.value
        sketches(emulated, 5000, 1024, 5000, 1024)
        assert first <= 1  # another test may have launched it before
        assert switches.value == first
        with emulate.setting(emulated, "device", ctypes.c_int, 1):
            emulate.sketch(emulated, torch.ones(1, 3, 64), (1024, 0, 1, 0))
        assert switches.value == first


def test_the_device_is_not_set_where_it_is_current_emulated(emulated: ctypes.CDLL) -> None:
    """cudaSetDevice makes a context on its device, half a gigabyte."""
    with emulate.setting(emulated, "device_switches", ctypes.c_uint64, 0) as switches:
        sketches(emulated, 64)
        assert switches.value == 0
        with emulate.setting(emulated, "device", ctypes.c_int, 1) as current:
            sketches(emulated, 64)
            assert switches.value == 2  # to the array's device and back
            assert current.value == 1
