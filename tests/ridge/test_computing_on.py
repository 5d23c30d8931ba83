"""Where ridge computes: as a call says, else as `computing_on` says, else where the arrays are."""

import numpy as np
import pytest
import torch

from gradkern.ridge import RidgeCV, computing_on, cross_val_score


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)).astype(np.float32)
    return X, X @ rng.standard_normal((4, 3)).astype(np.float32) + rng.standard_normal((60, 3)).astype(np.float32)


def test_results_come_back_to_where_arrays_are_and_contexts_end() -> None:
    X, Y = data()
    expected = RidgeCV().fit(X, Y).coef_
    with computing_on("cpu"):
        with computing_on(None):
            np.testing.assert_array_equal(RidgeCV().fit(X, Y).coef_, expected)
        assert isinstance(RidgeCV().fit(torch.tensor(X), torch.tensor(Y)).coef_, torch.Tensor)
        np.testing.assert_array_equal(RidgeCV(device="cpu").fit(X, Y).coef_, expected)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "gpu", "cuda:x", 3.5])
def test_what_is_no_device_here_is_refused_at_once(device: object) -> None:
    with pytest.raises(ValueError, match="computing_on: device must be"):
        computing_on(device)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_gives_the_same_to_rounding() -> None:
    X, Y = data()
    expected = RidgeCV().fit(X, Y).coef_, cross_val_score(X, Y)
    with computing_on("cuda"):
        torch.cuda.reset_peak_memory_stats()
        found = RidgeCV().fit(X, Y).coef_, cross_val_score(X, Y)
        assert torch.cuda.max_memory_allocated() > 0
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_allclose(one, other, atol=1e-4)
    on_cpu = RidgeCV(device="cpu").fit(X, Y).coef_
    np.testing.assert_array_equal(on_cpu, expected[0])
