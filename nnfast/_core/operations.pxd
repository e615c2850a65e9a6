"""The table of operations, see operations.pyx."""
from nnfast._core.arena cimport Arena
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Node, Parameter

cdef Py_ssize_t row_length(const nn_kernels *k, Py_ssize_t size) noexcept
cdef int build_node(Node *node, dict spec, Parameter *parameters, bint inference) except -1
cdef bint convolves(const Node *node) noexcept
cdef bint looks_up(const Node *node) noexcept
cdef void release_node(Node *node) noexcept
cdef Py_ssize_t scratch_size(const Node *node) noexcept
cdef int want_buffers(Node *node, Arena arena, object owner) except -1
