"""Features that others captured: arrays and files of any package, with the names of the images."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradkern._image_names import checked_names, same_tail
from gradkern._pixels import pixel_hash, rgb_pixels
from gradkern.errors import naming
from gradkern.features._engine.fingerprint import fingerprint
from gradkern.features._engine.hooks import KINDS
from gradkern.features._features import CapturedImages, Features, Key
from gradkern.features._formats.neuralset import is_cache, read_cache
from gradkern.features._formats.source import ENDINGS, Source, read_arrays, strings
from gradkern.features._formats.thingsvision import is_folder_of_arrays, names_beside, read_folder
from gradkern.features._formats.torchlens import is_extraction, read_extraction
from gradkern.kernels._arrays import is_dlpack_array, to_torch

_ACTIVATION = "activation"
_CAPTURE = "capture.json"
_DAMAGED = (LookupError, TypeError, AttributeError, ArithmeticError, OSError, MemoryError, UnicodeError)
_LARGEST = 2.0**24  # whole numbers up to here are exact in float32


@naming("given")
def given(
    features: Any,
    names: Sequence[str] | None = None,
    *,
    model: str | None = None,
    images: Any = None,
    losses: Any = None,
    depth: Mapping[str, float] | None = None,
) -> Features:
    """Features that another package computed, as `capture` returns its own.

    Rows are matched with recordings by the names of the images, and by their pixels where `images` are given. Values
    are kept as float32; arrays in float32, and .npy files of them, are not copied. Axes after the first are laid side
    by side.

    Parameters
    ----------
    features : an array [n, ...] of NumPy, torch or any library with DLPack, of h5py, pandas or xarray; a mapping of
        such, by layer, "kind/layer" or (kind, layer); or a path: a .npy, .npz, .h5, .pt or .safetensors file, a folder
        of arrays with `file_names.txt` (as thingsvision writes it), an extraction of TorchLens, a cache of neuralset
    names : of the n images. None: those in the file, beside it, in the table's index, or of `images`. If there are
        several sources, they must name the same files
    model : its name. None: that of the file or folder, or "given"
    images : the n images, uint8 as recordings have them, whose pixels are hashed
    losses : [n], the objective of each image, which claims about gradients exclude; NaN where they are not given
    depth : of layers in [0, 1]

    Raises
    ------
    FileNotFoundError : there is no such file, or one that another names is missing
    ValueError : no names and no images; other numbers of rows; names of other files; features that are not finite, or
        not numbers; damaged files

    Examples
    --------
    >>> import numpy as np
    >>> from gradkern.features import given
    >>> features = given({"layer4": np.ones((2, 3, 4))}, ["a.png", "b.png"], model="resnet50")
    >>> features["activation", "layer4"].shape
    torch.Size([2, 12])
    """
    path = Path(features).expanduser() if isinstance(features, str | Path) else None
    source = _read(path) if path is not None else _in_memory(features)
    arrays, flattened = _arrays(source.arrays)
    count = len(next(iter(arrays.values())))
    named = _named(names, source.names, getattr(images, "names", None), count)
    if named is None and images is None:
        raise ValueError("names must tell which images the rows are of, got none; give names= or images=")
    _check_finite(arrays, named)
    facts = {name: value for name, value in source.facts.items() if value}
    known = CapturedImages(
        named, None if images is None else _hashes(images, count), "pixels" if images is not None else ""
    )
    return Features(
        arrays=arrays,
        losses=_losses(losses, count),
        objective="none" if all(kind == _ACTIVATION for kind, _ in arrays) else "given",
        sketch="raw",
        dtype="as given",
        facts={
            "model": model or (path.stem if path is not None else "given"),
            "weights": "given",
            "depth": _depth(depth, arrays),
            **facts,
            **({"flattened": flattened} if flattened else {}),
            "model_sha256": None,
            "images_sha256": fingerprint([named, known.hashes]),
            "features_sha256": fingerprint({"/".join(key): values for key, values in arrays.items()}),
        },
        images=known,
    )


def is_given(path: Path) -> bool:
    """Whether a path is features of others: an array in a file, or a folder in a format that `given` reads."""
    if path.is_dir():
        return is_extraction(path) or is_cache(path) or is_folder_of_arrays(path)
    return path.is_file() and path.suffix.lower() in ENDINGS


def _read(path: Path) -> Source:
    if (path / _CAPTURE).is_file():
        raise ValueError(f"{path} is a capture, which load_features opens")
    if path.is_dir():
        reading = read_extraction if is_extraction(path) else read_cache if is_cache(path) else read_folder
        try:
            source = reading(path)
        except FileNotFoundError:
            raise
        except _DAMAGED as error:  # what an entry says is not what its format has there
            raise ValueError(f"{path} cannot be read: {error!r} (is it damaged?)") from error
        if not source.arrays:
            raise FileNotFoundError(f"{path} must hold arrays ({', '.join(ENDINGS)}), got none")
        return source if source.names is not None else replace(source, names=names_beside(path))
    if not path.is_file():
        raise FileNotFoundError(f"features must be a file or a folder, got {str(path)!r}")
    source = read_arrays(path)
    return source if source.names is not None else replace(source, names=names_beside(path.parent))


def _in_memory(features: Any) -> Source:
    if not isinstance(features, Mapping):
        return Source({"features": features}, _index_of(features))
    if isinstance(features, Features):
        return Source(features, features.images.names)
    features = dict(getattr(features, "data_vars", features))  # a data set of xarray, or a mapping
    lists = [names for values in features.values() if (names := _index_of(values)) is not None]
    for names in lists[1:]:
        if list(names) != list(lists[0]):
            raise ValueError("features must have the same index in every layer, got others")
    return Source(features, lists[0] if lists else None)


def _index_of(values: Any) -> list[str] | None:
    """The names in the index of a table of pandas, or in the coordinate of the first axis of an array of xarray."""
    if hasattr(values, "index") and hasattr(values, "columns"):
        return strings(values.index)
    if hasattr(values, "dims") and hasattr(values, "coords") and values.dims and values.dims[0] in values.coords:
        return strings(values.coords[values.dims[0]])
    return None


def _arrays(given_arrays: Mapping[Any, Any]) -> tuple[dict[Key, Tensor], dict[str, list[int]]]:
    """Float32 [n, d] by (kind, layer), and the shapes of images' arrays that had more axes."""
    if not given_arrays:
        raise ValueError("features must be at least one array, got none")
    arrays: dict[Key, Tensor] = {}
    flattened: dict[str, list[int]] = {}
    for name, values in given_arrays.items():
        key = name if isinstance(name, tuple) else _key_of(name)
        if len(key) != 2 or not all(isinstance(word, str) and word for word in key):
            raise ValueError(f"features must be named by layer or by (kind, layer), got {name!r}")
        tensor = _float32(values, f"features of {key[1]!r}")
        if tensor.dim() == 0 or tensor.numel() == 0:
            raise ValueError(f"features of {key[1]!r} must be [n, d], got {list(tensor.shape)}")
        if tensor.dim() > 2:
            flattened["/".join(key)] = list(tensor.shape[1:])
        arrays[key] = tensor.reshape(len(tensor), -1)
    counts = {key[1]: len(tensor) for key, tensor in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"features must have a row for each image in every layer, got {counts}")
    return arrays, flattened


def _key_of(name: Any) -> tuple[str, Any]:
    """Kind and layer of a name: "gradient/layer4" is a gradient, what names no kind an activation."""
    kind, _, layer = name.partition("/") if isinstance(name, str) else ("", "", "")
    return (kind, layer) if kind in KINDS and layer else (_ACTIVATION, name)


def _float32(values: Any, name: str) -> Tensor:
    if is_dlpack_array(values) and not hasattr(values, "dims"):
        values = to_torch(values, name)[0]
    if isinstance(values, Tensor):
        tensor = values.detach().cpu()
        if tensor.is_sparse or tensor.is_complex() or tensor.is_quantized:
            raise ValueError(f"{name} must be a dense array of real numbers, got {tensor.dtype} ({tensor.layout})")
        if not tensor.is_floating_point() and tensor.numel() and float(tensor.double().abs().max()) > _LARGEST:
            raise ValueError(f"{name} must be at most 2^24 where they are whole numbers, which float32 has exactly")
        return tensor.float()
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have a number everywhere, got {np.ma.getmaskarray(values).sum()} masked")
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be an array of real numbers, got {array.dtype} {list(array.shape)}")
    if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > _LARGEST:
        raise ValueError(f"{name} must be at most 2^24 where they are whole numbers, which float32 has exactly")
    with np.errstate(over="ignore"):
        plain = np.ascontiguousarray(array, dtype=np.float32) if array.ndim else array.astype(np.float32)
    return to_torch(plain, name)[0]


def _check_finite(arrays: Mapping[Key, Tensor], names: Sequence[str] | None) -> None:
    for (_, layer), values in arrays.items():
        bad = (~values.isfinite()).any(1).nonzero()[:, 0]
        if len(bad):
            first = int(bad[0]) if names is None else names[int(bad[0])]
            raise ValueError(
                f"features of {layer!r} must be finite in float32, got others in {len(bad)} of {len(values)} images, "
                f"first {first!r}"
            )


def _named(
    names: Sequence[str] | None, stored: Sequence[str] | None, of_images: Sequence[str] | None, count: int
) -> tuple[str, ...] | None:
    """The names of the images; those of all sources must be of the same files."""
    sources = {"names=": names, "the features": stored, "images": of_images}
    known = {
        place: checked_names(words if isinstance(words, str | AbstractSet) else list(words), count)
        for place, words in sources.items()
        if words is not None
    }
    if not known:
        return None
    (first, chosen), *others = known.items()
    for place, words in others:
        for row, pair in enumerate(zip(chosen, words, strict=True)):
            if not same_tail(*pair):
                raise ValueError(
                    f"names must be the same everywhere, got {pair[0]!r} in {first} and {pair[1]!r} in {place} for row "
                    f"{row}"
                )
    return chosen


def _hashes(images: Any, count: int) -> tuple[str, ...]:
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__") or len(images) != count:
        size = len(images) if hasattr(images, "__len__") else type(images).__name__
        raise ValueError(f"images must be {count}, one a row of the features, got {size}")
    own = getattr(images, "pixel_hash", None)
    if own is not None:
        return tuple(str(own(i)) for i in range(count))
    return tuple(pixel_hash(rgb_pixels(images[i], f"image {i}")) for i in range(count))


def _losses(losses: Any, count: int) -> Tensor:
    if losses is None:
        return torch.full((count,), float("nan"), dtype=torch.float32, device="cpu")
    values = _float32(losses, "losses")
    if tuple(values.shape) != (count,) or not bool(values.isfinite().all()):
        raise ValueError(f"losses must be finite, [{count}], got {list(values.shape)}")
    return values


def _depth(depth: Mapping[str, float] | None, arrays: Mapping[Key, Tensor]) -> dict[str, float]:
    layers = {layer for _, layer in arrays}
    stated = {str(layer): float(value) for layer, value in (depth or {}).items()}
    for layer, value in stated.items():
        if layer not in layers:
            raise ValueError(f"depth must be of layers {sorted(layers)}, got {layer!r}")
        if not 0 <= value <= 1:
            raise ValueError(f"depth must lie in [0, 1], got {value:g} of {layer!r}")
    return stated
