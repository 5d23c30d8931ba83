"""How float32 is multiplied: as asked, whatever the process was told, and with the errors that are documented."""

import threading

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradkern.errors import naming
from gradkern.ridge import BandedRidgeCV, RidgeCV, cross_val_predict, cross_val_score, ridge_path, variance_partition
from gradkern.ridge._engine.inputs import DevicePlan
from gradkern.ridge._engine.precision import check_precision, multiplying
from tests.narrow import Narrow, rounded
from tests.ridge_truth import decided, responses

pytestmark = pytest.mark.usefixtures("one_thread")
ALPHAS = np.logspace(0, 5, 12)
PRODUCTS = {"_linear_pointwise", "mm", "bmm", "mv", "addmm", "addmm_", "addmv", "addmv_", "baddbmm"}
HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="needs a processor whose float32 products oneDNN may narrow")


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    X = (rng.standard_normal((400, 60)) * np.arange(1, 61) ** -0.5).astype(np.float32)
    return X, responses(rng, X, v=64).astype(np.float32)


def switches():
    backends = torch.backends
    parts = (backends, backends.mkldnn, backends.mkldnn.matmul, backends.cudnn, backends.cuda.matmul)
    return [part.fp32_precision for part in parts]


@pytest.fixture
def restored():
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


def loosen_by_name():
    torch.set_float32_matmul_precision("medium")


def loosen_by_flag():
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def loosen_all():
    torch.backends.fp32_precision = "tf32"
    torch.backends.mkldnn.fp32_precision = "bf16"


LOOSENINGS = [loosen_by_name, loosen_by_flag, loosen_all]


class Seen(TorchDispatchMode):
    """How every product of float32 matrices inside is multiplied."""

    def __init__(self):
        super().__init__()
        self.ways = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        narrow = any(isinstance(each, torch.Tensor) and each.dtype == torch.float32 for each in args)
        if narrow and function.overloadpacket.__name__ in PRODUCTS:
            self.ways.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision))
        return function(*args, **(kwargs or {}))


def everything(X, Y):
    """All that multiplies, once."""
    for how in ({}, {"standardize": True}, {"selection": "loo"}, {"coef": "dual"}, {"cv": 100}):
        RidgeCV(ALPHAS, **how).fit(X, Y).predict(X)
    BandedRidgeCV([20, 40], ALPHAS, band_weights=3).fit(X, Y).predict(X)
    cross_val_score(X, Y, ALPHAS)
    cross_val_predict(X, Y, ALPHAS)
    ridge_path(X, Y, ALPHAS)
    variance_partition([X[:, :20], X[:, 20:]], Y, ALPHAS, band_weights=3, cv=2, inner_cv=2)


@pytest.mark.parametrize("loosen", LOOSENINGS)
def test_what_the_process_was_told_reaches_no_product(data, loosen, restored):
    loosen()
    with Seen() as seen:
        everything(*data)
    assert len(seen.ways) > 100
    assert set(seen.ways) == {("ieee", "ieee")}


@pytest.mark.parametrize("loosen", LOOSENINGS)
def test_what_the_process_was_told_moves_no_bit(data, loosen, restored):
    X, Y = data
    plain = RidgeCV(ALPHAS).fit(X, Y)
    loosen()
    told = RidgeCV(ALPHAS).fit(X, Y)
    for name in ("alpha_", "coef_", "intercept_", "best_score_"):
        np.testing.assert_array_equal(getattr(told, name), getattr(plain, name))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("loosen", [lambda: None, *LOOSENINGS])
def test_the_process_is_left_as_it_was(loosen, precision, restored):
    loosen()
    before = switches()
    with multiplying("float32"), multiplying(precision):
        name = torch.get_float32_matmul_precision()
        matmuls = switches()[2], switches()[4]
    assert (name, *matmuls) == {
        "float32": ("highest", "ieee", "ieee"),
        "tf32": ("high", "tf32", "tf32"),
        "bfloat16": ("medium", "bf16", "tf32"),
    }[precision]
    assert switches() == before
    with pytest.raises(KeyError), multiplying("float32"):
        raise KeyError
    assert switches() == before


def test_what_is_inherited_stays_inherited(restored):
    torch.backends.fp32_precision = "tf32"
    with multiplying("float32"):
        pass
    torch.backends.fp32_precision = "ieee"
    assert switches() == ["ieee"] * 5


def test_threads_that_overlap_leave_the_process_as_it_was(restored):
    torch.set_float32_matmul_precision("medium")
    before, entered, leave = switches(), threading.Event(), threading.Event()

    def first():
        with multiplying("float32"):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(30)
    with multiplying("float32"):
        leave.set()
        thread.join(30)
        assert switches()[2] == "ieee"
    assert switches() == before


def test_rounding_keeps_so_many_bits():
    x = torch.tensor([1 + 2.0**-10, 1 + 2.0**-11, 1 + 3 * 2.0**-11, -(1 + 2.0**-10 + 2.0**-12), 3.0])
    nearest = torch.tensor([1 + 2.0**-10, 1.0, 1 + 2.0**-9, -(1 + 2.0**-10), 3.0])
    assert torch.equal(rounded(x, 10), nearest)
    assert torch.equal(rounded(x, 10, nearest=False), torch.tensor([1 + 2.0**-10, 1, 1 + 2.0**-10, nearest[3], 3]))
    noise = torch.randn(1000)
    assert torch.equal(rounded(noise, 7), noise.bfloat16().float())


# R2 at the best alpha: benchmarks/precision.py measured up to 1e-4, 7e-4; 1e-3, 6e-3 on larger problems
@pytest.mark.parametrize(
    ("precision", "nearest", "bound"),
    [("tf32", True, 5e-4), ("tf32", False, 2e-3), ("bfloat16", True, 4e-3), ("bfloat16", False, 3e-2)],
)
@pytest.mark.parametrize("wide", [False, True])
def test_rounded_operands_move_scores_no_more_than_documented(data, precision, nearest, bound, wide):
    X, Y = data
    X, Y = (np.concatenate([X, X[:, ::-1] ** 2], 1)[:100], Y[:100]) if wide else data
    true = RidgeCV(ALPHAS, store_scores=True).fit(X.astype(np.float64), Y.astype(np.float64))
    with Narrow(precision, nearest) as narrow:
        model = RidgeCV(ALPHAS, store_scores=True).fit(X, Y)
    error = np.abs(model.scores_ - true.scores_)[true.scores_.argmax(0), np.arange(Y.shape[1])]
    assert narrow.count > 10
    assert 2.0**-23 < error.max() <= bound
    clear = decided(true.scores_, bound / 4)
    assert clear.sum() > 5
    np.testing.assert_array_equal(model.alpha_[clear], true.alpha_[clear])
    assert (model.alpha_ == true.alpha_).mean() >= (0.95 if nearest else 0.85)


@needs_bf16
def test_bfloat16_is_for_products_with_targets_alone(data):
    X, Y = data
    true = RidgeCV(ALPHAS).fit(X.astype(np.float64), Y.astype(np.float64))
    with Seen() as seen:
        model = RidgeCV(ALPHAS, precision="bfloat16").fit(X, Y)
    assert {way for _, way in seen.ways} == {"bf16"}
    np.testing.assert_allclose(model.best_score_, true.best_score_, atol=4e-3)
    with Seen() as seen:
        model.predict(X)
    assert seen.ways == [("ieee", "ieee")]


def test_float64_is_never_narrowed(data):
    X, Y = (each.astype(np.float64) for each in data)
    with Narrow("bfloat16") as narrow:
        RidgeCV(ALPHAS).fit(X, Y)
    assert narrow.count == 0


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "plan", "message"),
    [
        ("tf32", DevicePlan(CPU, torch.float32, None), "precision='tf32' needs the device to be cuda, got cpu"),
        (
            "bfloat16",
            DevicePlan(CUDA, torch.float32, None),
            "precision='bfloat16' needs the device to be cpu, got cuda",
        ),
        (
            "tf32",
            DevicePlan(CUDA, torch.float64, None),
            "precision='tf32' needs X and Y in float32, got float64 or int",
        ),
        (
            "half",
            DevicePlan(CPU, torch.float32, None),
            "precision must be one of 'float32', 'tf32', 'bfloat16', got 'h",
        ),
    ],
)
def test_what_a_device_cannot_do_is_refused(precision, plan, message):
    with pytest.raises(ValueError, match=f"ridge: {message}"), naming("ridge"):
        check_precision(precision, plan)


def test_the_estimator_refuses_it_too(data):
    X, Y = data
    with pytest.raises(ValueError, match="RidgeCV: precision='tf32' needs the device to be cuda, got cpu"):
        RidgeCV(precision="tf32").fit(X, Y)
    with pytest.raises(ValueError, match="RidgeCV: precision='bfloat16' needs X and Y in float32, got float64"):
        RidgeCV(precision="bfloat16").fit(X, Y.astype(np.float64))


@pytest.mark.gpu
def test_tf32_is_within_its_bound_on_a_gpu(data, restored):
    X, Y = (torch.from_numpy(each) for each in data)
    true = RidgeCV(ALPHAS).fit(X.double(), Y.double())
    plain, narrow = (RidgeCV(ALPHAS, precision=each).fit(X.cuda(), Y.cuda()) for each in ("float32", "tf32"))
    torch.testing.assert_close(plain.best_score_.cpu().double(), true.best_score_, rtol=0, atol=2e-6)
    torch.testing.assert_close(narrow.best_score_.cpu().double(), true.best_score_, rtol=0, atol=2e-3)
    assert not torch.equal(plain.coef_, narrow.coef_)
