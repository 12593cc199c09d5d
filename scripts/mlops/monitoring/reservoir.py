"""A fair sample of what does not fit into memory.

An Airflow worker shares 2 GB with other tasks (mw1.small), so a monitoring run keeps no more than this,
however busy an endpoint is and however large its training data are.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Generic, TypeVar

ROWS = 20_000
CELLS = 2_000_000
"""Rows times columns."""
COLUMNS = 500
FILES = 2_000
"""That are read of one kind; more are sampled."""
BYTES = 64 * 1024 * 1024
"""That are read of one kind."""

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """At most `size` of all items that were offered, each with the same chance (Vitter's algorithm R).

    The same seed and items give the same sample, so a repeated run has the same result.
    """

    def __init__(self, size: int, seed: str) -> None:
        self._size = size
        self._random = random.Random(seed)  # noqa: S311  # a sample, no secret
        self.items: list[Item] = []
        self.offered = 0

    def offer(self, item: Item) -> None:
        """Take an item, perhaps."""
        self.offered += 1
        if len(self.items) < self._size:
            self.items.append(item)
            return
        place = self._random.randrange(self.offered)
        if place < self._size:
            self.items[place] = item


def shuffled(items: Iterable[Item], seed: str, size: int = FILES) -> list[Item]:
    """A fair sample in random order: a reader that stops in the middle has seen a fair part."""
    chosen = Reservoir[Item](size, seed)
    for item in items:
        chosen.offer(item)
    random.Random(seed).shuffle(chosen.items)  # noqa: S311  # a sample, no secret
    return chosen.items
