"""Choice of the instruction-set level, made once at import: the highest that the CPU and the operating system run.

The environment variable NNFAST_ISA caps it. A level that does not exist or that this CPU lacks is an error, not a
fallback: results differ in the last bits between levels.
"""
import os

cdef extern from "nnfast.h":
    const nn_kernels *nn_kernels_at(const char *isa, int precision) nogil
    const char *nn_level(int i, int *usable) nogil

cdef const nn_kernels *in_use[2]


cdef const nn_kernels *kernels(int precision) noexcept nogil:
    return in_use[precision]


cdef const nn_kernels *kernels_at(const char *isa, int precision) noexcept nogil:
    return nn_kernels_at(isa, precision)


def levels():
    """Levels in this build, lowest first, as (name, whether this machine runs it).

    >>> from nnfast._core.kernels import levels
    >>> levels()[0]
    ('baseline', True)
    """
    cdef int i = 0, usable = 0
    cdef const char *name
    found = []
    while True:
        name = nn_level(i, &usable)
        if name == NULL:
            return found
        found.append((name.decode("ascii"), bool(usable)))
        i += 1


def selected():
    """Name of the level in use."""
    return in_use[NN_FLOAT32].isa.decode("ascii")


def vector_lanes(str dtype):
    """Elements of a vector at the level in use; dtype is "float32" or "float64"."""
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}, expected 'float32' or 'float64'")
    return in_use[NN_FLOAT32 if dtype == "float32" else NN_FLOAT64].vl


def select(name):
    """The level to use: the highest usable one, or `name` if that is not None or empty.

    Raises ImportError if this build has no level `name` or this machine does not run it.
    """
    usable = [level for level, runs in levels() if runs]
    if not name:
        return usable[len(usable) - 1]
    if name in usable:
        return name
    why = "this machine does not run it" if name in dict(levels()) else "this build of nnfast has no such level"
    raise ImportError(f"NNFAST_ISA={name}: {why}; usable levels here: {', '.join(usable)}")


cdef int use(str level) except -1:
    name = level.encode("ascii")
    in_use[NN_FLOAT32] = nn_kernels_at(name, NN_FLOAT32)
    in_use[NN_FLOAT64] = nn_kernels_at(name, NN_FLOAT64)
    return 0


use(select(os.environ.get("NNFAST_ISA")))
