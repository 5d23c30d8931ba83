"""Which row of features belongs to which image of a recording, by the names and the pixels of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern._image_names import posix, tails, tails_without_ending
from gradkern._pixels import ENDINGS, pixel_hash, rgb_pixels
from gradkern.encoding._residualize import Residualized
from gradkern.errors import naming
from gradkern.features._features import CapturedImages
from gradkern.recordings._formats.names import numbers_named
from gradkern.recordings._recording import Recording

_COMPARED = 8  # images whose pixels are compared where names agree
_QUOTED = 3


@naming("matched_rows")
def matched_rows(features: Any, recording: Recording) -> NDArray[np.int64]:
    """Row of the features of each image in a recording's image source.

    Rows are matched by the images' names where both have some, and the pixels of a few images are then compared where
    both have these; else by the pixels of all images that were shown. Captured names that are numbers, "#17" as
    `gradkern capture` gives to images of an HDF5 file, are the ids of a recording that has neither names nor pixels.
    What else has neither is matched by position, if there is a row for each image of the recording's source.

    Parameters
    ----------
    features : of `capture` or `load_features`, or anything with such `images`; else a mapping of arrays, whose row i is
        image i
    recording : whose image ids are looked for

    Returns
    -------
    int64 [images of the source]; -1 where an image was neither shown nor captured

    Raises
    ------
    ValueError : an image that was shown has no row, or other pixels than the row's image; or nothing tells which images
        the rows are of, and there are more or fewer than the recording's source has

    Examples
    --------
    >>> import numpy as np, pandas as pd, torch, gradkern
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    >>> images = torch.randn(3, 3, 4, 4)
    >>> features = gradkern.capture(model, images, None, layers=["1"], kinds=["activation"], names=["a", "b", "c"])
    >>> shown, voxels = pd.DataFrame({"image": [0, 1]}), pd.DataFrame({"label": ["v"]})
    >>> recording = gradkern.Recording(np.ones((2, 1)), shown, voxels, "s", "z", image_names=("c", "a"))
    >>> matched_rows(features, recording)
    array([2, 0])
    """
    captured, count = _identity(features), _count(features)
    if captured is None:
        check_rows(recording, count)
        return np.arange(count)
    shown = np.unique(recording.image_ids)
    has_pixels = captured.hashes is not None and captured.hashes_are_of == "pixels" and recording.images is not None
    if captured.names is not None and recording.image_names is not None:
        rows = rows_by_name(captured.names, recording.image_names)
        if (rows[shown] >= 0).all() or not has_pixels:
            _check_found(rows, shown, captured.names, recording)
            if has_pixels:
                _check_pixels(rows, shown, captured, recording)
            return rows
    if has_pixels:
        return _by_pixels(captured, recording, shown)
    numbers = None if recording.image_names is not None else numbers_named(captured.names or ())
    if numbers is not None and len(numbers):
        return _by_number(numbers, recording, shown)
    return _by_position(captured, recording, count)


def check_rows(recording: Recording, count: int) -> None:
    """Raise a ValueError unless row i of `count` rows without names can be image i of the recording's source."""
    source = recording.image_names if recording.images is None else recording.images
    if source is not None and len(source) != count:
        raise ValueError(
            f"features must have a row for each of the recording's {len(source)} images, got {count} rows and no names "
            "by which to match them; features.given(array, names) gives them names"
        )
    recording.check_images(count)


def aligned(spaces: Mapping[Any, Any], features: Any, recording: Recording) -> tuple[Mapping[Any, Any], Recording]:
    """Feature spaces whose row i is image i of the recording, and the recording; both as they are where that holds.

    Where images of the recording's source were not captured, both keep the images that were shown.

    Parameters
    ----------
    spaces : name -> [images, ...], with the rows of `features`
    features, recording : as in `matched_rows`

    Returns
    -------
    spaces : name -> [images of the recording, ...]
    recording : the one given, or one of the images that were shown, which its `history` says

    Raises
    ------
    ValueError : as `matched_rows`
    """
    if _identity(features) is None or not spaces:
        return spaces, recording
    rows = matched_rows(features, recording)
    if np.array_equal(rows, np.arange(_count(features))):
        return dict(spaces), recording  # which are not matched again
    if (rows < 0).any():
        shown, ids = np.unique(recording.image_ids, return_inverse=True)
        names = recording.image_names
        recording = replace(
            recording,
            presentations=recording.presentations.assign(image=ids.astype(np.int64)),
            images=None,
            image_names=None if names is None else tuple(names[i] for i in shown),
            history=(*recording.history, f"kept the {len(shown)} images that were shown and captured"),
        )
        rows = rows[shown]
    return {name: _in_order(values, rows) for name, values in spaces.items()}, recording


@naming("in_rows_of")
def in_rows_of(features: Any, recording: Recording) -> Recording:
    """The recording with rows of the features as image ids, for analyses that bring several recordings together.

    Parameters
    ----------
    features, recording : as in `matched_rows`, which also says what is raised

    Returns
    -------
    Recording whose image ids are rows of the features, and whose image names are theirs; without pixels where rows and
    ids differ
    """
    rows, count = matched_rows(features, recording), _count(features)
    captured = _identity(features)
    if captured is None or np.array_equal(rows, np.arange(count)):
        return recording
    return replace(
        recording,
        presentations=recording.presentations.assign(image=rows[recording.image_ids]),
        images=None,
        image_names=captured.names,
        history=(*recording.history, "image ids are rows of the captured features"),
    )


def same_images(first: CapturedImages, other: CapturedImages, count: int) -> NDArray[np.int64] | None:
    """Rows of another capture in the order of the first; None where nothing tells which images they are of.

    Raises
    ------
    ValueError : the images are others
    """
    if first.names is not None and other.names is not None:
        rows = rows_by_name(other.names, first.names)
        missing = [name for name, row in zip(first.names, rows, strict=True) if row < 0]
        if missing or len(other.names) != count:
            raise ValueError(
                f"captures must be of the same images, got {_listed(first.names)} and {_listed(other.names)}"
            )
    elif first.hashes and other.hashes and first.hashes_are_of == other.hashes_are_of == "pixels":
        place = {digest: row for row, digest in reversed(list(enumerate(other.hashes)))}
        rows = np.array([place.get(digest, -1) for digest in first.hashes], np.int64)
        if (rows < 0).any():
            raise ValueError(
                f"captures must be of the same images, got pixels {first.hashes[int((rows < 0).argmax())]} in the "
                "first alone"
            )
    else:
        return None
    if first.hashes and other.hashes and first.hashes_are_of == other.hashes_are_of == "pixels":
        for i, row in enumerate(rows):
            if first.hashes[i] != other.hashes[row]:
                raise ValueError(
                    f"captures must be of the same images, got pixels {first.hashes[i]} and {other.hashes[row]} for "
                    f"{first.names[i] if first.names else i!r}"
                )
    return rows


def columns_of(X: Any, which: slice) -> NDArray[Any]:
    """Some columns of a feature space [n, d]; of one that is stored nothing else is read."""
    if hasattr(X, "columns") and callable(X.columns):
        chosen: NDArray[Any] = X.columns(which)
        return chosen
    return np.asarray(X[:, which] if hasattr(X, "__getitem__") else np.asarray(X)[:, which])


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """Rows of a feature space in another order, read when they are needed."""

    values: Any
    rows: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> NDArray[Any]:
        selected: NDArray[Any] = np.asarray(self.values[self.rows[place]])
        return selected

    def columns(self, which: slice) -> NDArray[Any]:
        """Some columns of all rows."""
        return columns_of(self.values, which)[self.rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.values)[self.rows].astype(dtype or np.float32, copy=False)


def _in_order(values: Any, rows: NDArray[np.int64]) -> Any:
    if not isinstance(values, Residualized):
        return MatchedRows(values, rows)
    covariates = values.covariates
    several = isinstance(covariates, list)
    ordered = [MatchedRows(matrix, rows) for matrix in (covariates if several else [covariates])]
    return replace(values, values=MatchedRows(values.values, rows), covariates=ordered if several else ordered[0])


def _identity(features: Any) -> CapturedImages | None:
    images = getattr(features, "images", None)
    return images if isinstance(images, CapturedImages) else None


def _count(features: Any) -> int:
    first = next(iter(features.values()))
    return int(first.shape[0])


def rows_by_name(captured: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the wanted names; where none is there as it is, of paths that end in them, or do so without ".jpg"."""
    place: dict[str, int] = {}
    for row, name in enumerate(captured):
        if place.setdefault(posix(name), row) != row:
            raise ValueError(f"names must be different, got {captured[place[posix(name)]]!r} and {name!r} for one")
    rows = np.array([place.get(posix(name), -1) for name in wanted], np.int64)
    return rows if (rows >= 0).any() else _by_tail(captured, wanted)


def _by_tail(captured: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    place: dict[str, list[int]] = {}
    have_endings = any(posix(name).lower().endswith(ENDINGS) for name in wanted)
    for row, name in enumerate(captured):
        for tail in tails(name) if have_endings else tails_without_ending(name, ENDINGS):
            place.setdefault(tail, []).append(row)
    several = next((name for name in wanted if len(place.get(posix(name), ())) > 1), None)
    if several is not None:
        first, other = place[posix(several)][:2]
        raise ValueError(
            f"names must tell images apart, got {captured[first]!r} and {captured[other]!r} in the features for "
            f"{several!r}"
        )
    return np.array([place.get(posix(name), [-1])[0] for name in wanted], np.int64)


def _check_found(rows: NDArray[np.int64], shown: Any, captured: Sequence[str], recording: Recording) -> None:
    names = recording.image_names or ()
    missing = [names[i] for i in shown if rows[i] < 0]
    if missing:
        raise ValueError(
            f"features must be of all {len(shown)} images that subject {recording.subject!r} was shown, got none of "
            f"{_listed(missing)} among {_listed(captured)}"
        )


def _check_pixels(rows: NDArray[np.int64], shown: Any, captured: CapturedImages, recording: Recording) -> None:
    """The pixels of a few images are those that were captured under their names."""
    for i in shown[:: max(1, len(shown) // _COMPARED)][:_COMPARED]:
        now, before = _hash_of(recording, int(i)), (captured.hashes or ())[rows[i]]
        if now != before:
            name = (recording.image_names or ())[i]
            raise ValueError(
                f"features must be of the pixels that were shown, got {before} in the capture and {now} in the "
                f"recording for {name!r}"
            )


def _by_pixels(captured: CapturedImages, recording: Recording, shown: Any) -> NDArray[np.int64]:
    place = {digest: row for row, digest in reversed(list(enumerate(captured.hashes or ())))}
    rows = np.full(len(recording.images), -1, np.int64)
    for i in shown:
        digest = _hash_of(recording, int(i))
        if digest not in place:
            raise ValueError(
                f"features must be of all {len(shown)} images that subject {recording.subject!r} was shown, got none "
                f"with the pixels {digest} of image {i} among {_listed(list(place))}"
            )
        rows[i] = place[digest]
    return rows


def _by_number(numbers: NDArray[np.int64], recording: Recording, shown: NDArray[np.int64]) -> NDArray[np.int64]:
    rows = np.full(max(int(numbers.max()), int(shown.max())) + 1, -1, np.int64)
    rows[numbers] = np.arange(len(numbers))
    missing = shown[rows[shown] < 0]
    if len(missing):
        raise ValueError(
            f"features must be of all {len(shown)} images that subject {recording.subject!r} was shown, got none of "
            f"number {missing[0]} and {len(missing) - 1} others among {len(numbers)}"
        )
    return rows


def _by_position(captured: CapturedImages, recording: Recording, count: int) -> NDArray[np.int64]:
    source = recording.image_names if recording.images is None else recording.images
    if source is not None and len(source) != count:
        missing = "the capture has no names" if captured.names is None else "the recording has no names"
        raise ValueError(
            f"features must be matched with the recording's {len(source)} images by names or pixels, got {count} rows "
            f"and nothing that both have: {missing}; give them (capture(..., names=), Recording(..., image_names=))"
        )
    recording.check_images(count)
    return np.arange(count)


def _hash_of(recording: Recording, i: int) -> str:
    return pixel_hash(rgb_pixels(recording.images[i], f"image {i} of the recording"))


def _listed(values: Sequence[str]) -> str:
    first = ", ".join(repr(value) for value in values[:_QUOTED])
    return f"{first}, ... ({len(values)})" if len(values) > _QUOTED else first
