"""Work in equal parts, a part on each core: what hardly gains from a second core itself."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(call: Callable[[Item], Result], items: Sequence[Item], most: int | None = None) -> list[Result]:
    """call(item) of every item, on as many cores at once as torch may use, or on `most` of them."""
    threads = torch.get_num_threads()
    workers = min(threads, len(items), threads if most is None else most)
    if workers <= 1:
        return [call(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(call, items))
    finally:
        torch.set_num_threads(threads)  # what was set last is what the process's next threads begin with
