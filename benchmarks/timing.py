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
    first = timed(run, 1)  # also compiles, allocates and fills caches
    if first > 8 * seconds:
        return 1
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


def fastest(spellings, trial, choice=""):
    """Build each of ``{name: build}``, time ``trial(built)``, return (name, built) of the one with the least time.

    With a choice, build that one and try nothing.
    """
    if choice:
        return choice, spellings[choice]()
    least, best = math.inf, None
    for name, build in spellings.items():
        built = build()
        trial(built)  # compiles
        times = []
        while len(times) < 5 and sum(times) < 1.0:
            times.append(timed(lambda _, built=built: trial(built), 1))
        if min(times) < least:
            least, best = min(times), (name, built)
    return best
