"""Version, and what this installation of nnfast uses on this machine."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__version__ = "0.1.0"

__all__ = ["__version__", "config", "show_config"]


def config() -> dict[str, Any]:
    """What `show_config` prints, as a dict.

    Returns
    -------
    dict
        "version", "python", "numpy", "platform" : str
        "levels" : list of str, the instruction-set levels in this build, lowest first
        "usable" : list of str, those that this machine runs
        "selected" : str, the one in use
        "winograd" : bool, whether convolutions run by Winograd's minimal filtering where that is faster
        "openmp" : bool, whether the build has OpenMP; without it everything runs on one thread
        "threads" : int, threads that a call without `n_threads` may use at the moment: the least of the next three
        "omp_limit" : int, OpenMP's limit (OMP_NUM_THREADS, threadpoolctl)
        "affinity" : int, CPUs this process may run on
        "quota" : float or None, CPUs that the process's cgroup grants

    Examples
    --------
    >>> config()["selected"] in config()["usable"]
    True
    """
    import platform

    from ._core import kernels, threads
    from ._core.winograd import is_allowed

    levels = kernels.levels()
    info = threads.info()
    return {
        "version": __version__,
        "python": f"{platform.python_version()} ({sys.implementation.name})",
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "levels": [name for name, _ in levels],
        "usable": [name for name, usable in levels if usable],
        "selected": kernels.selected(),
        "winograd": is_allowed(),
        "openmp": info["openmp"],
        "threads": threads.resolve(None),
        "omp_limit": info["max_threads"],
        "affinity": info["affinity"],
        "quota": info["quota"],
    }


def show_config() -> None:
    """Print version, instruction-set levels and threads; see `config` for the same as a dict.

    In the environment, set before the import, ``NNFAST_ISA=<level>`` selects a lower level, and ``NNFAST_WINOGRAD=0``
    makes all convolutions plain sums: slower, but an image's numbers then need not be of one order of magnitude.

    >>> import nnfast as nf
    >>> nf.show_config()
    nnfast         ...
    level in use   ...
    threads        ...
    """
    c = config()
    threads = f"{c['threads']} (OpenMP's limit {c['omp_limit']}, CPU affinity {c['affinity']}, "
    threads += f"cgroup quota {'none' if c['quota'] is None else format(c['quota'], 'g')})"
    lines = {
        "nnfast": c["version"],
        "Python": c["python"],
        "NumPy": c["numpy"],
        "platform": c["platform"],
        "levels built": ", ".join(c["levels"]),
        "levels usable": ", ".join(c["usable"]),
        "level in use": c["selected"],
        "Winograd": "yes" if c["winograd"] else "no: NNFAST_WINOGRAD=0",
        "OpenMP": "yes" if c["openmp"] else "no: this build is serial",
        "threads": threads,
    }
    for name, value in lines.items():
        print(f"{name:<14} {value}")
