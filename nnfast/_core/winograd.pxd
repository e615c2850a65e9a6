"""Convolution by Winograd's minimal filtering, and its kernel's gradient."""
from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation

cdef void set_tile(Correlation *x, Py_ssize_t tile) noexcept nogil
cdef void choose_tile(Correlation *x, Py_ssize_t samples) noexcept nogil

cdef inline Py_ssize_t tiles(Py_ssize_t tile, Py_ssize_t pixels) noexcept nogil:
    """That cover a row or a column of y."""
    return (pixels + tile - 1) // tile

cdef Py_ssize_t strips(const Correlation *x) noexcept nogil
cdef Py_ssize_t transformed_size(const Correlation *x) noexcept nogil
cdef void transform_kernel(const Correlation *x, const char *w, char *u, int part, int team) noexcept nogil
cdef Py_ssize_t sum_scratch(const Correlation *x) noexcept nogil
cdef void sum_tiles(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil
cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil
cdef Py_ssize_t gradient_rows(const Convolution *c) noexcept nogil
cdef Py_ssize_t gradient_tiles(const Convolution *c) noexcept nogil
cdef double gradient_cost(const Convolution *c, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to, char *scratch) noexcept nogil
