"""Layers and losses that are Python functions. See callouts.pyx."""
from nnfast._core.network cimport Network


cdef class Callouts(Network):
    cdef int _get(self, const char *at, Py_ssize_t ld, array) except -1
    cdef int _put(self, char *at, Py_ssize_t ld, array, bint add) except -1
