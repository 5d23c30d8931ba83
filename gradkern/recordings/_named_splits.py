"""Splits that others published by the names of images: LAION-fMRI's (re:vision), or any in a JSON or CSV file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gradkern._excluded import Excluded
from gradkern._image_names import canonical
from gradkern.errors import Refused, naming
from gradkern.recordings._formats.files import existing_file
from gradkern.recordings._formats.names import is_missing
from gradkern.recordings._formats.tables import read_table
from gradkern.recordings._recording import Recording
from gradkern.recordings._splits import Split, published

_PARTS = ("train", "test")
_IMAGE_COLUMNS = ("image", "image_name", "name", "label", "stim_file")
_CATEGORY = "_OOD_"  # stands before the category in LAION-fMRI's names of images out of distribution


@naming("named")
def named(
    recording: Recording,
    source: Any,
    name: str | None = None,
    *,
    categories: Sequence[str] | None = None,
    partial: bool = False,
    gap: float | None = None,
) -> Split:
    """A split of the images by their names, as (train, test): see `assign_split`.

    Parameters
    ----------
    recording : whose images have names
    source, name, categories, partial : see `assign_split`
    gap : temporal buffer in seconds: see `folds`

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, named
    >>> table, label = pd.DataFrame({"image": [0, 1, 2, 0]}), pd.DataFrame({"label": ["v"]})
    >>> recording = Recording(np.ones((4, 1)), table, label, "s", "u", image_names=("a", "b", "c"))
    >>> train, test = named(recording, {"train": ["a", "b"], "test": ["c"]})
    >>> train.shape, test.shape
    ((3,), (1,))
    """
    return published(assign_split(recording, source, name, categories=categories, partial=partial), gap=gap)


@naming("assign_split")
def assign_split(
    recording: Recording,
    source: Any,
    name: str | None = None,
    *,
    categories: Sequence[str] | None = None,
    partial: bool = False,
) -> Recording:
    """The recording with a "split" of its presentations, "train", "test" or "", by the names of their images.

    Whatever uses the published split, such as `published` and `gradkern encode --by published`, then uses this one.

    Parameters
    ----------
    recording : whose images have names
    source : a mapping with "train" and "test", the names of images; or a file: JSON with such a mapping, with one by
        name, or in the schema of LAION-fMRI ("variants" with "train_ids" and "test_ids"); or CSV or TSV with a column
        "image" and a column that says train or test; or a folder with the file NAME.json, as that of a pool in
        `laion_fmri/splits/data`
    name : of the split, such as "tau", "ood", "cluster_k5_0" or "random_0", where the source has several; of a table,
        the column, by default "split". "ood_shape" and the like are "ood" with the category "shape"
    categories : of LAION-fMRI's images out of distribution, which alone are tested: "shape", "relations", ...
    partial : whether the split may name images that the recording does not know; they are counted in `excluded`

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : the source is no such file, has no such split, names an image twice or in both parts, or names images
        that the recording does not know while `partial` is False
    Refused : the recording has no names, or no presentation is left in a part

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, assign_split
    >>> table, label = pd.DataFrame({"image": [0, 1, 2, 0]}), pd.DataFrame({"label": ["v"]})
    >>> recording = Recording(np.ones((4, 1)), table, label, "s", "u", image_names=("a", "b", "c"))
    >>> assign_split(recording, {"train": ["a", "b"], "test": ["c"]}).presentations["split"].tolist()
    ['train', 'train', 'test', 'train']
    """
    if recording.image_names is None:
        raise Refused("the recording must have image_names, got none")
    parts, origin = _read(source, name, categories)
    places = _Places(recording.image_names)
    split, unknown = np.full(len(recording.image_names), "", dtype=object), []
    for part in _PARTS:
        for image in parts[part]:
            place = places.of(image)
            if place is None:
                unknown.append(image)
            elif split[place]:
                both = "" if split[place] == part else f" in {split[place]} and in {part}"
                raise ValueError(f"{origin} must name each image once, got {image!r} twice{both}")
            else:
                split[place] = part
    if unknown and not partial:
        raise ValueError(
            f"{origin} must name images of the recording, got {len(unknown)} of "
            f"{sum(map(len, parts.values()))} others, first {unknown[0]!r} (partial=True leaves them out)"
        )
    shown = split[recording.image_ids]
    for part in _PARTS:
        if not (shown == part).any():
            raise Refused(f"presentations must be left to {part}, got none by {origin}")
    left_out = (Excluded("images of the split", len(unknown), "unknown to the recording"),) if unknown else ()
    counts = {part: int((shown == part).sum()) for part in _PARTS}
    return replace(
        recording,
        presentations=recording.presentations.assign(split=shown),
        history=(*recording.history, f"split by {origin}: {counts['train']} to train, {counts['test']} to test"),
        excluded=(*recording.excluded, *left_out),
        provenance=recording.provenance | {"split": origin},
    )


class _Places:
    """Where images are in a list of names; folders before a file's name may be left out where that is enough."""

    def __init__(self, names: Sequence[str]) -> None:
        self.whole = {name: place for place, name in enumerate(names)}
        files = [PurePosixPath(name.replace("\\", "/")).name for name in names]
        alone = len(set(files)) == len(files)
        self.files = {file: place for place, file in enumerate(files)} if alone else {}

    def of(self, image: str) -> int | None:
        place = self.whole.get(image)
        return self.files.get(PurePosixPath(image.replace("\\", "/")).name) if place is None else place


def _read(source: Any, name: str | None, categories: Sequence[str] | None) -> tuple[dict[str, list[str]], str]:
    """Names of images by part, and what they are from in words."""
    if name is not None and name.startswith("ood_") and categories is None:
        name, categories = "ood", (name.removeprefix("ood_"),)
    if isinstance(source, Mapping):
        parts, origin = _parts(source, name, "the mapping"), "the mapping" if name is None else f"split {name!r}"
    else:
        path = Path(source).expanduser()
        path = existing_file(path / f"{name}.json" if path.is_dir() else path)
        inside = None if path.stem == name else name
        tabular = path.suffix.lower() in (".csv", ".tsv")
        parts = _from_table(path, inside) if tabular else _parts(_json(path), inside, str(path))
        origin = path.name if inside is None else f"{inside!r} of {path.name}"
    if categories is not None:
        parts["test"] = _of_categories(parts["test"], categories, origin)
    return parts, origin


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


def _parts(content: Any, name: str | None, origin: str) -> dict[str, list[str]]:
    """The parts of a mapping in one of the forms that `assign_split` names."""
    if isinstance(content, Mapping) and name is not None and name in content:
        content = content[name]
    elif isinstance(content, Mapping) and name is not None and content.get("name", name) != name:
        raise ValueError(f"{origin} must hold the split {name!r}, got {content['name']!r}")
    elif isinstance(content, Mapping) and name is not None and "name" not in content:
        raise ValueError(f"{origin} must hold the split {name!r}, got {sorted(map(str, content))}")
    if isinstance(content, Mapping) and "variants" in content:
        variants = content["variants"]
        if not isinstance(variants, list) or len(variants) != 1:
            raise ValueError(f"{origin} must hold one variant of a split, got {len(variants)}")
        content = {**content, **variants[0]}
    if not isinstance(content, Mapping):
        raise ValueError(f"{origin} must map train and test to names of images, got {type(content).__name__}")
    parts = {part: content.get(part, content.get(f"{part}_ids")) for part in _PARTS}
    for part, images in parts.items():
        if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str):
            raise ValueError(f"{origin} must map {part!r} to names of images, got keys {sorted(map(str, content))}")
        stated = content.get(f"n_{part}")
        if stated is not None and stated != len(images):
            raise ValueError(f"{origin} must name the {stated} images of its n_{part}, got {len(images)}")
    return {part: _names(images, origin) for part, images in parts.items() if images is not None}


def _names(images: Iterable[Any], origin: str) -> list[str]:
    names = list(images)
    wrong = next((name for name in names if not isinstance(name, str) or is_missing(name)), None)
    if wrong is not None:
        raise ValueError(f"{origin} must hold names of images, got {wrong!r}")
    return [canonical(name) for name in names]


def _from_table(path: Path, name: str | None) -> dict[str, list[str]]:
    column = name or "split"
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    table = read_table(path, (column,), separator, names=(*_IMAGE_COLUMNS, column))
    image = next((word for word in _IMAGE_COLUMNS if word in table and word != column), None)
    if image is None:
        raise ValueError(f"{path} must have the column 'image', got {list(table.columns)}")
    return {part: _names(table[image][table[column] == part], str(path)) for part in _PARTS}


def _of_categories(images: list[str], categories: Sequence[str], origin: str) -> list[str]:
    """Tested images of some categories, which stand in their names: shared_4rep_OOD_shape_..."""
    if isinstance(categories, str):
        raise ValueError(f"categories must be a list, got {categories!r}")
    of = {image: image.partition(_CATEGORY)[2].partition("_")[0] for image in images}
    there = sorted(set(of.values()) - {""})
    for category in categories:
        if category not in there:
            raise ValueError(f"categories must be some of {there}, as {origin} has them, got {category!r}")
    return [image for image in images if of[image] in categories]
