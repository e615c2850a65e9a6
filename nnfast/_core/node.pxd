"""What every operation of a plan shares: values, parameters, nodes, and the context of a thread.

A value is a matrix [batch][ld] of which row b holds sample b's `size` numbers (row-major over the value's shape). `ld` is
padded to whole vectors; the padding of a gradient is always zero, so products may run over it.
An operation has a pass forward and one backward (Pass): on rows [lo, hi) of the batch, or with all threads between two
barriers; on the calling thread, no GIL, no allocation, no parallel region. Operations with parameters also have a
function for one tile of a parameter's gradient, which sees the whole batch (or what segments of it have come to) and writes
tile.size contiguous numbers.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t
from nnfast._core.kernels cimport nn_kernels

cdef struct Sparse:         # an input's numbers that are not 0 (sparse.pyx)
    Py_ssize_t columns
    const int64_t *begin    # of each row of the data, among all numbers
    const int64_t *end
    const int32_t *places   # their columns, ascending in a row
    const char *values      # in the network's precision
    # Made anew in each step: begin and end of each row of the batch; and its numbers sorted by columns, where each column
    # ends among them, and the row that each is in.
    int64_t *batch_begin
    int64_t *batch_end
    int64_t *column_end
    int32_t *rows
    char *column_values

cdef struct Value:
    char *y                 # the numbers
    const Sparse *sparse    # an input whose readers take it from here, y is not used; or NULL
    char *dy                # gradient of the loss with respect to y; NULL: nobody needs it
    char *z                 # before the activation, where its derivative needs that; else NULL
    Py_ssize_t size, ld     # elements of a sample; from one sample to the next

cdef struct Parameter:
    char *w                 # packed (gemm.pxd) if a kernel, plain if a bias
    char *g                 # gradient of the mean loss, same layout
    Py_ssize_t rows, columns    # of a packed matrix
    Py_ssize_t matrices         # side by side along the last axis: a convolution's groups, else 1
    Py_ssize_t offset, size # elements, with padding, within the plan's flat arrays
    double l1, l2
    bint trainable

cdef struct Columns:        # of a dense layer's x, a tile's rows of the kernel: copied, and kept for the next panel
    char *at
    Py_ssize_t bytes        # that there is room for
    int team                # threads that share a layer's tiles
    const Node *node        # whose they are, NULL: nobody's
    Py_ssize_t lo           # the first; how many follows from it (tiling.pyx)

cdef struct Context:        # a thread's own
    char *scratch           # scratch_bytes() of gemm.pxd
    char *gradient          # room for one tile of a kernel's gradient
    Columns *columns
    char *row               # room for a sample's row of any input or target, where samples are mixed
    bint training           # dropout is active
    bint has_loss           # a loss follows: activations fused with it are left to it
    Py_ssize_t batch        # rows in this step
    const Py_ssize_t *sample    # index of each row in the data: keys random numbers; NULL: row itself + first_sample
    Py_ssize_t first_sample
    uint64_t seed, step

cdef struct Tile:           # a block of a parameter's gradient: pieces of its flat array
    Node *node
    Parameter *parameter
    Py_ssize_t panel        # of a kernel, the first
    Py_ssize_t n_panels     # 1 for a bias
    Py_ssize_t n_taps       # a piece for each tap and panel: [tap][panel][hi - lo][width]; 1: the rows are all one tap's
    Py_ssize_t lo, hi       # rows (of a tap) of a kernel, elements of a bias
    Py_ssize_t rows         # hi - lo, for a bias with its padding
    Py_ssize_t base         # where the first panel begins in the flat array
    Py_ssize_t panel_step, tap_rows     # from panel to panel; rows from tap to tap
    Py_ssize_t width, last_width        # of the panels, of the last one; 1 for a bias
    double cost             # multiply-adds for one sample
    bint shared             # other threads read these parameters, too, than the one whose tile it is


cdef inline Py_ssize_t pieces(const Tile *tile) noexcept nogil:
    return tile.n_taps * tile.n_panels


cdef inline Py_ssize_t piece_width(const Tile *tile, Py_ssize_t i) noexcept nogil:
    return tile.last_width if i % tile.n_panels + 1 == tile.n_panels else tile.width


cdef inline Py_ssize_t piece_size(const Tile *tile, Py_ssize_t i) noexcept nogil:
    return tile.rows * piece_width(tile, i)


cdef inline Py_ssize_t piece_offset(const Tile *tile, Py_ssize_t i) noexcept nogil:
    """In the plan's flat arrays."""
    cdef Py_ssize_t panel = i % tile.n_panels
    return tile.base + panel * tile.panel_step + (i // tile.n_panels * tile.tap_rows + tile.lo) * piece_width(tile, i)


cdef inline Py_ssize_t piece_start(const Tile *tile, Py_ssize_t i) noexcept nogil:
    """In the tile."""
    cdef Py_ssize_t tap = i // tile.n_panels, panel = i - tap * tile.n_panels
    return tile.rows * (tap * ((tile.n_panels - 1) * tile.width + tile.last_width) + panel * tile.width)


ctypedef void (*row_function)(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
ctypedef void (*tile_function)(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
ctypedef void (*prepare_function)(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil
ctypedef void (*team_function)(const Node *node, const Context *ctx, int part, int team) noexcept nogil
ctypedef bint (*test_function)(const Node *node) noexcept nogil
ctypedef Py_ssize_t (*count_function)(const Node *node, Py_ssize_t batch) noexcept nogil
ctypedef double (*bound_function)(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil

cdef struct Pass:               # what a thread does for a node, forward or backward
    row_function rows       # its own rows; NULL: only what follows will do, in instructions of their own (network.pxd)
    # Its own rows, if there is something to do; barrier; its part of what concerns the whole batch (sums, a layer whose
    # weights the threads share, pixels of few samples); barrier; its own rows. `team` NULL: `rows` always does.
    row_function before
    team_function team
    row_function after

cdef struct Node:
    const nn_kernels *k
    int team                # threads that the plan may have
    tile_function gradient  # NULL without parameters
    # In how many segments of a batch threads make the kernel's gradient before `gradient` adds them up, and a thread's part
    # of that; NULL: `gradient` does all.
    count_function segments
    team_function segment_gradients
    # A thread's part of what a step needs of the parameters, with its gradients or without; NULL: nothing.
    prepare_function prepare
    bound_function bound    # after backward: no entry of the parameters' gradient is greater by these rows
    Py_ssize_t scanned      # numbers of a sample that it reads
    Pass forward, backward
    team_function commit    # what a step that is applied changes besides the parameters, or NULL
    test_function may_commit    # with it: whether that comes out finite
    void *extra             # what the operation keeps besides: its own struct
    void *folding           # a normalization in the kernel and bias (normalization.pxd), or NULL
    # What comes after the forward pass; it decides how long values are kept.
    bint rereads_input      # backward reads the inputs
    bint rereads_output     # backward reads the output
    bint late_input         # the parameters' gradient, at the end of the step, reads the input
    bint late_gradient      # and the output's gradient
    Py_ssize_t n_inputs
    Value **inputs
    bint *adds              # backward adds to the input's gradient instead of setting it
    Value *output
    Parameter *kernel       # or NULL
    Parameter *bias         # or NULL
    int activation          # index in csrc/nnfast.h, or SOFTMAX
    double alpha
    double work             # multiply-adds of a sample, forward
    bint passes_back        # a trainable parameter lies before it
    bint in_chunks          # a few samples at a time take no longer than all at once
    bint fused              # the loss computes the activation and its derivative
    Py_ssize_t outer        # rows in a sample: dense and softmax work on the last axis, concatenate on blocks
    double rate             # dropout
    uint64_t layer          # dropout: the layer's own random numbers

cdef enum:
    CHUNK_BYTES = 262144    # what passes read and write of some samples before they go on to others: half of a small L2
    SOFTMAX = 100           # an activation over the row, not elementwise
