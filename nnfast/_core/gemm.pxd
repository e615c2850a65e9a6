"""Matrix products out of tiles: C[M x N] (+)= A[M x K] B[K x N], the one loop nest behind dense layers."""
from libc.stddef cimport ptrdiff_t

from nnfast._core.kernels cimport nn_brgemm, nn_kernels

cdef enum:
    CACHE_LINE = 64
    TWO_SETS = 2048     # bytes: rows that lie so far apart fall into two of the 64 sets of an L1 cache,
    ONE_SET = 4096      # into one
    HIGH_TILE = 14      # rows: such tiles leave time to read B from L2

# How B lies in memory.
cdef enum Storage:
    PANELS              # packed: panel after panel of nr columns, each [K][width]; see panel_width
    PANELS_TRANSPOSED   # B is the transpose of such a packed matrix
    ROWS                # B[p, j] = b[p * ldb + j]
    COLUMNS             # B[p, j] = b[j * ldb + p]

cdef struct Product:
    const nn_kernels *k
    Py_ssize_t M, N, K
    const char *a
    Py_ssize_t a_row, a_col     # A[i, p] = a[i * a_row + p * a_col]
    Storage storage
    const char *b
    Py_ssize_t ldb              # ROWS, COLUMNS
    Py_ssize_t b_rows           # PANELS_TRANSPOSED: rows of the packed matrix (= N)
    char *c
    Py_ssize_t ldc
    const char *bias            # N values padded to whole vectors, or NULL
    bint accumulate, relu
    bint skips_zeros            # of A, where there are many and a_col is 1; they then make no nan of a B that is not finite

cdef struct Block:              # of C, in panels of columns
    Py_ssize_t row_lo, row_hi, panel_lo, panel_hi

cdef Block block_of(const Product *x, int part, int team, bint by_columns) noexcept nogil
cdef void multiply_block(const Product *x, const Block *block, char *scratch) noexcept nogil
cdef void multiply(const Product *x, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t panel_lo, Py_ssize_t panel_hi, char *scratch) noexcept nogil
cdef Py_ssize_t panels_of_nonzeros(const Product *x, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t p0, Py_ssize_t p1, Py_ssize_t panel_lo, Py_ssize_t panel_hi, const char *packed, char *scratch) noexcept nogil
cdef int multiply_parallel(const Product *x, int n_threads) except -1
cdef void pack_panel(const Product *x, Py_ssize_t panel, Py_ssize_t p0, Py_ssize_t p1, char *to) noexcept nogil
cdef void pack(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t ld, const char *matrix, char *packed, Py_ssize_t first, Py_ssize_t step) noexcept nogil
cdef void unpack(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t ld, const char *packed, char *matrix) noexcept nogil
cdef Py_ssize_t scratch_bytes(const nn_kernels *k) noexcept nogil
cdef Py_ssize_t block_depth(const nn_kernels *k, Py_ssize_t K) noexcept nogil

cdef inline Py_ssize_t parts(Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    """Length of the pieces when n is cut evenly into as few as possible, none longer than `most`."""
    cdef Py_ssize_t pieces = (n + most - 1) // most
    return (n + pieces - 1) // pieces if pieces > 0 else 1

cdef inline void multiply_rows(const nn_kernels *k, const nn_brgemm *op, Py_ssize_t m, Py_ssize_t n, const char *a, const char *b, const char *bias, char *c) noexcept nogil:
    """k.brgemm for any number of rows m: tiles whose heights differ by one at most. Few columns by k.brgemm_few."""
    cdef Py_ssize_t most = k.mr if n > k.vl else k.mr_narrow, tiles = (m + most - 1) // most, height
    if (n <= k.few_by_column and op.a_row == 1) or (n <= k.few_by_row and op.a_col == 1):
        k.brgemm_few(op, m, n, a, b, bias, c)
        return
    while tiles > 0:
        height = (m + tiles - 1) // tiles
        k.brgemm(op, height, n, a, b, bias, c)
        a += height * op.a_row * k.real_size
        c += height * op.ldc * k.real_size
        m -= height
        tiles -= 1

cdef inline void multiply_scattered(const nn_kernels *k, const nn_brgemm *op, const ptrdiff_t *a_rows, const ptrdiff_t *c_rows, Py_ssize_t m, Py_ssize_t n, const char *a, const char *b, const char *bias, char *c) noexcept nogil:
    """The same where each row of A and C has its place; n > vl."""
    cdef Py_ssize_t tiles = (m + k.mr - 1) // k.mr, height
    while tiles > 0:
        height = (m + tiles - 1) // tiles
        k.brgemm_scattered(op, a_rows, c_rows, height, n, a, b, bias, c)
        a_rows += height
        c_rows += height
        m -= height
        tiles -= 1

cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t multiple) noexcept nogil:
    return (n + multiple - 1) // multiple * multiple

cdef inline Py_ssize_t odd_lines(const nn_kernels *k, Py_ssize_t n) noexcept nogil:
    """The length of rows of n numbers that fall into all sets of the L1 cache: an odd number of its lines."""
    return ((n * k.real_size + CACHE_LINE - 1) // CACHE_LINE | 1) * CACHE_LINE // k.real_size

cdef inline Py_ssize_t panels(const nn_kernels *k, Py_ssize_t columns) noexcept nogil:
    return (columns + k.nr - 1) // k.nr

cdef inline Py_ssize_t panel_width(const nn_kernels *k, Py_ssize_t columns, Py_ssize_t panel) noexcept nogil:
    """Columns of a panel with its padding: nr, or fewer whole vectors in the last one."""
    cdef Py_ssize_t rest = round_up(columns, k.vl) - panel * k.nr
    return rest if rest < k.nr else k.nr

cdef inline Py_ssize_t packed_size(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    return rows * round_up(columns, k.vl)
