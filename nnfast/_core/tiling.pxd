"""A network's tiles (tiling.pyx)."""
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Node, Tile

cdef struct Deal:           # all tiles in an order whose parts, equal in cost, are the threads' shares
    Tile *tiles             # NULL: not made yet
    double *cost            # running sum


cdef class Tiling:
    cdef const nn_kernels *k
    cdef Node *nodes
    cdef Py_ssize_t n_nodes
    cdef int team                       # threads that the network may have
    cdef Py_ssize_t n                   # tiles
    cdef Py_ssize_t room                # elements of the largest tile, of a segment's, too
    cdef Py_ssize_t n_segmented         # nodes whose gradients may be made by segments of the batch
    cdef Deal *deals                    # n_segmented + 1 of them, by how many nodes have segments; made when first needed
    cdef Deal *deal                     # the one chosen

    cdef int build(self, const nn_kernels *k, Node *nodes, Py_ssize_t n_nodes, int team) except -1
    cdef Py_ssize_t count_segmented(self, Py_ssize_t batch) noexcept nogil
    cdef int choose(self, Py_ssize_t batch) except -1
    cdef Py_ssize_t border(self, int part, int team) noexcept nogil
    cdef Py_ssize_t _tiles_of_kernel(self, Node *node, Tile *tiles, Py_ssize_t count) noexcept
    cdef Py_ssize_t _panels_of_dense(self, Py_ssize_t blocks, Py_ssize_t count) noexcept
    cdef void _set_kernel_tile(self, Tile *tile, Node *node, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t n_taps, Py_ssize_t lo, Py_ssize_t hi) noexcept
    cdef Py_ssize_t _tiles_of_bias(self, Node *node, Tile *tiles, Py_ssize_t count) noexcept
    cdef int _deal(self, Deal *deal, const Tile *tiles, list costs) except -1
    cdef int _reader(self, const Tile *tile) noexcept
