"""The description of a model, and the base class of every loaded model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradkern._display import as_html, as_text, listed
from gradkern._pixels import pixel_hash, rgb_pixels
from gradkern.errors import naming


@dataclass(frozen=True, repr=False)
class ModelSpec:
    """The description of a model: how images are preprocessed, what its layers are called, whose weights it has."""

    name: str
    weights: str
    weights_sha256: str | None  # of the file they came from; None for random weights
    resolution: int
    mean: tuple[float, float, float]  # on the 0..255 scale
    std: tuple[float, float, float]
    layers: tuple[str, ...]  # blocks, shallow to deep
    licence: str
    interpolation: str = "bilinear"
    shorter_side: int | None = None  # is resized to this before the central square is cut out; None: no crop
    edges: tuple[str, ...] = ()  # what an image passes beside the blocks: stem, downsampling, last norm, projection
    branches: tuple[str, ...] = ()  # of a transformer: attention, MLP of block 0, of block 1, ...; what its sums add
    class_tokens: int | None = None  # None: no tokens
    register_tokens: int | None = None
    patch_size: int | None = None
    channels_last: bool = False  # feature maps of the blocks are [n, h, w, d]
    citation: str = ""
    gated: str | None = None  # whose licence to accept before the download

    @naming("ModelSpec")
    def depth(self, layer: str) -> float:
        """Relative depth in [0, 1] of a block or a branch.

        Block i of L lies at i / (L - 1). The MLP branch of a block, which is the last that it adds, lies where the
        block does; its attention branch lies half a block before, and that of the first block at 0.

        Raises
        ------
        ValueError : a layer that is neither a block nor a branch
        """
        last = max(len(self.layers) - 1, 1)
        if layer in self.layers:
            return self.layers.index(layer) / last
        if layer not in self.branches:
            raise ValueError(f"layer must be one of spec.layers or spec.branches, got {layer!r}")
        block, is_mlp = divmod(self.branches.index(layer), 2)
        return max(block - (0 if is_mlp else 0.5), 0) / last

    @naming("ModelSpec")
    def preprocess(self, images: Sequence[Any], *, whole: bool = False) -> Tensor:
        """Preprocess images as the model's authors do.

        Images are resized by `interpolation`, antialiased and rounded to whole grey values as by Pillow. The shorter
        side becomes `shorter_side`, and the central square is cut out; without a `shorter_side`, the whole image
        becomes a square.

        Parameters
        ----------
        images : of PIL, in any mode of 8 bits, turned as their EXIF says; or uint8, each [h, w] grey or [h, w, 3] RGB.
            Sizes may differ
        whole : whether the whole image, which is what a subject has seen, becomes a square in any case

        Returns
        -------
        float32 [n, 3, resolution, resolution], all in memory: `prepared` preprocesses each image when its batch comes

        Raises
        ------
        ValueError : no image, or an image of another type or shape, with more than 8 bits a channel, transparent pixels
            or several frames
        """
        if len(images) == 0:
            raise ValueError("images must hold at least one image, got none")
        if isinstance(images, np.ndarray | Tensor) and (
            images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 3)
        ):
            raise ValueError(f"images must be a sequence of images, got one, {list(images.shape)}")
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device="cpu").view(3, 1, 1) for values in (self.mean, self.std)
        )
        crop = self.shorter_side if not whole else None
        shape = (len(images), 3, self.resolution, self.resolution)
        result = torch.empty(shape, dtype=torch.float32, device="cpu")
        for i in range(len(images)):  # one at a time: a source may decode each when it is asked for
            result[i] = (self._resize(planes(images[i], i), crop) - mean) / std
        return result

    @naming("ModelSpec")
    def prepared(
        self, images: Sequence[Any], names: Sequence[str] | None = None, *, whole: bool = False
    ) -> "PreparedImages":
        """Images for `capture`, each of which is loaded and preprocessed when its batch comes.

        The capture keeps the names, and hashes of the pixels, by which its rows are matched with recordings.

        Parameters
        ----------
        images, whole : as in `preprocess`; the image source of a recording, for example
        names : of the images, all different; None if they have none
        """
        if names is not None and len(names) != len(images):
            raise ValueError(f"names must be one an image, {len(images)}, got {len(names)}")
        return PreparedImages(self, images, names, whole)

    def preprocessing(self, *, whole: bool = False) -> str:
        """Describe in words what `preprocess` does."""
        if self.shorter_side is None or whole:
            size = f"resized to {self.resolution} x {self.resolution} pixels"
        else:
            size = f"shorter side resized to {self.shorter_side} pixels, central {self.resolution} x {self.resolution}"
        mean, std = (" ".join(f"{value:.5g}" for value in values) for values in (self.mean, self.std))
        return f"{size} ({self.interpolation}, antialiased), minus {mean}, divided by {std}"

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())

    def _summary(self) -> tuple[str, dict[str, str]]:
        rows = {
            "layers": f"{len(self.layers)}: {listed(self.layers)}",
            "branches": f"{len(self.branches)}: {listed(self.branches)}" if self.branches else "none",
            "edges": listed(self.edges) or "none",
            "images": self.preprocessing(),
            "licence": self.licence,
        }
        if self.class_tokens is not None:
            counts = f"class {self.class_tokens}, registers {self.register_tokens or 0}"
            rows["tokens"] = f"{counts}, patches of {self.patch_size} pixels" if self.patch_size else counts
        if self.citation:
            rows["citation"] = self.citation
        return f"{self.name} ({self.weights} weights)", rows

    def _resize(self, planes: Tensor, shorter_side: int | None) -> Tensor:
        side = self.resolution
        size = [side, side]
        if shorter_side is not None:
            size = [length * shorter_side // min(planes.shape[1:]) for length in planes.shape[1:]]
        resized = nn.functional.interpolate(planes[None], size=size, mode=self.interpolation, antialias=True)[0]
        top, left = ((length - side) // 2 for length in size)
        return resized[:, top : top + side, left : left + side].float()


def describe_model(model: nn.Module, layers: Iterable[str]) -> dict[str, Any]:
    """Facts about a model for provenance: its name, its weights (None without a ModelSpec), and the depth of layers.

    A layer that is neither a block nor a branch has no depth.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        return {"model": type(model).__qualname__, "weights": None, "depth": {}}
    with_depth = {*spec.layers, *spec.branches}
    depth = {layer: spec.depth(layer) for layer in layers if layer in with_depth}
    return {"model": spec.name, "weights": spec.weights, "depth": depth}


def planes(image: Any, index: int) -> Tensor:
    """An image as uint8 [3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(rgb_pixels(image, f"image {index}").transpose(2, 0, 1)))


class PreparedImages(Sequence[Tensor]):
    """Images that are preprocessed when a capture asks for them, and known by their names and pixels.

    Attributes
    ----------
    names : of the images; None where they have none
    """

    def __init__(self, spec: ModelSpec, images: Sequence[Any], names: Sequence[str] | None, whole: bool):
        self._spec, self._images, self._whole = spec, images, whole
        self.names = None if names is None else tuple(names)
        self._last: tuple[int, Any] | None = None  # an image is loaded once for its pixels and its hash

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return self._spec.preprocess([self._pixels(i)], whole=self._whole)[0]

    def pixel_hash(self, i: int) -> str:
        """Hash of the pixels of image i, which a recording's image source has too."""
        return pixel_hash(self._pixels(i))

    def _pixels(self, i: int) -> np.ndarray:
        if self._last is None or self._last[0] != i:
            self._last = i, rgb_pixels(self._images[i], f"image {i}")
        pixels: np.ndarray = self._last[1]
        return pixels


class LoadedModel(nn.Module):
    """A model of `load_model`: an nn.Module whose layers have the names in `spec.layers`.

    `blocks` is registered before `network`, which shares it, so that `named_modules` has "blocks.0" for every model.
    `print(model.network)` shows all modules.
    """

    spec: ModelSpec
    blocks: nn.ModuleList
    network: Any

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())

    def _summary(self) -> tuple[str, dict[str, str]]:
        title, rows = self.spec._summary()
        millions = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        return title, {"network": f"{type(self.network).__name__}, {millions:.1f} million parameters", **rows}
