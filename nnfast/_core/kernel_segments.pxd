"""The gradient of a convolution's kernel by segments of the batch, see kernel_segments.pyx."""
from nnfast._core.convolution cimport Convolution
from nnfast._core.node cimport Tile

cdef struct KernelGradient:     # of a call outside a plan: what its threads share
    const Convolution *c
    const char *x
    const char *dy
    Py_ssize_t samples, x_sample, y_sample
    Py_ssize_t segments         # of the batch, summed one by one
    char *partial               # sums [tile][segment] if there are several
    char *dw                    # as the user has it

cdef Py_ssize_t segments_of(const Convolution *c, Py_ssize_t samples) noexcept nogil
cdef Py_ssize_t partial_size(const Convolution *c, Py_ssize_t segments) noexcept nogil
cdef void sum_share(const KernelGradient *job, int part, int team, char *scratch) noexcept nogil
cdef void store_share(const KernelGradient *job, int part, int team, char *scratch) noexcept nogil
cdef Py_ssize_t segment_row(const Convolution *c) noexcept nogil
cdef Py_ssize_t all_segments(const Convolution *c) noexcept nogil
cdef Py_ssize_t segments_of_batch(const Convolution *c, Py_ssize_t batch) noexcept nogil
cdef Py_ssize_t segment_tile_room(const Convolution *c) noexcept nogil
cdef double segment_tile_cost(Py_ssize_t numbers) noexcept nogil
cdef Py_ssize_t segment_scratch(const Convolution *c) noexcept nogil
cdef void sum_segments(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch, int part, int team, char *to, char *scratch) noexcept nogil
cdef void add_segments(const Convolution *c, Py_ssize_t segments, const Tile *tile, char *to) noexcept nogil
