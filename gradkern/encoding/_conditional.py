"""Do features tell something about responses that no plausible readout of confounds tells?

Gradients are functions of activations, outputs and labels, so that no finite set of confounds makes "given the
confounds" exact: what can be tested is that responses are nearer to a linear readout of the gradients than readouts of
the confounds, linear and nonlinear, drawn at random, would be. Under the null hypothesis a response is such a readout
plus noise: a Gaussian process over images, whose covariance V is a sum of kernels (`_kernels`) and of the noise of
every single image. V is fitted by maximum likelihood (`_variance_components`), and responses are whitened,
e = V^(-1/2) y. The statistic is a sum over pairs of *different* images

    U = sum_{i != j} R_ij <e_i, e_j>,

where R is what is left of V^(-1/2) X X' V^(-1/2) beside the kernels of all confounds and the noise of all images
(`_orthogonal_kernels`), so that U is 0 in expectation whatever the true weights of the kernels are, however loud the
noise of an image is, and however little of a readout could be learned from these images. Its null distribution flips
the signs of whole images, all targets and subjects together, so that targets may depend on each other in any way (wild
bootstrap: Wu 1986; Winkler et al. 2014, sign flips).

Residuals of a regression, cross-fitted or not, do not do: with hundreds of images most of a random readout of 512
columns cannot be learned, what is left of responses and of gradients are both functions of the activations, and the
product of the two is far from 0 (docs/statistics.md has the comparison).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradkern.encoding._checks import check_matrix
from gradkern.encoding._conditional_result import ALL, ConditionalGroup, ConditionalTest, p_among
from gradkern.encoding._confounds import Confounds
from gradkern.encoding._image_blocks import ImageBlock, image_blocks
from gradkern.encoding._pair_sums import NOTHING_LEFT_OF_KERNEL, FlippedSums, Groups, PairSums, add_block, pair_sums
from gradkern.encoding._response_blocks import ResponseBlock, kernel_names
from gradkern.encoding._variance_components import variance_components
from gradkern.errors import Refused, naming

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_NOTHING_LEFT = 1e-6  # of the features, in what a linear confound with fewer columns than images leaves


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
    blocks: Sequence[ResponseBlock]
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
        Refused : X does not vary, is a linear function of one of the confounds, or has nothing beside their kernels
        """
        ((results,),) = self.tests([X], [tuple(self.confounds.parts)], permutations, seed, target_groups)
        if isinstance(results, Refused):
            raise results
        everything = results.pop(ALL)
        groups = {name: ConditionalGroup(test.share, test.p, len(test.shares)) for name, test in results.items()}
        return replace(everything, target_groups=groups)

    def tests(
        self,
        spaces: Sequence[Any],
        excluded: Sequence[Collection[str]],
        permutations: int,
        seed: int,
        target_groups: Mapping[str, Any] | None = None,
    ) -> list[list[dict[str, ConditionalTest] | Refused]]:
        """Test several feature spaces beside several sets of parts of the confounds: results [sets][spaces].

        Results are of each group of targets and of `ALL`. What the sets have in common is computed once.
        """
        features = [check_matrix("X", X, len(self.dependent)).astype(np.float64) for X in spaces]
        if permutations < 19:
            raise ValueError(f"permutations must be at least 19, got {permutations}")
        groups = _members(target_groups, self.targets)
        confounds = [replace(self.confounds, parts=_only(self.confounds.parts, parts)) for parts in excluded]
        results: list[list[Any]] = [[_refusal(X, beside) for X in features] for beside in confounds]
        cases = [(a, b) for a, row in enumerate(results) for b, refused in enumerate(row) if refused is None]
        sums = {case: FlippedSums(groups, permutations) for case in cases}
        flips = self._flips(permutations, seed)
        for block in self.blocks:
            add_block(block, spaces, confounds, sums)
            signs = np.vstack([np.ones(len(block.rows)), flips[:, block.rows]]).astype(np.float32)
            for case in cases:
                sums[case].flip(signs)
        for a, b in cases:
            results[a][b] = self._result(sums[a, b], features[b].shape[1], confounds[a], permutations, seed)
        return results

    def pair_sums(self, spaces: Sequence[Any], groups: Groups, counts: Floats) -> PairSums:
        """Shares of variance that feature spaces add to all confounds, of groups of other responses to the images.

        Parameters
        ----------
        spaces : [images of the confounds, d] each
        groups : the responses, of targets that belong together
        counts : [b, images], how often each image of the model counts in a resampling, images in rising order
        """
        features = [check_matrix("X", X, len(self.dependent)).astype(np.float64) for X in spaces]
        tested = [number for number, X in enumerate(features) if _refusal(X, self.confounds) is None]
        return pair_sums(self.blocks, self.confounds, spaces, tested, groups, counts)

    def _result(
        self, sums: FlippedSums, columns: int, confounds: Confounds, permutations: int, seed: int
    ) -> dict[str, ConditionalTest] | Refused:
        if sums.left < NOTHING_LEFT_OF_KERNEL * sums.whole:
            return Refused(
                f"X must differ from the confounds in which images are alike, got {sums.left / sums.whole:.1g} of its "
                f"similarity beside {', '.join(confounds.parts)}"
            )
        tests = {}
        for name, members in sums.groups.items():
            shares = sums.sums[name] / sums.sizes[name]
            tests[name] = ConditionalTest(
                test=f"share of variance that a linear readout of {columns} features adds to readouts of "
                f"{', '.join(confounds.parts)}; {permutations} sign flips of images",
                share=float(shares[0]),
                p=p_among(shares),
                shares=(sums.by_target / sums.target_sizes)[members],
                target_groups={},
                null=shares[1:],
                weight=sums.sizes[name],
                images=self.images,
                permutations=permutations,
                seed=seed,
                smallest_p=1 / (1 + permutations),
            )
        return tests

    def _flips(self, permutations: int, seed: int) -> Floats:
        """Signs [permutations, images of the confounds], alike for images of one label."""
        labels, index = np.unique(self.dependent, return_inverse=True)
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(permutations, len(labels)))
        flips: Floats = signs[:, index]
        return flips


def _only(parts: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: values for name, values in parts.items() if name in names}


def _refusal(X: Floats, confounds: Confounds) -> Refused | None:
    if not np.ptp(X, axis=0).any():
        return Refused("X must vary over images, got the same row everywhere")
    return _same_as_confound(X, confounds)


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
    confounds: Confounds, Y: Any, images: Rows, blocks: Sequence[ImageBlock], seed: int = 0, keeps: bool = False
) -> ResponseModel:
    """`response_model` of images [n] in blocks, which may hold more parts of confounds than it is to exclude.

    `keeps` : what is left of feature spaces is kept where there is one block; their arrays must not change then.
    """
    Y = np.asarray(Y)
    responses = check_matrix("Y", Y[:, None] if Y.ndim == 1 else Y, len(images)).astype(np.float64)
    order = np.argsort(images)
    fits = [
        _fitted(block, responses[order[np.searchsorted(images, block.rows, sorter=order)]], confounds, seed)
        for block in blocks
    ]
    if keeps and len(fits) == 1:
        fits = [replace(fits[0], keeps=True)]
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


def _fitted(block: ImageBlock, Y: Floats, confounds: Confounds, seed: int) -> ResponseBlock:
    if (np.ptp(Y, axis=0) == 0).any():
        raise Refused(f"every target must vary, got {int((np.ptp(Y, axis=0) == 0).sum())} that do not")
    standardized = (Y - Y.mean(0)) / Y.std(0)
    kernels = block.kernels
    components = variance_components(kernels, standardized, kernel_names(kernels, confounds), seed)
    return ResponseBlock(block, standardized, components)


def _members(target_groups: Mapping[str, Any] | None, v: int) -> dict[str, NDArray[np.bool_]]:
    """Targets of each group as masks [v], and all of them."""
    groups = {ALL: np.ones(v, dtype=bool)}
    for name, given in (target_groups or {}).items():
        chosen, mask = np.asarray(given), np.zeros(v, dtype=bool)
        if chosen.dtype != bool and (not len(chosen) or chosen.min() < 0 or chosen.max() >= v):
            raise ValueError(f"target_groups[{name!r}] must be bool [{v}] or indices in 0..{v - 1}, got {chosen!r}")
        mask[chosen] = True
        if not mask.any() or name == ALL:
            raise ValueError(f"target_groups[{name!r}] must have a target and another name than {ALL!r}")
        groups[name] = mask
    return groups


def _same_as_confound(X: Floats, confounds: Confounds) -> Refused | None:
    """Why features are refused that are a linear function of a confound, if it has fewer columns than images."""
    about = X - X.mean(0)
    for part, matrices in confounds.parts.items():
        for name, values in matrices.items():
            if values.shape[1] < len(X) // 2 and _left_of(about, np.asarray(values)) < _NOTHING_LEFT:
                return Refused(f"X must not be a linear function of the confounds, got one of {part!r}: {name!r}")
    return None


def _left_of(X: Floats, values: NDArray[Any]) -> float:
    """Share of the sum of squares of centered X that a regression on the values leaves."""
    beside = values.astype(np.float64)
    beside = beside - beside.mean(0)
    basis, sizes, _ = np.linalg.svd(beside, full_matrices=False)
    basis = basis[:, sizes > 1e-7 * max(sizes.max(), 1e-300)]
    return float(1 - np.square(basis.T @ X).sum() / np.square(X).sum())
