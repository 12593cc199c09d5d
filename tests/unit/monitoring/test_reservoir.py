from __future__ import annotations

from collections import Counter

from mlops.monitoring.reservoir import Reservoir, shuffled


def test_every_item_has_the_same_chance() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2000):
        chosen = Reservoir[int](5, str(seed))
        for item in range(20):
            chosen.offer(item)
        counts.update(chosen.items)
    assert all(400 < counts[item] < 600 for item in range(20)), counts


def test_fewer_than_asked_for_are_all_there() -> None:
    assert sorted(shuffled(range(10), "x", size=20)) == list(range(10))


def test_the_same_seed_gives_the_same_sample() -> None:
    assert shuffled(range(1000), "x", size=10) == shuffled(range(1000), "x", size=10)
    assert shuffled(range(1000), "x", size=10) != shuffled(range(1000), "y", size=10)
