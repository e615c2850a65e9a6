"""How many threads a call may use.

The default is the least of OpenMP's limit, the CPUs this process may run on and the cgroup's CPU quota. OpenMP's limit
is read at each call, so that OMP_NUM_THREADS and threadpoolctl work; the other two once, and again after a fork.
A forked child stays on one thread: GNU OpenMP's pool does not survive fork, and a parallel region would wait for ever.
So does a plan while others run: OpenMP gives each thread that calls it helpers of its own. And for a while when other
programs want our cores: threads that share the work of a step wait for the one that has lost its core, most of the time.
"""
import os

cdef extern from "threads.h" nogil:
    enum:
        NN_OPENMP
    int nn_omp_limit() noexcept

cdef int machine_limit = 1
cdef nn_atomic working          # plans that run now
cdef double JUDGED = 0.01       # seconds of teams at least
cdef double PATIENCE = 0.01     # seconds alone, the first time; then twice as long, until a team is faster again
cdef double MOST_PATIENCE = 0.5
cdef double spent = 0           # by teams since they were judged last
cdef double needed = 0          # by one thread for the same
cdef double patience = PATIENCE
alone_until = 0
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
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


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


cdef bint better_alone() noexcept nogil:
    """Asked by a plan that runs: whether a team would lose time now. It has just done so, or other plans run, too."""
    return nn_read(&working) > 1 or 0 < alone_until - nn_clock() <= MOST_PATIENCE


cdef void judge(int team, double seconds, double slept) noexcept nogil:
    """After work of a team whose threads have waited so long, together, for the last of them."""
    global spent, needed, patience, alone_until
    spent += seconds
    needed += team * (seconds - slept / (team - 1))
    if 0 <= spent < JUDGED:
        return
    if 2 * needed < spent:      # by far: a team may be lucky again sooner than it is called again
        alone_until = nn_clock() + patience
        patience = min(2 * patience, MOST_PATIENCE)
    else:
        patience = PATIENCE
    spent = needed = 0


def stay_alone(double seconds):
    """As if a team had just lost so much time, for tests."""
    global alone_until
    alone_until = nn_clock() + seconds


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
