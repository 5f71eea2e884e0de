"""Schedules start, end and turn where they say."""

import pytest

from fffref.training import schedules


def test_ends():
    assert schedules.Linear(1, 3)(0.5) == 2
    assert schedules.Geometric(2, 0.02)(0) == 2
    assert schedules.Geometric(2, 0.02)(1) == pytest.approx(0.02)
    assert schedules.Geometric(4, 1)(0.5) == pytest.approx(2)
    assert schedules.schedule(0.3)(0.7) == 0.3
    cycle = schedules.OneCycle(5, warmup=0.2)
    assert cycle(0) == 0 and cycle(0.2) == pytest.approx(5) and cycle(1) == pytest.approx(0)
    assert cycle(0.1) == pytest.approx(2.5) and cycle(0.6) == pytest.approx(2.5)
    assert schedules.schedule(cycle) is cycle
    step = schedules.Step(0, 3, at=0.8)
    assert (step(0), step(0.79), step(0.8), step(1)) == (0, 0, 3, 3)


IMPOSSIBLE = (
    lambda: schedules.Geometric(0, 1),
    lambda: schedules.OneCycle(1, warmup=0),
    lambda: schedules.Step(0, 1, 2),
)


@pytest.mark.parametrize("make", IMPOSSIBLE)
def test_impossible_ones_are_refused(make):
    with pytest.raises(ValueError, match=r"geometric|warmup|step"):
        make()
