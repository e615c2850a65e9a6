"""Order of the samples in an epoch. See shuffle.pyx."""
from libc.stdint cimport uint64_t

cdef void draw_order(Py_ssize_t *order, Py_ssize_t n, bint natural, uint64_t seed, uint64_t epoch) noexcept nogil
