"""The gradient of a convolution's kernel, tile by tile."""
from nnfast._core.convolution cimport Convolution

cdef struct TileShape:
    Py_ssize_t rows         # of the kernel's matrix, or of every tap if `taps` are together
    Py_ssize_t panels
    Py_ssize_t taps         # all of them: a tile has some channels' rows of each; 1: rows one after another
    Py_ssize_t within       # rows that tiles divide among themselves: of a tap, which no tile leaves, or all

cdef inline Py_ssize_t blocks_within(const TileShape *shape) noexcept nogil:
    return (shape.within + shape.rows - 1) // shape.rows

cdef inline Py_ssize_t tile_blocks(const TileShape *shape, Py_ssize_t rows) noexcept nogil:
    """Tiles one below the other."""
    return rows // shape.within * blocks_within(shape)

cdef inline Py_ssize_t tile_start(const TileShape *shape, Py_ssize_t block) noexcept nogil:
    """The first row of such a tile."""
    return block // blocks_within(shape) * shape.within + block % blocks_within(shape) * shape.rows

cdef inline Py_ssize_t tile_end(const TileShape *shape, Py_ssize_t start) noexcept nogil:
    return min(start + shape.rows, (start // shape.within + 1) * shape.within)

cdef Py_ssize_t tile_count(const Convolution *c, const TileShape *shape) noexcept nogil
cdef TileShape tile_shape(const Convolution *c) noexcept nogil
cdef Py_ssize_t tile_room(const Convolution *c) noexcept nogil
cdef double tile_cost(const Convolution *c, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil
cdef void kernel_gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to, char *scratch) noexcept nogil
