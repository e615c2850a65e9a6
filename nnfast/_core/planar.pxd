"""Convolution with few output channels: with pixels, not channels, in the lanes of a vector."""
from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation

# Cycles of a vector's multiply-add, as convolutions reach them, in tiles of one vector and in those of several.
cdef inline double narrow_cycles() noexcept nogil:
    return 0.65

cdef inline double wide_cycles() noexcept nogil:
    return 0.55

cdef bint suits(const Correlation *x) noexcept nogil
cdef void prepare_planes(Correlation *x) noexcept nogil
cdef void sum_planes(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil
cdef bint gradient_suits(const Convolution *c, double cycles) noexcept nogil
cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil
cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch, Py_ssize_t channels, Py_ssize_t first, Py_ssize_t last, char *to, char *scratch) noexcept nogil
