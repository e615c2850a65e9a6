from nnfast._core.node cimport Node, Context, Tile

cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef bint by_columns(const Node *node, int team) noexcept nogil
cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil
cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil
cdef Py_ssize_t columns_bytes(const Node *node) noexcept nogil
