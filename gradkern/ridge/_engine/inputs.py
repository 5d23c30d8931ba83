"""Checks and conversions of arguments, and where to compute: kinds of array, dtypes, devices, blocks of targets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from gradkern._device import chosen_device
from gradkern.kernels._arrays import from_dlpack_of, is_dlpack_array

Array: TypeAlias = NDArray[Any] | Tensor

_VALUES_AT_ONCE = 8 * 2**20
LARGEST_PART = 2**29  # bytes of responses in float32 that are read at once
_LARGE = 1 << 20  # values of a block that is read by several threads
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class DevicePlan:
    """Device and dtype to compute in, and the kind of array that the caller gets back.

    `home` is the device of a torch caller, None for a NumPy caller. `back` makes a tensor an array of the caller's
    package, if that is another (CuPy, JAX), in the same memory.
    """

    device: torch.device
    dtype: torch.dtype
    home: torch.device | None
    back: Callable[[Tensor], Any] | None = None

    def empty(self, *shape: int) -> Tensor:
        """Room for a result, where the caller's arrays live."""
        return torch.empty(shape, dtype=self.dtype, device=self.home or _CPU)

    def to_caller(self, result: Tensor) -> Array:
        """A result as the kind of array that came in."""
        if self.home is None:
            return result.cpu().numpy()
        there = result.to(self.home)
        return there if self.back is None else self.back(there)


def device_plan(device: Any, given: Any = None, /, **arrays: Array) -> DevicePlan:
    """Decide where to compute on `arrays`, the first of which is the one that results follow.

    Without `device`, `computing_on` decides, or else the place of the arrays.

    float64 if any array is float64 or integer, else float32 (half precision is widened, exactly). `given` is the first
    array as the caller gave it, whose package results go back to if it came by DLPack.

    Raises
    ------
    ValueError : arrays on different devices and no `device` to compute on; a dtype that holds no real numbers
    TypeError : a `given` whose package takes no tensors
    """
    homes = {name: array.device if isinstance(array, Tensor) else _CPU for name, array in arrays.items()}
    (first, home), *others = homes.items()
    for name, other in others:
        if device is None and chosen_device() is None and other != home:
            raise ValueError(
                f"{name} is on {other} but {first} is on {home}; move one of them, or say with device= where to compute"
            )
    dtypes = [_real_dtype(name, array) for name, array in arrays.items()]
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    chosen = chosen_device() if device is None else torch.device(device)
    where = home if chosen is None else chosen
    back = from_dlpack_of(given, first) if is_dlpack_array(given) else None
    return DevicePlan(where, dtype, home if isinstance(arrays[first], Tensor) else None, back)


def _real_dtype(name: str, array: Array) -> torch.dtype:
    if isinstance(array, Tensor):
        if array.is_complex():
            raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
        narrow = array.is_floating_point() and array.dtype != torch.float64
        return torch.float32 if narrow else torch.float64
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return torch.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else torch.float64


def load(array: Array, plan: DevicePlan, rows: NDArray[np.int64] | None = None, columns: slice = slice(None)) -> Tensor:
    """Rows and columns of a 2-D array as a tensor to compute with; it may share memory with a torch
    `array`."""
    if isinstance(array, Tensor):
        part = array.detach()[:, columns]
        if rows is not None:
            part = part[torch.from_numpy(rows).to(part.device)]
        return part.to(plan.device, plan.dtype)
    width = np.float64 if plan.dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(_chosen(array, rows, columns), dtype=width, order="C")).to(plan.device)


def _chosen(array: NDArray[Any], rows: NDArray[np.int64] | None, columns: slice) -> Any:
    if isinstance(array, np.ndarray) and rows is not None:
        return array[rows, columns]
    # stored arrays are read by ranges
    return array[:, columns] if rows is None else np.asarray(array[:, columns])[rows]


@dataclass(frozen=True)
class Targets:
    """Responses Y [n, v] that are read block by block, optionally only at some rows."""

    values: Array
    plan: DevicePlan
    rows: NDArray[np.int64] | None = None
    first: int = 0  # number of the first target, where these are a part

    @property
    def n_targets(self) -> int:
        return int(self.values.shape[1])

    @property
    def on_host(self) -> bool:
        """Whether Y has to be copied to a GPU to compute with it."""
        there = isinstance(self.values, Tensor) and self.values.is_cuda
        return self.plan.device.type == "cuda" and not there

    def parts(self) -> "Iterator[tuple[int, Targets]]":
        """Yield these targets as one part that starts at target 0; streamed targets have more parts."""
        yield 0, self

    def block(self, columns: slice) -> Tensor:
        """[n, b] targets to compute with; ValueError where they are infinite."""
        return self.checked(load(self.values, self.plan, self.rows, columns), columns)

    def shape_of(self, columns: slice) -> tuple[int, int]:
        """Shape [n, b] of a block."""
        n = self.values.shape[0] if self.rows is None else len(self.rows)
        return int(n), columns.stop - columns.start

    def read_into(self, host: Tensor, columns: slice) -> None:
        """Write a block to memory of the CPU, `host` [n, b], as `block` would have it."""
        if isinstance(self.values, Tensor):
            part = self.values.detach()[:, columns]
            host.copy_(part if self.rows is None else part[torch.from_numpy(self.rows)])
        elif isinstance(self.values, np.ndarray) and host.numel() >= _LARGE:
            self._read_by_threads(host.numpy(), columns)
        else:
            np.copyto(host.numpy(), _chosen(self.values, self.rows, columns), casting="same_kind")

    def _read_by_threads(self, host: NDArray[Any], columns: slice) -> None:
        """Rows of an array in memory, or of a memory map, by as many threads as torch may use: NumPy copies by one."""
        threads = torch.get_num_threads()
        edges = [i * len(host) // threads for i in range(threads + 1)]

        def copy(begin: int, end: int) -> None:
            rows = slice(begin, end) if self.rows is None else self.rows[begin:end]
            np.copyto(host[begin:end], self.values[rows, columns], casting="same_kind")

        with ThreadPoolExecutor(threads, "gradkern-read-ahead") as pool:
            list(pool.map(copy, edges[:-1], edges[1:]))

    def checked(self, part: Tensor, columns: slice) -> Tensor:
        """The block [n, b]; ValueError where it is infinite."""
        # a column's sum is not finite if one of its values is not
        if not bool(part.sum(0).isfinite().all()) and bool(part.isinf().any()):
            row, column = part.isinf().nonzero()[0].tolist()
            at = [row if self.rows is None else int(self.rows[row]), self.first + columns.start + column]
            raise ValueError(f"Y must be finite (NaN in a target leaves it out), got inf at {at}")
        return part


def read_parts(responses: Array) -> Iterator[tuple[slice, Array]]:
    """Columns of Y in memory, as many at a time as 512 MiB of float32 hold, so that a file is read once."""
    n, v = responses.shape
    step = max(1, LARGEST_PART // (n * 4))
    for start in range(0, v, step):
        columns = slice(start, min(start + step, v))
        part = responses[:, columns]
        if isinstance(part, Tensor):
            yield columns, part
        else:  # of a map a copy; what else is stored comes as an array of its own
            yield columns, np.array(part) if isinstance(part, np.memmap) else np.asarray(part)


def as_array(name: str, values: Any) -> Array:
    """Tensors, NumPy arrays (memory maps too) and stored arrays (HDF5, Zarr) as they are; an array of lists, frames.

    Arrays of other packages that come by DLPack (CuPy) become tensors in the same memory.
    """
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} must be dense, got the sparse {type(values).__name__}")
    if is_dlpack_array(values):
        return from_dlpack(values)
    if isinstance(values, Tensor) or _is_stored(values):
        return values  # type: ignore[no-any-return]
    masked = int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise ValueError(f"{name} must not have masked values, got {masked} of them; fill them first")
    array = np.asarray(values)
    if array.dtype.kind != "O":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold real numbers, got objects: {error}") from None


def column_names(values: Any) -> Sequence[str] | None:
    """The names of the columns of a data frame."""
    return [str(name) for name in values.columns] if hasattr(values, "iloc") and hasattr(values, "columns") else None


def _is_stored(values: Any) -> bool:
    """Has the shape and dtype of an array, but its values lie elsewhere until they are asked for."""
    array_like = all(hasattr(values, name) for name in ("shape", "dtype", "__getitem__"))
    return array_like and not isinstance(values, np.ndarray | np.generic | Tensor) and not hasattr(values, "iloc")


def as_targets(Y: Any, n_samples: int) -> tuple[Array, bool]:
    """Y as a 2-D array [n, v], and whether it came as 1-D."""
    if Y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    values = as_array("Y", Y)
    if values.ndim not in (1, 2):
        raise ValueError(f"Y must have shape [n] or [n, v], got {tuple(values.shape)}")
    if values.shape[0] != n_samples:
        raise ValueError(f"X and Y must have the same number of samples, got {n_samples} and {values.shape[0]}")
    if values.ndim == 2 and values.shape[1] == 0:
        raise ValueError(f"Y must have at least 1 target, got shape {tuple(values.shape)}")
    return (values[:][:, None], True) if values.ndim == 1 else (values, False)


def check_matrix(name: str, array: Array) -> None:
    """ValueError unless the array is 2-D with at least one row and column."""
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D [n, d], got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(array.shape)}")


def as_feature_spaces(spaces: Mapping[str, Any], noun: str = "feature spaces") -> dict[str, Array]:
    """Several feature spaces as 2-D arrays; ValueError unless all of them have the same number of samples."""
    features = {name: as_array(name, space) for name, space in spaces.items()}
    for name, array in features.items():
        check_matrix(name, array)
    first, *others = features
    n = features[first].shape[0]
    for name in others:
        if features[name].shape[0] != n:
            raise ValueError(
                f"all {noun} must have the same number of samples, got {n} in {first} and {features[name].shape[0]} "
                f"in {name}"
            )
    return features


def check_finite(name: str, array: Array, columns: Sequence[str] | None = None) -> None:
    """ValueError where values are NaN or infinite: names the argument, how many, the first, and its column."""
    step = max(1, _VALUES_AT_ONCE // array.shape[-1])
    count, first = 0, None
    for start in range(0, array.shape[0], step):
        chunk = array[start : start + step]
        bad = ~torch.isfinite(chunk) if isinstance(chunk, Tensor) else ~np.isfinite(chunk)
        n_bad = int(bad.sum())
        if n_bad and first is None:
            row, *rest = np.argwhere(bad.cpu().numpy() if isinstance(bad, Tensor) else bad)[0].tolist()
            first = [start + row, *rest]
        count += n_bad
    if count and first is not None:
        named = f" (column {columns[first[-1]]!r})" if columns is not None else ""
        raise ValueError(f"{name} must be finite, got {count} values that are NaN or inf, the first at {first}{named}")


def as_numpy(values: Any) -> NDArray[Any]:
    """A short list of numbers, wherever it lives."""
    tensor = from_dlpack(values) if is_dlpack_array(values) else values
    return tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else np.asarray(tensor)


def check_alphas(alphas: Any) -> NDArray[np.float64]:
    """Penalties [a] in float64, largest first, so that the first best one is the larger of equals."""
    values = as_numpy(alphas)
    if values.ndim != 1 or values.size == 0:
        is_number = values.ndim == 0 and values.dtype.kind in "fiu"
        number = f", the number {values}; [{values}] is a grid of it" if is_number else ""
        raise ValueError(f"alphas must be a non-empty 1-D sequence, got shape {values.shape}{number}")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"alphas must be real numbers, got {values.dtype}")
    values = values.astype(np.float64)
    for wanted, good in (("finite", np.isfinite(values)), ("positive", values > 0)):
        if not good.all():
            position = int(np.argmin(good))
            raise ValueError(f"alphas must be {wanted}, got {values[position]} at position {position}")
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        position = int(np.argmax(steps <= 0 if values[-1] > values[0] else steps >= 0))
        raise ValueError(
            f"alphas must ascend, none twice, got {values[position]:g} before {values[position + 1]:g}; "
            "numpy.unique puts them in order"
        )
    return values.copy() if len(values) > 1 and steps[0] < 0 else values[::-1].copy()


def in_callers_order(alphas: Any, results: Tensor) -> Tensor:
    """Results whose first axis is in the order of `check_alphas`, in the order of the caller's alphas."""
    values = as_numpy(alphas)
    return results.flip(0) if values[0] < values[-1] else results


def check_choice(argument: str, got: Any, choices: tuple[str, ...]) -> None:
    """ValueError unless `got` is one of `choices`."""
    if got not in choices:
        wanted = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{argument} must be one of {wanted}, got {got!r}")


def check_memory(max_memory: Any) -> None:
    """ValueError unless None or a number of bytes."""
    good = isinstance(max_memory, int | np.integer) and not isinstance(max_memory, bool) and max_memory >= 1
    if max_memory is not None and not good:
        raise ValueError(f"max_memory must be None or a number of bytes, got {max_memory!r}")


def check_weights(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """Weights [n] in float64; ValueError where they are negative, not finite, all zero or of the wrong length."""
    if sample_weight is None:
        return None
    weights = as_numpy(sample_weight)
    if weights.dtype.kind not in "fiub":
        raise ValueError(f"sample_weight must hold real numbers, got {weights.dtype}")
    weights = weights.astype(np.float64)
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.ndim != 1 or len(weights) != n_samples:
        raise ValueError(
            f"sample_weight must hold one weight per sample, shape ({n_samples},), got shape {weights.shape}"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"sample_weight must be finite and not negative, got {weights[at]} for sample {at}")
    if not weights.any():
        raise ValueError("sample_weight must not be zero for all samples")
    return weights


def check_sample_count(n_samples: int) -> None:
    """ValueError unless there are samples to leave out."""
    if n_samples < 3:
        raise ValueError(f"X must have at least 3 samples, got n_samples={n_samples}")
