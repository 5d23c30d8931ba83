"""Work on all cores: in order, errors raised, and torch left as it was."""

import threading

import pytest
import torch

from gradkern.ridge._engine.blocks import on_all_cores


@pytest.fixture
def threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
class TestCores:
    def test_results_come_in_order_from_threads_that_share_the_cores(self) -> None:
        meet = threading.Barrier(2, timeout=30)

        def call(item: int) -> tuple[int, int]:
            if item < 2:
                meet.wait()  # both are under way at once
            return item, torch.get_num_threads()

        assert on_all_cores(call, range(5)) == [(item, 1) for item in range(5)]
        assert torch.get_num_threads() == 2

    def test_at_most_so_many_at_once(self) -> None:
        here = threading.get_ident()
        assert on_all_cores(lambda item: threading.get_ident(), range(3), most=1) == [here] * 3
        assert on_all_cores(lambda item: threading.get_ident(), [0]) == [here]
        assert on_all_cores(lambda item: item, []) == []

    def test_an_error_is_raised_and_torch_is_as_it_was(self) -> None:
        def call(item: int) -> int:
            raise ValueError(f"item {item}")

        with pytest.raises(ValueError, match="item 0"):
            on_all_cores(call, range(3))
        assert torch.get_num_threads() == 2
