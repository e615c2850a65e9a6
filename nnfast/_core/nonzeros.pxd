"""Products whose left side holds many zeros, from its other numbers alone."""
from nnfast._core.gemm cimport HIGH_TILE
from nnfast._core.kernels cimport nn_kernels

cdef struct Nonzeros:           # C[rows x n] (+)= A[rows x depth] B[depth x n]
    const nn_kernels *k
    Py_ssize_t rows, n, depth
    const char *a
    Py_ssize_t a_row            # from row to row of A
    const char *b
    Py_ssize_t ldb, panel_step  # B[p, j] = b[j / nr * panel_step + p * ldb + j % nr]
    const char *bias            # n values padded to whole vectors, or NULL
    char *c
    Py_ssize_t ldc
    bint accumulate, relu
    double share                # of A that is not 0, about

cdef enum:
    FEWEST_LISTED = 24      # rows of A: so many pay for bringing B to L1
    FEWEST_VECTORS = 4      # of a row of B
    FEWEST_DEPTH = 64       # numbers in a row of A, beside what each row takes,
    FEWEST_DEPTH_OF_LONG = 32   # and for long vectors, which take more time for each

cdef double nonzero_share(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t n, const char *a, Py_ssize_t a_row, char *scratch) noexcept nogil
cdef bint skip_zeros(Nonzeros *x, char *scratch) noexcept nogil
cdef void add_transposed(Nonzeros *x, Py_ssize_t depth, const char *a, Py_ssize_t lda, char *rows, char *scratch) noexcept nogil
cdef void to_panels(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, const char *product, Py_ssize_t ld, bint transposed, char *to) noexcept nogil

cdef inline bint pays(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t depth) noexcept nogil:
    """To list what is not 0 of so many rows of A, if not all is."""
    return (rows >= FEWEST_LISTED and n >= FEWEST_VECTORS * k.vl
            and depth >= (FEWEST_DEPTH if k.mr < HIGH_TILE else FEWEST_DEPTH_OF_LONG))

cdef Py_ssize_t nonzeros_bytes(const nn_kernels *k) noexcept nogil
