"""How many threads a call may use.

The default is the least of OpenMP's limit, the CPUs this process may run on and the cgroup's CPU quota. OpenMP's limit
is read at each call, so that OMP_NUM_THREADS and threadpoolctl work; the other two once, and again after a fork.
A forked child stays on one thread: GNU OpenMP's pool does not survive fork, and a parallel region would wait for ever.
So does a plan while others run: OpenMP gives each thread that calls it helpers of its own; and one that is faster so
(pace.pyx).
"""
import os

cdef extern from "threads.h" nogil:
    enum:
        NN_OPENMP
    int nn_omp_limit() noexcept
    int nn_omp_procs() noexcept

cdef int machine_limit = 1
cdef nn_atomic working          # plans that run now
forks = 0


def _cgroup_quota():
    """CPUs that the process's cgroup grants (a float), or None without a quota."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()[:2]
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read().strip()
        except OSError:
            return None
    try:
        quota, period = int(quota), int(period)
    except ValueError:      # "max"
        return None
    return quota / period if quota > 0 and period > 0 else None


def _affinity():
    """CPUs that this process may run on."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    # With OMP_PROC_BIND OpenMP has bound this thread to a CPU when it was loaded, and knows what was there before.
    return max(count, nn_omp_procs())


def _read_machine():
    global machine_limit
    limit = _affinity()
    quota = _cgroup_quota()
    if quota is not None:
        limit = min(limit, max(1, int(quota + 0.5)))
    machine_limit = limit


def _after_fork():
    global forks
    forks += 1
    _read_machine()


_read_machine()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int resolve_threads(object n_threads) except -1:
    cdef int count
    if forks > 0 or not NN_OPENMP:
        return 1
    if n_threads is None:
        count = nn_omp_limit()
        return count if count < machine_limit else machine_limit
    return n_threads


cdef void begin_work() noexcept nogil:
    nn_fetch_add(&working, 1)


cdef void end_work() noexcept nogil:
    nn_fetch_add(&working, -1)


cdef bint others_work() noexcept nogil:
    """Asked by a plan that runs: whether others do, too."""
    return nn_read(&working) > 1


def resolve(n_threads=None):
    """Threads that a call with this ``n_threads`` argument uses: the default for None, else the number itself.

    1 in a forked child and in a build without OpenMP.
    """
    if n_threads is not None:
        if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
            raise TypeError(f"n_threads must be a positive integer or None, got {n_threads!r}")
        n_threads = n_threads.__index__()
        if not 1 <= n_threads <= 1024:
            raise ValueError(f"n_threads must be between 1 and 1024, got {n_threads}")
    return resolve_threads(n_threads)


def info():
    """What decides about threads here: OpenMP built in, its limit now, affinity, cgroup quota, after a fork or not."""
    return {"openmp": bool(NN_OPENMP), "max_threads": nn_omp_limit(), "affinity": _affinity(), "quota": _cgroup_quota(),
            "forked": forks > 0}
