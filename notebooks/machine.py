"""Is this machine quiet enough for a stop-watch? Notebooks that time something ask before they compare."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

FREE = 1.6  # two cores do at least so much more than one if nobody else uses them
BUSY = "This machine is busy"


def cores_at_work(rounds=5):
    """How many times the work of one core two cores do just now: 2 if both are free, 1 if one is taken.

    A fixed kernel without memory traffic runs on one thread, then on two threads at once: the quickest of the single
    runs against the usual one of the double runs, so that a core which others take by turns shows, too.
    """
    if (os.cpu_count() or 1) < 2:
        return 1.0
    numbers = np.linspace(0, 1, 20_000)

    def work(_=None):
        for _ in range(60):
            np.tan(numbers)

    def seconds(call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def both():
        list(pool.map(work, range(2)))

    with ThreadPoolExecutor(2) as pool:
        both()  # threads are started, frequencies are up
        pairs = [(seconds(work), seconds(both)) for _ in range(rounds)]
    one, two = np.transpose(pairs)
    return float(2 * one.min() / np.median(two))


def quiet():
    """Whether times that are taken now mean something; says so if not."""
    cores = cores_at_work()
    if cores < FREE:
        print(
            f"{BUSY}: two cores do the work of {cores:.1f}. Take its times, and the trends in them, for nothing."
        )
    return cores >= FREE


def expect(trend, claim, is_quiet):
    """Raise AssertionError if a trend that the prose names is not there; on a busy machine, say so instead."""
    if is_quiet and not trend:
        raise AssertionError(f"not measured: {claim}")
    if not trend:
        print(f"{BUSY}, and this could not be shown: {claim}.")
