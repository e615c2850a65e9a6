"""The running part of a plan. See loop.pyx."""
from nnfast._core.callouts cimport Callouts
from nnfast._core.kernels cimport nn_update
from nnfast._core.network cimport Instruction, Report, Status
from nnfast._core.node cimport Context, Node, Tile


cdef class Loop(Callouts):
    cdef void _walk(self, const Instruction *first, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid, int team) noexcept nogil
    cdef bint _is_shared(self, const Instruction *first, Py_ssize_t batch, int team) noexcept nogil
    cdef void _pass(self, const Instruction *instruction, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid, int team) noexcept nogil
    cdef void _see_bound(self, const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid) noexcept nogil
    cdef void _run(self, const Context *ctx, double scale, Py_ssize_t lo, Py_ssize_t hi, int tid, int team, bint prepare) noexcept nogil
    cdef void _worker(self, int tid, int team) noexcept nogil
    cdef void _commit(self, const Context *ctx, int tid, int team) noexcept nogil
    cdef double _gather(self, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid) noexcept nogil
    cdef void _deliver(self, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
    cdef void _see_losses(self, Report *report, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
    cdef void _sort_sparse(self, const Context *ctx, int tid, int team) noexcept nogil
    cdef void _segment_gradients(self, const Context *ctx, int tid, int team) noexcept nogil
    cdef void _add_penalty(self, Tile *tile, char *g) noexcept nogil
    cdef void _see_penalties(self, Report *report, int tid, int team) noexcept nogil
    cdef Tile *_take_tile(self, const Context *ctx, int tid, int team) noexcept nogil
    cdef void _gradients(self, const Context *ctx, int tid, int team) noexcept nogil
    cdef void _apply(self, const nn_update *update, Py_ssize_t n, Py_ssize_t offset, const char *g) noexcept nogil
    cdef void _apply_all(self, const nn_update *update, int tid, int team) noexcept nogil
    cdef Status _update(self, const Context *ctx, nn_update *update, double scale, int tid, int team) noexcept nogil
    cdef Status _measure(self, nn_update *update, int tid, int team) noexcept nogil
    cdef double _batch_weight(self, const Context *ctx) noexcept nogil
    cdef void _total(self, const Context *ctx) noexcept nogil
    cdef void _watch(self) noexcept nogil
    cdef void _tell(self, double now) noexcept with gil
    cdef double _step_work(self) noexcept nogil
    cdef int _threads(self) except -1
    cdef int _launch(self) except -1
    cdef int _ready(self) except -1
    cdef void _member(self, int tid, int team) noexcept nogil
    cdef void _set_out(self) noexcept nogil
    cdef void _arrive(self) noexcept nogil
    cdef void _see_pace(self, double now) noexcept nogil
    cdef void _work(self, int team) noexcept nogil
    cdef int _end(self) except -1
