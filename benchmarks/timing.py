"""Choosing a repeat count, timing a call, choosing the fastest of several spellings."""

import gc
import itertools
import math
import time


def timed(run, count):
    """Seconds ``run(count)`` takes, with the cyclic garbage collector off as in ``timeit``."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        run(count)
        return time.perf_counter() - start
    finally:
        if collecting:
            gc.enable()


def repeats_for(run, seconds):
    """The count for which ``run(count)`` lasts about ``seconds``; at least 1."""
    run(1)  # first calls compile, allocate and fill caches
    count = 1
    while (elapsed := timed(run, count)) < seconds / 8:
        count *= 2
    return max(1, math.ceil(count * seconds / elapsed))


def repeated(call):
    """Turn ``call()`` into ``run(count)``."""

    def run(count):
        for _ in itertools.repeat(None, count):
            call()

    return run


def fastest(spellings, trial, repeats=3):
    """Build each of ``{name: build}``, run ``trial(built)``, return (name, built) of the one with the least time."""
    best = (math.inf, None, None)
    for name, build in spellings.items():
        built = build()
        trial(built)  # compiles
        best = min(best, (min(timed(lambda _: trial(built), 1) for _ in range(repeats)), name, built), key=lambda t: t[0])
    return best[1:]
