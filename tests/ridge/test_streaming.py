"""Targets that are read ahead, and that come from an iterator: the same results, errors where they belong, no threads
left."""

import threading
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradkern.ridge import RidgeCV, computing_on
from gradkern.ridge._engine import blocks as blocks_module
from gradkern.ridge._engine import inputs as inputs_module
from gradkern.ridge._engine import solve as solve_module
from gradkern.ridge._engine.blocks import BlockIterator, Gpu, GrowingRows, Staging, TargetBlock, blocks_of, read_ahead
from gradkern.ridge._engine.inputs import DevicePlan, Targets
from tests.ridge_truth import ALPHAS, responses

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("alpha_", "coef_", "intercept_", "best_score_", "scores_")


@pytest.fixture
def data():
    rng = np.random.default_rng(9)
    X = rng.standard_normal((80, 30)).astype(np.float32)
    return X, responses(rng, X, v=33).astype(np.float32)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("gradkern-read-ahead")]


# Reading ahead


def test_the_next_item_is_read_while_the_caller_works():
    begun = {number: threading.Event() for number in range(4)}
    late = []

    def read(number):
        begun[number].set()
        return number, threading.get_ident()

    for number, thread in read_ahead(range(4), read):
        assert thread != threading.get_ident()
        if number < 3:
            assert begun[number + 1].wait(30), "the next read waits for the caller"
        late.append(number + 2 in begun and begun[number + 2].is_set())
    assert late == [False] * 4, "more than one item was read ahead"
    assert not readers()


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_error_of_a_read_comes_at_its_item_in_the_callers_thread(bad):
    def read(number):
        if number == bad:
            raise OSError(f"cannot read block {number}")
        return number

    ahead = read_ahead(range(4), read)
    assert [next(ahead) for _ in range(bad)] == list(range(bad))
    with pytest.raises(OSError, match=f"cannot read block {bad}"):
        next(ahead)
    assert not readers()


def test_an_error_of_the_source_leaves_no_thread():
    def source():
        yield 1
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(read_ahead(source(), lambda item: item))
    assert not readers()


def test_stopping_early_waits_for_one_read_and_leaves_no_thread():
    reads = []
    ahead = read_ahead(range(100), reads.append)
    next(ahead)
    next(ahead)
    ahead.close()
    assert len(reads) <= 3
    assert not readers()
    assert list(read_ahead([], reads.append)) == []


# Two pieces of memory, copied later than they were filled


class LateCopy:
    """A copy that is made when it has to be: what fills the memory before that spoils it."""

    def __init__(self, host, log):
        self.host, self.log, self.there, self.lock = host, log, None, threading.Lock()

    def _finish(self):
        with self.lock:
            if self.there is None:
                self.there = self.host.clone()

    def wait(self):
        self.log.append("wait")
        self._finish()

    def take(self):
        self.log.append("take")
        self._finish()
        return self.there


class LateDevice:
    def __init__(self, device=None):
        self.log, self.given = [], []

    def memory(self, count, dtype):
        self.given.append(torch.full((count,), torch.nan, dtype=dtype))
        return self.given[-1]

    def copy(self, host):
        self.log.append("copy")
        return LateCopy(host, self.log)


def stored(Y, kind, folder):
    if kind == "map":
        np.save(folder / "Y.npy", Y)
        return np.load(folder / "Y.npy", mmap_mode="r")
    if kind == "hdf5":
        h5py = pytest.importorskip("h5py")
        return h5py.File(folder / "Y.h5", "w").create_dataset("Y", data=Y, chunks=(len(Y), 5))
    kinds = {
        "array": Y,
        "columns": np.asfortranarray(Y),
        "tensor": torch.from_numpy(Y),
        "half": Y.astype(np.float16),
        "integers": Y.astype(np.int16),
        "swapped": Y.astype(Y.dtype.newbyteorder()),
    }
    return kinds[kind]


def pieces(targets, size):
    for start in range(0, targets.n_targets, size):
        columns = slice(start, min(start + size, targets.n_targets))
        yield TargetBlock(columns, targets, columns)


@pytest.mark.parametrize("rows", [None, np.array([5, 3, 70, 70])])
@pytest.mark.parametrize("kind", ["array", "columns", "tensor", "half", "integers", "swapped", "map", "hdf5"])
def test_staged_blocks_have_the_bits_of_plain_ones(data, tmp_path, kind, rows):
    values = stored(data[1], kind, tmp_path)
    dtype = torch.float64 if kind == "integers" else torch.float32
    targets = Targets(values, DevicePlan(torch.device("cpu"), dtype, None), rows)
    device = LateDevice()
    plain, staged = (list(blocks_of(pieces(targets, 7), each)) for each in (None, device))
    assert [columns for columns, _ in staged] == [columns for columns, _ in plain]
    assert len(staged) == 5
    for (_, one), (_, other) in zip(staged, plain, strict=True):
        assert torch.equal(one, other)
    assert len(device.given) == 2, "memory is allocated twice, and then used again"
    assert device.log.count("copy") == device.log.count("take") == 5
    assert device.log.count("wait") == 3


@pytest.mark.parametrize("rows", [None, np.array([5, 3, 70, 70, 1])])
@pytest.mark.parametrize("kind", ["array", "columns", "half", "swapped", "map"])
def test_large_blocks_are_read_by_threads_to_the_same_bits(data, tmp_path, kind, rows, monkeypatch):
    threads, copyto = set(), np.copyto

    def noted(*arguments, **options):
        threads.add(threading.current_thread())
        copyto(*arguments, **options)

    monkeypatch.setattr(inputs_module, "_LARGE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(np, "copyto", noted)
    targets = Targets(stored(data[1], kind, tmp_path), DevicePlan(torch.device("cpu"), torch.float32, None), rows)
    host = torch.full(targets.shape_of(slice(2, 9)), torch.nan)
    targets.read_into(host, slice(2, 9))
    assert torch.equal(host, targets.block(slice(2, 9)))
    assert threading.current_thread() not in threads
    assert not readers()


def test_results_come_back_while_the_next_are_computed(monkeypatch):
    """The copies alone: a result is kept when the next one is there, or when all are asked for."""

    class OnGpu(torch.Tensor):
        is_cuda = True

    copies = []

    def late(part, stream):
        copies.append(SimpleNamespace(arriving=part.as_subclass(torch.Tensor).clone(), waited=0))
        copies[-1].wait = lambda copy=copies[-1]: setattr(copy, "waited", copy.waited + 1)
        return copies[-1]

    monkeypatch.setattr(blocks_module, "sent_back", late)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    rows, results = GrowingRows(torch.full((3, 2), torch.nan)), torch.arange(14.0).view(7, 2)
    for number, (start, stop) in enumerate([(0, 3), (3, 6), (6, 7)]):
        rows.put(slice(start, stop), results[start:stop].as_subclass(OnGpu))
        assert [copy.waited for copy in copies] == [1] * number + [0]
    assert torch.equal(rows.whole(7), results)
    assert [copy.waited for copy in copies] == [1, 1, 1]


@pytest.mark.gpu
def test_results_of_a_gpu_are_those_that_a_plain_copy_brings(data):
    X, Y = data
    on_gpu = RidgeCV(ALPHAS, max_memory=40_000).fit(torch.from_numpy(X).cuda(), torch.from_numpy(Y).cuda())
    with computing_on("cuda"):
        back = RidgeCV(ALPHAS, max_memory=40_000).fit(X, Y)
    for name in ("coef_", "intercept_", "alpha_", "best_score_"):
        np.testing.assert_allclose(getattr(back, name), getattr(on_gpu, name).cpu().numpy(), rtol=1e-5, atol=1e-6)


def test_memory_grows_with_the_blocks(data):
    device = LateDevice()
    staging = Staging(device)
    targets = Targets(data[1], DevicePlan(torch.device("cpu"), torch.float32, None))
    copies = [staging.send(targets, slice(0, width)) for width in (2, 3, 9, 1)]
    assert [len(each) for each in device.given] == [160, 240, 720]
    assert [copy.take().shape[1] for copy in copies] == [2, 3, 9, 1]


def test_a_gpu_is_told_everything_in_order(monkeypatch):
    """The calls alone: the stream copies, what is computed waits for that, and the allocator waits for the latter."""
    said = []

    class Stream:
        def __init__(self, device):
            self.device = device

        def record_event(self):
            said.append("event")
            return SimpleNamespace(synchronize=lambda: said.append("host waits"))

        def wait_event(self, event):
            said.append("stream waits")

    @contextmanager
    def on(stream):
        said.append("side stream")
        yield
        said.append("its end")

    arriving = SimpleNamespace(device="cuda:0", record_stream=lambda stream: said.append(("held for", stream.device)))
    host = SimpleNamespace(to=lambda device, non_blocking: said.append((device, non_blocking)) or arriving)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(f"current of {device}"))
    copy = Gpu("cuda:0").copy(host)
    assert said == ["side stream", ("cuda:0", True), "event", "its end"]
    assert copy.take() is arriving
    assert said[4:] == ["stream waits", ("held for", "current of cuda:0")]
    copy.wait()
    assert said[6:] == ["host waits"]


@pytest.fixture
def late_gpu(monkeypatch):
    """RidgeCV as on a GPU with Y on the host."""
    devices = []
    monkeypatch.setattr(Targets, "on_host", property(lambda self: True))
    monkeypatch.setattr(solve_module, "Gpu", lambda device: devices.append(LateDevice()) or devices[-1])
    return devices


@pytest.mark.parametrize("shared", [False, True])
def test_a_staged_fit_has_the_bits_of_a_plain_one(data, shared, request):
    X, Y = data
    how = {"max_memory": 40_000, "store_scores": True, "alpha_per_target": not shared}
    plain = RidgeCV(ALPHAS, **how).fit(X, Y)
    devices = request.getfixturevalue("late_gpu")
    staged = RidgeCV(ALPHAS, **how).fit(X, Y)
    assert len(devices) == 1 + shared
    assert devices[0].log.count("copy") > 2
    for name in NAMES:
        np.testing.assert_array_equal(getattr(staged, name), getattr(plain, name))
    assert not readers()


def test_a_staged_fit_says_the_same_of_bad_targets(data, late_gpu):
    X, Y = data
    Y[3, 20] = np.inf
    with pytest.raises(ValueError, match=r"RidgeCV: Y must be finite .*, got inf at \[3, 20\]"):
        RidgeCV(ALPHAS, max_memory=40_000).fit(X, Y)
    assert not readers()

    class Broken:
        shape, dtype, ndim = Y.shape, Y.dtype, 2

        def __getitem__(self, index):
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        RidgeCV(ALPHAS).fit(X, Broken())
    assert not readers()


# Iterators of blocks


def split(Y, widths):
    assert sum(widths) == Y.shape[1]
    return np.split(Y, np.cumsum(widths)[:-1], axis=1)


@pytest.mark.parametrize("selection", ["kfold", "loo", "gcv"])
@pytest.mark.parametrize("max_memory", [None, 40_000])
@pytest.mark.parametrize("widths", [[33], [1, 20, 12], [11, 11, 11]])
def test_blocks_from_a_generator_are_one_array(data, widths, max_memory, selection):
    X, Y = data
    how = {"store_scores": True, "max_memory": max_memory, "selection": selection}
    whole = RidgeCV(ALPHAS, **how).fit(X, Y)
    streamed = RidgeCV(ALPHAS, **how).fit(X, (block for block in split(Y, widths)))
    assert streamed.coef_.shape == whole.coef_.shape
    np.testing.assert_array_equal(streamed.alpha_, whole.alpha_)
    for name in ("coef_", "intercept_", "best_score_", "scores_"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(whole, name), atol=1e-5)


def test_blocks_are_drawn_one_by_one_in_the_callers_thread(data, late_gpu):
    X, Y = data
    threads, alive = set(), []

    def blocks():
        for part in split(Y, [3] * 11):
            threads.add(threading.get_ident())
            alive.append(part)
            yield part

    one = RidgeCV(ALPHAS).fit(X, blocks())
    assert threads == {threading.get_ident()}
    np.testing.assert_array_equal(one.alpha_, RidgeCV(ALPHAS).fit(X, Y).alpha_)


def test_a_block_larger_than_the_memory_is_split(data):
    X, Y = data
    seen = []
    solver_blocks = solve_module.blocks

    def counted(*args):
        found = list(solver_blocks(*args))
        seen.append(len(found))
        return iter(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve_module, "blocks", counted)
        RidgeCV(ALPHAS, max_memory=40_000).fit(X, iter(split(Y, [30, 3])))
    assert seen[0] > 1
    assert seen[1] == 1


class Shelf:
    """Starts anew every time."""

    def __init__(self, *passes):
        self.passes, self.count = passes, 0

    def __iter__(self):
        self.count += 1
        return iter(self.passes[min(self.count, len(self.passes)) - 1])


def test_one_alpha_for_all_needs_blocks_twice(data):
    X, Y = data
    parts = split(Y, [30, 3])
    how = {"alpha_per_target": False}
    with pytest.raises(
        ValueError, match=r"RidgeCV: alpha_per_target=False reads Y twice; .* got an iterator \(list_iterator\)"
    ):
        RidgeCV(ALPHAS, **how).fit(X, iter(parts))
    shelf = Shelf(parts)
    np.testing.assert_array_equal(RidgeCV(ALPHAS, **how).fit(X, shelf).alpha_, RidgeCV(ALPHAS, **how).fit(X, Y).alpha_)
    assert shelf.count == 2
    with pytest.raises(ValueError, match="RidgeCV: Y must give the same targets every time, got 33, then 30"):
        RidgeCV(ALPHAS, **how).fit(X, Shelf(parts, parts[:1]))


def test_weights_tensors_and_nan_go_with_blocks(data):
    X, Y = data
    Y[4, 31] = np.nan
    weights = np.random.default_rng(0).integers(0, 3, 80)
    weights[4] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = RidgeCV(ALPHAS).fit(X, Y, sample_weight=weights)
    blocks = (torch.from_numpy(part) for part in split(Y, [30, 3]))
    with pytest.warns(UserWarning, match="RidgeCV: 1 of 33 targets hold NaN"):
        streamed = RidgeCV(ALPHAS).fit(X, blocks, sample_weight=weights)
    assert isinstance(streamed.coef_, np.ndarray)  # as X
    np.testing.assert_array_equal(streamed.alpha_, whole.alpha_)
    np.testing.assert_allclose(streamed.coef_, whole.coef_, atol=1e-5)


def test_float64_blocks_are_computed_in_float64(data):
    X, Y = data
    model = RidgeCV(ALPHAS).fit(X, iter(split(Y.astype(np.float64), [30, 3])))
    assert model.coef_.dtype == np.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part[:79], r"block 1 of Y must have shape \[80, b\] with b of at least 1, got \(79, 3\)"),
        (lambda part: part[:, 0], r"block 1 of Y must have shape \[80, b\] with b of at least 1, got \(80,\)"),
        (lambda part: part[:, :0], r"block 1 of Y must have shape \[80, b\] with b of at least 1, got \(80, 0\)"),
        (lambda part: part.astype(np.float64), "block 1 of Y must be like block 0, float32, got float64"),
        (torch.from_numpy, "block 1 of Y must be like block 0, float32, got float32 on cpu"),
        (lambda part: np.where(part == part[2, 1], np.inf, part), r"Y must be finite .*, got inf at \[2, 31\]"),
    ],
)
def test_bad_blocks_are_named(data, change, message):
    X, Y = data
    first, second = split(Y, [30, 3])
    with pytest.raises(ValueError, match=f"RidgeCV: {message}"):
        RidgeCV(ALPHAS).fit(X, iter([first, change(second)]))
    with pytest.raises(ValueError, match="RidgeCV: Y must have at least 1 target, got an iterator without blocks"):
        RidgeCV(ALPHAS).fit(X, iter([]))
    with pytest.raises(ValueError, match=r"RidgeCV: block 0 of Y must have shape \[80, b\]"):
        RidgeCV(ALPHAS).fit(X, iter([first[1:], second]))


def test_lists_and_frames_are_no_streams(data):
    X, Y = data
    np.testing.assert_array_equal(
        RidgeCV(ALPHAS).fit(X, Y[:, 0].tolist()).alpha_, RidgeCV(ALPHAS).fit(X, Y[:, 0]).alpha_
    )


def test_rows_grow():
    rows = GrowingRows(torch.empty(0, 2))
    for start, stop in ((0, 3), (3, 4), (4, 11)):
        rows.put(slice(start, stop), torch.arange(start, stop).float()[:, None].expand(-1, 2))
    assert torch.equal(rows.whole(11)[:, 1], torch.arange(11).float())
    known = torch.empty(2)
    rows = GrowingRows(known)
    rows.put(slice(0, 2), torch.ones(2))
    assert rows.whole(2) is known


def test_a_stream_knows_whether_it_can_start_anew(data):
    stream = BlockIterator(iter(split(data[1], [30, 3])), 80)
    assert not stream.restarts
    assert BlockIterator(Shelf(split(data[1], [30, 3])), 80).restarts


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["array", "columns", "tensor", "half", "integers", "map", "hdf5"])
def test_y_on_the_host_is_streamed_to_a_gpu(data, tmp_path, kind):
    X, Y = data
    values = stored(Y, kind, tmp_path)
    there = torch.from_numpy(np.array(values[:])).cuda() if not isinstance(values, torch.Tensor) else values.cuda()
    how = {"store_scores": True, "max_memory": 60_000}
    streamed = RidgeCV(ALPHAS, device="cuda", **how).fit(X, values)
    resident = RidgeCV(ALPHAS, **how).fit(torch.from_numpy(X).cuda(), there)
    np.testing.assert_array_equal(streamed.alpha_, resident.alpha_.cpu().numpy())
    for name in ("coef_", "intercept_", "scores_"):  # strides may choose another product
        np.testing.assert_allclose(getattr(streamed, name), getattr(resident, name).cpu().numpy(), atol=1e-5)
    assert not readers()
