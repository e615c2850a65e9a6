"""Convolution: its geometry and buffers, and its functions for a plan."""
from nnfast._core.correlation cimport Correlation
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Node, Tile
from nnfast._core.window cimport Window

cdef enum:
    TILED_PHASES = 16           # of an input gradient, which winograd.pyx may make: more are of large strides

cdef struct Convolution:
    const nn_kernels *k
    Window window
    Py_ssize_t C, K, groups     # as the user's; depthwise: groups == C
    bint depthwise
    bint skips_zeros        # of x and dz
    int team                    # threads that share the work
    Py_ssize_t rows             # of a group's kernel matrix: R * S * C / groups (depthwise: R * S)
    Py_ssize_t matrices         # how many such matrices the packed kernel holds: groups (depthwise: 1)
    Py_ssize_t scratch          # bytes of a thread
    # Rows and columns of y that winograd.pyx makes at once, forward and for the kernel's gradient; 0: plain sums.
    Py_ssize_t tile_h, tile_w
    Py_ssize_t[TILED_PHASES] dx_tile      # columns of dx, in each phase of the stride
    char *flipped               # the kernel as the input gradient needs it
    char *transformed           # both as Winograd's sums need them: u of the kernel
    char *transformed_flipped   # and of the flipped kernel, phase after phase
    char *bias_sums             # sum of dz over each sample's pixels
    Py_ssize_t numbers_read     # of a sample, by the kernel's gradient; 0: there are no segments
    char *partial               # gradients of the kernel, packed, by segments of the batch
    bint pooled                 # a max-pooling layer follows in the same node
    Window pool
    char *dz                    # gradient before the pooling
    Py_ssize_t dz_sample        # from sample to sample
    char *code                  # which tap of its window each maximum came from

cdef void describe(Convolution *c, const nn_kernels *k, const Window *window, Py_ssize_t C, Py_ssize_t K, Py_ssize_t groups, int team, Py_ssize_t samples) noexcept
cdef void fuse_pool(Convolution *c, const Window *pool) noexcept
cdef int allocate_kernels(Convolution *c, bint sums, bint gradients) except -1
cdef void free_kernels(Convolution *c) noexcept
cdef bint flipped_without_winograd(const Convolution *c) noexcept
cdef bint takes_chunks(const Node *node) noexcept
cdef void prepare_kernel(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil
cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef bint multiplies(const Convolution *c) noexcept nogil
cdef void fill_gaps(const Convolution *c, const char *bias, bint relu, char *dx, Py_ssize_t ld, Py_ssize_t samples) noexcept nogil
cdef void forward_sum(const Convolution *c, Correlation *x) noexcept nogil
cdef Py_ssize_t all_flipped_bytes(const Convolution *c) noexcept nogil
cdef Py_ssize_t transformed_bytes(const Correlation *x) noexcept nogil
cdef Py_ssize_t transformed_flipped_bytes(const Convolution *c) noexcept nogil
cdef void flip(const Convolution *c, const char *kernel, bint packed, char *flipped, int part, int team) noexcept nogil
cdef void transform_flipped(const Convolution *c, int part, int team) noexcept nogil
cdef void input_gradient(const Convolution *c, const char *dz, Py_ssize_t ld, const char *flipped, const char *bias, bint relu, char *dx, Py_ssize_t dx_ld, Py_ssize_t samples, bint accumulate, int part, int team, char *scratch) noexcept nogil
cdef void add_neighbours(const nn_kernels *k, char *x, Py_ssize_t n, Py_ssize_t count, bint accumulate, char *y) noexcept nogil
cdef void sum_pixels(const nn_kernels *k, Py_ssize_t pixels, Py_ssize_t channels, const char *dz, Py_ssize_t ld, Py_ssize_t lo, Py_ssize_t hi, char *sums) noexcept nogil
cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void after_team_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void before_input_gradient(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef Py_ssize_t segments(const Node *node, Py_ssize_t batch) noexcept nogil
cdef void segment_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
