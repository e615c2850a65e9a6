from nnfast._core.node cimport Context, Node, Tile

cdef bint takes_chunks(const Node *node) noexcept
cdef void prepare_kernel(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil
cdef void before_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void after_team_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void before_input_gradient(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void segment_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
