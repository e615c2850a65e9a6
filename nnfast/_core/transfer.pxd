"""Between the user's arrays and a network's values, see transfer.pyx."""
from nnfast._core.kernels cimport nn_kernels

cdef struct Port:           # where data enter or leave
    Py_ssize_t value        # its number
    Py_ssize_t size         # elements of a sample
    Py_ssize_t channels     # of data with channels first; 1: the order of the axes is the network's
    bint scaled
    double scale, offset    # value = scale * data + offset

cdef bint read_as_it_is(const nn_kernels *k, const Port *port, int kind) noexcept nogil
cdef void read_sample(const nn_kernels *k, const Port *port, int kind, const char *data, char *to, char *scratch) noexcept nogil
cdef void write_sample(const nn_kernels *k, const Port *port, const char *value, char *to) noexcept nogil
cdef void write_gradient(const nn_kernels *k, const Port *port, char *dy, char *to) noexcept nogil
