from libc.stdint cimport uint64_t

cdef extern from "threads.h" nogil:
    ctypedef int nn_atomic
    int nn_fetch_add(nn_atomic *x, int v) noexcept
    int nn_read(nn_atomic *x) noexcept
    void nn_write(nn_atomic *x, int v) noexcept
    ctypedef struct nn_barrier:
        pass
    void nn_barrier_wait(nn_barrier *barrier, int n_threads) noexcept
    int nn_team_size() noexcept
    double nn_clock() noexcept
    uint64_t nn_flush_subnormals() noexcept
    void nn_restore_subnormals(uint64_t old) noexcept

cdef int forks      # that have led to this process
cdef int resolve_threads(object n_threads) except -1
cdef void begin_work() noexcept nogil
cdef void end_work() noexcept nogil
cdef bint others_work() noexcept nogil
