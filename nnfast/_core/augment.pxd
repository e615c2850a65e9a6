"""Random changes of samples, see augment.pyx."""
from libc.stdint cimport uint64_t

from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context
from nnfast._core.transfer cimport Port

cdef enum Kind:
    FLIP
    SHIFT
    CUTOUT
    NOISE

cdef struct Operation:
    Kind kind
    Py_ssize_t port         # the number of the input, or of the output whose targets, that it changes
    uint64_t stream         # of random numbers, its own
    Py_ssize_t H, W, C      # of the image; NOISE: of no use
    Py_ssize_t rows, columns    # FLIP: whether their order may change; SHIFT: pixels at most; CUTOUT: pixels
    double probability      # FLIP, CUTOUT
    double deviation        # NOISE


cdef class Recipe:
    cdef Operation *operations      # of inputs
    cdef Operation *of_targets      # that are images, too, and move with an input
    cdef Py_ssize_t n_operations, n_of_targets
    cdef double alpha       # of mixup; 0: none
    cdef readonly object config     # what was asked for, in words, to compare it by


cdef void augment(const nn_kernels *k, const Port *port, bint gaps, const Operation *operations, Py_ssize_t n, const Context *ctx, Py_ssize_t at, Py_ssize_t b, char *x) noexcept nogil
cdef double mixing_share(const Context *ctx, double alpha, Py_ssize_t b, Py_ssize_t *partner) noexcept nogil
