"""The rows of a batch from the user's data, see gather.pyx."""
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.loss cimport Head
from nnfast._core.network cimport Job
from nnfast._core.node cimport Context
from nnfast._core.transfer cimport Port

cdef void gather_inputs(const nn_kernels *k, const Job *job, const Port *ports, Py_ssize_t n, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void gather_targets(const nn_kernels *k, const Job *job, const Port *ports, Head *heads, Py_ssize_t n, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void mix(const nn_kernels *k, const Job *job, const Port *inputs, Py_ssize_t n_inputs, const Port *outputs, Head *heads, Py_ssize_t n_outputs, const Context *ctx, Py_ssize_t b) noexcept nogil
