"""Inputs most of whose numbers are 0, see sparse.pyx."""
from nnfast._core.gemm cimport Product
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Sparse, Tile

cdef void read_sparse_row(const nn_kernels *k, const Sparse *x, Py_ssize_t row, char *to) noexcept nogil
cdef void find_sparse_rows(const Sparse *x, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef double sparse_maximum(const nn_kernels *k, const Sparse *x, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void multiply_sparse(const Product *x, const Sparse *a, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t panel_lo, Py_ssize_t panel_hi, char *scratch) noexcept nogil
cdef void sort_by_columns(const nn_kernels *k, const Sparse *x, Py_ssize_t batch, int part, int team) noexcept nogil
cdef void sparse_gradient(const nn_kernels *k, const Sparse *x, Py_ssize_t depth, const Tile *tile, const char *dz, Py_ssize_t ldz, char *scratch, char *dw) noexcept nogil
