"""Inputs most of whose numbers are 0, as the rows of a sparse matrix: a dense layer reads the others alone.

    forward   a row of y is a sum of rows of W, one for each number of its row of x
    gradient  a row of dW is a sum of rows of dz, one for each number of its column of x. So the batch is sorted by columns
              when all its rows are known: each thread sorts some columns (counting sort)

Both are csrc/nonzeros.c's, block by block as gemm.pyx and dense.pyx cut their sums: a sparse input trains to the bits of the
same numbers with the zeros among them (but for what nonzeros.pyx says of its own). What else reads an input gets it with its
zeros (gather.pyx).
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.gemm cimport Product, block_depth, panel_width, panels
from nnfast._core.kernels cimport nn_kernels, nn_nonzeros
from nnfast._core.node cimport Context, Sparse, Tile, piece_start, piece_width, pieces

cdef enum:
    ROWS = 1024             # of x that go through the blocks of W together


cdef inline void copy_number(char *to, Py_ssize_t i, const char *source, Py_ssize_t j, int size) noexcept nogil:
    if size == 4:
        (<uint32_t *>to)[i] = (<const uint32_t *>source)[j]
    else:
        (<uint64_t *>to)[i] = (<const uint64_t *>source)[j]


cdef void read_sparse_row(const nn_kernels *k, const Sparse *x, Py_ssize_t row, char *to) noexcept nogil:
    """A row of the data with its zeros."""
    cdef int64_t i
    memset(to, 0, x.columns * k.real_size)
    for i in range(x.begin[row], x.end[row]):
        copy_number(to, x.places[i], x.values, i, k.real_size)


cdef void find_sparse_rows(const Sparse *x, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Rows lo..hi of the batch among those of the data."""
    cdef Py_ssize_t b, row
    for b in range(lo, hi):
        row = ctx.sample[b] if ctx.sample != NULL else ctx.first_sample + b
        x.batch_begin[b], x.batch_end[b] = x.begin[row], x.end[row]


cdef double sparse_maximum(const nn_kernels *k, const Sparse *x, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Of the absolute values in rows lo..hi of the batch; inf if one is not finite."""
    cdef Py_ssize_t b
    cdef double most = 0
    for b in range(lo, hi):
        most = max(most, k.absolute_maximum(x.batch_end[b] - x.batch_begin[b], x.values + x.batch_begin[b] * k.real_size))
    return most


cdef void multiply_sparse(const Product *x, const Sparse *a, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t panel_lo,
                          Py_ssize_t panel_hi, char *scratch) noexcept nogil:
    """Rows row_lo..row_hi of C = A B in the columns of panels panel_lo..panel_hi, as gemm.multiply; B is PANELS."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t depth = block_depth(k, x.K), rows, p0, p1, i
    cdef int64_t *at = <int64_t *>scratch       # what has been read of each row
    cdef uint16_t *places = <uint16_t *>(at + ROWS)
    cdef int64_t first, end
    while row_lo < row_hi:
        rows = min(<Py_ssize_t>ROWS, row_hi - row_lo)
        memcpy(at, a.batch_begin + row_lo, rows * sizeof(int64_t))
        p0 = 0
        while p0 < x.K:
            p1 = min(x.K, p0 + depth)
            for i in range(rows):
                first, end = at[i], a.batch_end[row_lo + i]
                while at[i] < end and a.places[at[i]] < p1:
                    places[at[i] - first] = <uint16_t>(a.places[at[i]] - p0)
                    at[i] += 1
                if at[i] > first or p0 == 0 or p1 == x.K:
                    add_rows_of_panels(x, row_lo + i, p0, p1, panel_lo, panel_hi, at[i] - first, places,
                                       a.values + first * k.real_size)
            p0 = p1
        row_lo += rows


cdef inline void add_rows_of_panels(const Product *x, Py_ssize_t row, Py_ssize_t p0, Py_ssize_t p1, Py_ssize_t panel_lo,
                                    Py_ssize_t panel_hi, Py_ssize_t n, const uint16_t *places,
                                    const char *values) noexcept nogil:
    """A row of C (+)= n numbers times rows of B, from p0 on; as many panels at a time as one row's sums have registers."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, together = k.nonzero_columns // k.nr, j = panel_lo, width, count
    cdef nn_nonzeros op
    op.ahead = 0
    op.begins = op.ends = True
    op.accumulate = p0 > 0 or x.accumulate
    op.relu = x.relu and p1 == x.K
    op.panel_step = x.K * k.nr
    while j < panel_hi:
        width = panel_width(k, x.N, j)
        count = min(together, panel_hi - j)
        if j + count == panels(k, x.N) and panel_width(k, x.N, j + count - 1) < k.nr:   # whose rows are shorter
            count = max(<Py_ssize_t>1, count - 1)
        op.ldb = width
        k.multiply_nonzeros(&op, min(x.N - j * k.nr, count * k.nr), n, places, values,
                            x.b + (j * k.nr * x.K + p0 * width) * size,
                            x.bias + j * k.nr * size if x.bias != NULL and p1 == x.K else NULL, NULL,
                            x.c + (row * x.ldc + j * k.nr) * size)
        j += count


cdef void sort_by_columns(const nn_kernels *k, const Sparse *x, Py_ssize_t batch, int part, int team) noexcept nogil:
    """A thread's part of the columns: their numbers one behind the other, with the rows that they are in."""
    cdef Py_ssize_t lo = x.columns * part // team, hi = x.columns * (part + 1) // team, b, c
    cdef int64_t at = 0, i, n
    memset(x.column_end + lo, 0, (hi - lo) * sizeof(int64_t))
    for b in range(batch):
        i = first_from(x, b, lo)
        at += i - x.batch_begin[b]
        while i < x.batch_end[b] and x.places[i] < hi:
            x.column_end[x.places[i]] += 1
            i += 1
    for c in range(lo, hi):     # from how many to where they begin; that moves on to where they end
        n = x.column_end[c]
        x.column_end[c] = at
        at += n
    for b in range(batch):
        i = first_from(x, b, lo)
        while i < x.batch_end[b] and x.places[i] < hi:
            at = x.column_end[x.places[i]]
            x.column_end[x.places[i]] = at + 1
            x.rows[at] = <int32_t>b
            copy_number(x.column_values, at, x.values, i, k.real_size)
            i += 1


cdef inline int64_t first_from(const Sparse *x, Py_ssize_t b, Py_ssize_t column) noexcept nogil:
    """The first number of row b of the batch in this column or behind it."""
    cdef int64_t lo = x.batch_begin[b], hi = x.batch_end[b] if column > 0 else lo, middle
    while lo < hi:
        middle = (lo + hi) // 2
        if x.places[middle] < column:
            lo = middle + 1
        else:
            hi = middle
    return lo


cdef void sparse_gradient(const nn_kernels *k, const Sparse *x, Py_ssize_t depth, const Tile *tile, const char *dz,
                          Py_ssize_t ldz, char *scratch, char *dw) noexcept nogil:
    """A tile of dW = x' dz; dz: from its first panel on. depth: samples that are summed before the sums are added up.
    scratch: room for nonzero_columns numbers and `depth` places."""
    cdef Py_ssize_t size = k.real_size, together = k.nonzero_columns // k.nr, c, i, j, j_end, width, columns
    cdef uint16_t *places = <uint16_t *>(scratch + k.nonzero_columns * size)
    cdef int64_t begin, end
    memset(dw, 0, piece_start(tile, pieces(tile)) * size)
    for c in range(tile.lo, tile.hi):
        begin, end = x.column_end[c - 1] if c > 0 else 0, x.column_end[c]
        j = 0
        while j < tile.n_panels and begin < end:
            j_end = min(j + together, tile.n_panels)
            columns = (piece_start(tile, j_end) - piece_start(tile, j)) // tile.rows
            sum_of_column(k, x, begin, end, depth, dz + j * k.nr * size, ldz, columns, places, scratch)
            for i in range(j, j_end):
                width = piece_width(tile, i)
                memcpy(dw + (piece_start(tile, i) + (c - tile.lo) * width) * size, scratch + (i - j) * k.nr * size,
                       width * size)
            j = j_end


cdef inline void sum_of_column(const nn_kernels *k, const Sparse *x, int64_t begin, int64_t end, Py_ssize_t depth,
                               const char *dz, Py_ssize_t ldz, Py_ssize_t columns, uint16_t *places,
                               char *sum) noexcept nogil:
    """Of rows of dz, for a column's numbers begin..end."""
    cdef int64_t at = begin
    cdef Py_ssize_t b0
    cdef nn_nonzeros op
    op.ldb, op.panel_step = ldz, k.nr
    op.ahead = 0
    op.begins = op.ends = True
    op.accumulate = op.relu = False
    while begin < end:
        b0 = x.rows[begin] // depth * depth
        while at < end and x.rows[at] < b0 + depth:
            places[at - begin] = <uint16_t>(x.rows[at] - b0)
            at += 1
        k.multiply_nonzeros(&op, columns, at - begin, places, x.column_values + begin * k.real_size,
                            dz + b0 * ldz * k.real_size, NULL, NULL, sum)
        op.accumulate = True
        begin = at
