"""Do features tell something about responses that no plausible readout of confounds tells?

Gradients are functions of activations, outputs and labels, so that no finite set of confounds makes "given the
confounds" exact: what can be tested is that responses are nearer to a linear readout of the gradients than readouts of
the confounds, linear and nonlinear, drawn at random, would be. Under the null hypothesis a response is such a readout
plus noise: a Gaussian process over images, whose covariance V is a sum of kernels (`_kernels`) with weights fitted by
maximum likelihood (`_variance_components`). Whitened responses e = V^(-1/2) y are then uncorrelated over images,
however little of f could be learned from these images. The statistic is the sum over pairs of *different* images

    U = sum_{i != j} K_ij <e_i, e_j>,     K = V^(-1/2) X X' V^(-1/2),

which is 0 in expectation also where the noise is larger in some images than in others, since an image is never paired
with itself. Its null distribution flips the signs of whole images, all targets and subjects together, so that targets
may depend on each other in any way (wild bootstrap: Wu 1986; Winkler et al. 2014, sign flips).

Residuals of a regression, cross-fitted or not, do not do: with hundreds of images most of a random readout of 512
columns cannot be learned, what is left of responses and of gradients are both functions of the activations, and the
product of the two is far from 0 (docs/statistics.md has the comparison).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._checks import check_matrix
from gradkern.encoding._confounds import Confounds
from gradkern.encoding._image_blocks import COMMON_NOISE, ImageBlock, image_blocks
from gradkern.encoding._kernels import linear
from gradkern.encoding._variance_components import SHARES, Components, noise_scales, only_noise, variance_components
from gradkern.errors import Refused, naming

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_NOTHING_LEFT = 1e-6  # of the features, in what a linear confound with fewer columns than images leaves
_ALL = "all"


@dataclass(frozen=True)
class ConditionalGroup:
    """The result for a group of targets: share of variance, its p, and how many targets it has."""

    share: float
    p: float
    targets: int


@dataclass(frozen=True, eq=False)
class ConditionalTest:
    """What features tell about responses beyond the confounds.

    Attributes
    ----------
    test : what was tested, in words
    share : share of the responses' variance that a linear readout of the features adds, mean over targets. Unbiased
        about 0 where there is none; otherwise too small, because confounds that resemble the features take some of it
    p : one-sided, by sign flips of images
    shares : [v], of each target; noisy
    target_groups : name -> result of these targets
    null : [permutations], shares of the flipped data
    weight : by which `pooled` weighs the share: the expected sum over pairs of images at a share of 1
    images, permutations, seed : that the test used
    smallest_p : 1 / (1 + permutations)
    """

    test: str
    share: float
    p: float
    shares: Floats
    target_groups: Mapping[str, ConditionalGroup]
    null: Floats
    weight: float
    images: int
    permutations: int
    seed: int
    smallest_p: float

    def __repr__(self) -> str:
        size = f"{len(self.shares)} targets, {self.images} images"
        return f"ConditionalTest({size}: share {self.share:.4f}, p {self.p:.3g}, at least {self.smallest_p:.2g})"


@dataclass(frozen=True, eq=False)
class _Block:
    """Images `rows` [m] of the confounds, their standardized responses [m, v], and the responses' components.

    `apart` [m, m]: pairs of images whose noise is independent. `scales` [m], of the noise, by which responses and
    kernels are divided.
    """

    rows: Rows
    Y: Floats
    components: Components
    apart: NDArray[np.bool_]
    scales: Floats

    @cached_property
    def whitened(self) -> list[tuple[Rows, Floats, Floats]]:
        """Targets of each covariance, its whitening [m, m], and their whitened responses, of mean square 1."""
        components, cells = self.components, []
        for shape, share in components.cells():
            targets = components.members((shape, share))
            whitening = components.shapes[shape].whitening(SHARES[share])
            responses = whitening @ self.Y[:, targets]
            cells.append((targets, whitening, responses / np.sqrt(np.square(responses).mean(0))))
        return cells


@dataclass(frozen=True, eq=False)
class _Cell:
    """Targets of one covariance: indices, whitened responses [m, targets], and the whitened kernel of the features.

    The kernel holds pairs of independent images only and has norm 1; `size` is the norm that it had. `mean` [m] is the
    direction that responses lost with their mean: noise has the covariance I - mean mean'.
    """

    targets: Rows
    whitened: Floats
    kernel: Floats
    size: float
    mean: Floats

    def by_target(self) -> Floats:
        """Statistic [targets]."""
        sums: Floats = (self.whitened * (self.kernel @ self.whitened)).sum(0) + self.mean @ self.kernel @ self.mean
        return sums

    def pair_products(self, chosen: NDArray[np.bool_]) -> Floats:
        """Terms [m, m] of the statistic, summed over chosen targets."""
        inside = self.whitened[:, chosen]
        products: Floats = self.kernel * (inside @ inside.T + inside.shape[1] * np.outer(self.mean, self.mean))
        return products


@dataclass(frozen=True, eq=False, repr=False)
class ResponseModel:
    """Responses as random readouts of confounds and noise, by `response_model`.

    Attributes
    ----------
    images, targets : how many
    readouts : number of targets, and weights of kernels by name, of every shape that was found in the first block
    """

    images: int
    targets: int
    readouts: Sequence[tuple[int, Mapping[str, float]]]
    confounds: Confounds
    blocks: Sequence[_Block]
    dependent: Rows

    def __repr__(self) -> str:
        lines = [f"ResponseModel of {self.images} images in {len(self.blocks)} blocks, {self.targets} targets"]
        for count, weights in self.readouts:
            largest = sorted(weights.items(), key=lambda pair: -pair[1])[:3]
            lines.append(f"  {count} targets: " + (", ".join(f"{k} {w:.2f}" for k, w in largest) or "noise"))
        return "\n".join(lines)

    @naming("ResponseModel.test")
    def test(
        self, X: Any, *, permutations: int = 1000, seed: int = 0, target_groups: Mapping[str, Any] | None = None
    ) -> ConditionalTest:
        """Test features X [images of the confounds, d] as `conditional_test` does.

        The same seed flips the same images in models of other responses to the same images.

        Raises
        ------
        ValueError : X is not [n, d] or not finite; permutations below 19; target groups that name no targets
        Refused : X does not vary, or is a linear function of one of the confounds
        """
        features = self._checked(X)
        if permutations < 19:
            raise ValueError(f"permutations must be at least 19, got {permutations}")
        groups = _members(target_groups, self.targets)
        flips = self._flips(permutations, seed)
        sums = {name: np.zeros(1 + permutations) for name in groups}
        sizes = dict.fromkeys(groups, 0.0)
        by_target, target_sizes = np.zeros(self.targets), np.zeros(self.targets)
        for block in self.blocks:
            products = {name: np.zeros(block.apart.shape) for name in groups}
            for cell in _cells(block, features):
                by_target[cell.targets] += cell.by_target()
                target_sizes[cell.targets] += cell.size
                for name, members in groups.items():
                    products[name] += cell.pair_products(members[cell.targets])
                    sizes[name] += cell.size * int(members[cell.targets].sum())
            signs = np.vstack([np.ones(len(block.rows)), flips[:, block.rows]])
            for name, terms in products.items():
                sums[name] += np.einsum("pi,pi->p", signs @ terms, signs)
        shares = {name: sums[name] / sizes[name] for name in groups}
        results = {
            name: ConditionalGroup(float(values[0]), _p(values), int(groups[name].sum()))
            for name, values in shares.items()
        }
        everything = results.pop(_ALL)
        return ConditionalTest(
            test=f"share of variance that a linear readout of {features.shape[1]} features adds to readouts of "
            f"{', '.join(self.confounds.parts)}; {permutations} sign flips of images",
            share=everything.share,
            p=everything.p,
            shares=by_target / target_sizes,
            target_groups=results,
            null=shares[_ALL][1:],
            weight=sizes[_ALL],
            images=self.images,
            permutations=permutations,
            seed=seed,
            smallest_p=1 / (1 + permutations),
        )

    def _checked(self, X: Any) -> Floats:
        features = check_matrix("X", X, len(self.dependent)).astype(np.float64)
        if not np.ptp(features, axis=0).any():
            raise Refused("X must vary over images, got the same row everywhere")
        _check_no_confound(features, self.confounds)
        return features

    def _flips(self, permutations: int, seed: int) -> Floats:
        """Signs [permutations, images of the confounds], alike for images of one label."""
        labels, index = np.unique(self.dependent, return_inverse=True)
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(permutations, len(labels)))
        flips: Floats = signs[:, index]
        return flips


@naming("response_model")
def response_model(
    confounds: Any, Y: Any, *, rows: Any = None, dependent: Any = None, images_at_once: int = 1000, seed: int = 0
) -> ResponseModel:
    """Fit the null hypothesis of `conditional_test`, which serves for any number of feature spaces.

    Parameters
    ----------
    confounds, Y, dependent, images_at_once, seed : as in `conditional_test`
    rows : [n], the images of the confounds that Y has, each once; None: all, in their order

    Raises
    ------
    ValueError, Refused : as `conditional_test`

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> model = response_model({"activations": A}, Y)
    >>> model.test(G, permutations=99).shares.shape
    (2,)
    """
    excluded = _confounds(confounds)
    images = np.arange(len(excluded)) if rows is None else np.asarray(rows)
    if images.ndim != 1 or len(np.unique(images)) < len(images) or images.min() < 0 or images.max() >= len(excluded):
        raise ValueError(f"rows must be different images in 0..{len(excluded) - 1}, got {images.shape} of them")
    blocks = image_blocks(excluded, images, dependent, images_at_once, seed)
    return fitted_model(excluded, Y, images, blocks, seed)


def fitted_model(
    confounds: Confounds, Y: Any, images: Rows, blocks: Sequence[ImageBlock], seed: int = 0
) -> ResponseModel:
    """`response_model` of images [n] in blocks, which may hold more parts of confounds than it is to exclude."""
    Y = np.asarray(Y)
    responses = check_matrix("Y", Y[:, None] if Y.ndim == 1 else Y, len(images)).astype(np.float64)
    fits = [_fitted(block, responses[np.searchsorted(images, block.rows, sorter=np.argsort(images))], confounds, seed)
            for block in blocks]  # fmt: skip
    first = fits[0].components
    readouts = [(int((first.shape == number).sum()), shape.weights) for number, shape in enumerate(first.shapes)]
    return ResponseModel(len(images), responses.shape[1], readouts, confounds, fits, blocks[0].dependent)


@naming("conditional_test")
def conditional_test(
    X: Any,
    confounds: Any,
    Y: Any,
    *,
    dependent: Any = None,
    images_at_once: int = 1000,
    permutations: int = 1000,
    seed: int = 0,
    target_groups: Mapping[str, Any] | None = None,
) -> ConditionalTest:
    """Test whether responses are nearer to a linear readout of features than readouts of confounds are.

    Parameters
    ----------
    X : [n, d], for example gradients of a layer
    confounds : of `encoding.confounds`; or a mapping of such names to matrices [n, c]
    Y : [n, v], responses, one row an image; may be of several subjects who saw the same images, side by side
    dependent : [n] labels; noise is independent between images of different labels only (sessions, runs, neighbours
        in time). None: between all images
    images_at_once : images whose pairs are looked at together. More images are divided at random; time and memory grow
        with their number times this one squared
    permutations, seed : sign flips of images, and the seed of these and of what is drawn at random
    target_groups : name -> bool [v] or indices: targets that are tested as one too

    Raises
    ------
    ValueError : shapes that do not fit together, NaN or inf, fewer than 19 permutations
    Refused : fewer than 20 images; a target or features that do not vary; features that are a linear function of one of
        the confounds, as gradients before the head are of the error of the outputs

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, G, Y = (rng.standard_normal((60, d)) for d in (4, 3, 2))
    >>> conditional_test(G, {"activations": A}, Y, permutations=99).shares.shape
    (2,)
    """
    model = response_model(confounds, Y, dependent=dependent, images_at_once=images_at_once, seed=seed)
    return model.test(X, permutations=permutations, seed=seed, target_groups=target_groups)


@naming("pooled")
def pooled(tests: Sequence[ConditionalTest]) -> ConditionalTest:
    """One test of several models' results, as of subjects who saw different images, tested with the same seed.

    Raises
    ------
    ValueError : no tests, or of other permutations or seeds
    """
    if len({(test.permutations, test.seed) for test in tests}) != 1:
        raise ValueError(f"tests must be at least one, of the same permutations and seed, got {len(tests)}")
    weights = np.array([test.weight for test in tests])
    values = np.array([[test.share, *test.null] for test in tests])
    shares = weights @ values / weights.sum()
    return ConditionalTest(
        test=tests[0].test,
        share=float(shares[0]),
        p=_p(shares),
        shares=np.concatenate([test.shares for test in tests]),
        target_groups={},
        null=shares[1:],
        weight=float(weights.sum()),
        images=min(test.images for test in tests),
        permutations=tests[0].permutations,
        seed=tests[0].seed,
        smallest_p=tests[0].smallest_p,
    )


def _p(values: Floats) -> float:
    """One-sided p of the first value among the others; flips that leave all signs alike count as reaching it."""
    return float((1 + (values[1:] >= values[0] - 1e-9 * abs(values[0])).sum()) / len(values))


def _confounds(given: Any) -> Confounds:
    if isinstance(given, Confounds):
        return given
    if not isinstance(given, Mapping) or not given:
        raise ValueError(
            f"confounds must be of encoding.confounds, or a mapping of matrices, got {type(given).__name__}"
        )
    parts = {part: values if isinstance(values, Mapping) else {part: values} for part, values in given.items()}
    n = len(next(iter(next(iter(parts.values())).values())))
    checked = {
        part: {name: check_matrix(f"confounds[{name!r}]", values, n) for name, values in matrices.items()}
        for part, matrices in parts.items()
    }
    return Confounds(checked)


def _fitted(block: ImageBlock, Y: Floats, confounds: Confounds, seed: int) -> _Block:
    if (np.ptp(Y, axis=0) == 0).any():
        raise Refused(f"every target must vary, got {int((np.ptp(Y, axis=0) == 0).sum())} that do not")
    parts = (*(f"{part}: " for part in confounds.parts), COMMON_NOISE)
    kernels = {name: kernel for name, kernel in block.kernels.items() if name.startswith(parts)}
    standardized = (Y - Y.mean(0)) / Y.std(0)
    even = _Block(
        block.rows,
        standardized,
        variance_components(kernels, standardized, seed, block.spectra),
        block.apart,
        np.ones(len(Y)),
    )
    # readouts whose size differs between images can pass for noise that does, and the other way round
    by_image = noise_scales(only_noise(standardized), standardized)
    best = even
    for scales in (by_image, noise_scales(even.components, standardized)):
        if scales is not None:
            uneven = _divided_by(scales, kernels, standardized, even, seed)
            best = max(best, uneven, key=_log_likelihood)
    return best


def _log_likelihood(block: _Block) -> float:
    scaling = block.Y.shape[1] * np.log(block.scales).sum()  # densities of responses that were divided
    return float(block.components.log_likelihood - scaling)


def _divided_by(scales: Floats, kernels: Mapping[str, Floats], Y: Floats, even: _Block, seed: int) -> _Block:
    """The block with noise of these standard deviations [m]."""
    weighted = (Y - np.average(Y, axis=0, weights=scales**-2)) / scales[:, None]
    scaled = {name: _scaled(kernel, scales) for name, kernel in kernels.items()}
    return replace(even, Y=weighted, components=variance_components(scaled, weighted, seed), scales=scales)


def _scaled(kernel: Floats, scales: Floats) -> Floats:
    """Kernel of features that are divided by the images' scales, without their common mean, of mean diagonal 1."""
    mean = _mean_direction(scales)
    divided = kernel / np.outer(scales, scales)
    along = divided @ mean
    divided -= np.outer(along, mean) + np.outer(mean, along) - (mean @ along) * np.outer(mean, mean)
    kernel_of_rest: Floats = divided * (len(divided) / np.trace(divided))
    return kernel_of_rest


def _mean_direction(scales: Floats) -> Floats:
    """Unit vector [m] of what a mean over images contributes to responses that are divided by the scales."""
    direction: Floats = 1 / scales
    return direction / np.linalg.norm(direction)


def _cells(block: _Block, X: Floats) -> Iterator[_Cell]:
    similarity = _scaled(linear(X[block.rows]), block.scales)
    mean = _mean_direction(block.scales)
    for targets, whitening, whitened in block.whitened:
        kernel = np.where(block.apart, whitening @ similarity @ whitening, 0)
        size = float(np.linalg.norm(kernel))
        yield _Cell(targets, whitened, kernel / (size or 1.0), size, mean)


def _members(target_groups: Mapping[str, Any] | None, v: int) -> dict[str, NDArray[np.bool_]]:
    """Targets of each group as masks [v], and all of them."""
    groups = {_ALL: np.ones(v, dtype=bool)}
    for name, given in (target_groups or {}).items():
        chosen, mask = np.asarray(given), np.zeros(v, dtype=bool)
        if chosen.dtype != bool and (not len(chosen) or chosen.min() < 0 or chosen.max() >= v):
            raise ValueError(f"target_groups[{name!r}] must be bool [{v}] or indices in 0..{v - 1}, got {chosen!r}")
        mask[chosen] = True
        if not mask.any() or name == _ALL:
            raise ValueError(f"target_groups[{name!r}] must have a target and another name than {_ALL!r}")
        groups[name] = mask
    return groups


def _check_no_confound(X: Floats, confounds: Confounds) -> None:
    """Refuse features that are a linear function of one of the confounds, where that has fewer columns than images."""
    about = X - X.mean(0)
    for part, matrices in confounds.parts.items():
        for name, values in matrices.items():
            if values.shape[1] < len(X) // 2 and _left_of(about, np.asarray(values)) < _NOTHING_LEFT:
                raise Refused(f"X must not be a linear function of the confounds, got one of {part!r}: {name!r}")


def _left_of(X: Floats, values: NDArray[Any]) -> float:
    """Share of the sum of squares of centered X that a regression on the values leaves."""
    beside = values.astype(np.float64)
    beside = beside - beside.mean(0)
    basis, sizes, _ = np.linalg.svd(beside, full_matrices=False)
    basis = basis[:, sizes > 1e-7 * max(sizes.max(), 1e-300)]
    return float(1 - np.square(basis.T @ X).sum() / np.square(X).sum())
