from libc.stdint cimport uint64_t

cdef extern from "threads.h" nogil:
    ctypedef struct nn_barrier:
        pass
    void nn_barrier_wait(nn_barrier *barrier, int n_threads) noexcept
    int nn_team_size() noexcept
    double nn_clock() noexcept
    uint64_t nn_flush_subnormals() noexcept
    void nn_restore_subnormals(uint64_t old) noexcept

cdef int forks      # that have led to this process
cdef unsigned long main_thread      # the one that Python handles signals in
cdef int resolve_threads(object n_threads) except -1
