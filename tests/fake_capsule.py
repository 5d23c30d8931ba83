"""A DLPack capsule that claims to be on a CUDA device, for errors that are raised before its memory is touched."""

import ctypes

_KEPT: list[object] = []


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype_code", ctypes.c_uint8),
        ("dtype_bits", ctypes.c_uint8),
        ("dtype_lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def cuda_tensor(shape: tuple[int, ...], device: int = 0) -> ctypes.Structure:
    """What a capsule holds: a float32 array without memory."""
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    tensor = DLTensor(None, 2, device, len(shape), 2, 32, 1, sizes, None, 0)
    _KEPT.append((sizes, tensor))
    return tensor


def cuda_capsule(shape: tuple[int, ...]) -> object:
    tensor = cuda_tensor(shape)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(tensor), b"dltensor", None)
