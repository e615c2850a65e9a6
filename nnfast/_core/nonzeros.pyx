"""Products whose left side holds many zeros, from its other numbers alone.

    for some rows of A:                     their numbers that are not 0 are listed, part by part of K
        for a group of panels of B:         as many as one row's sums have registers
            for a part of K:                B's rows there stay in L1
                for each row of A:          sums of the numbers listed (csrc/nonzeros.c); between parts they wait in L1

Whether A is so is seen from a few of its rows, anew for every block: it costs little, and data and networks change. The sums
have the order, and the bits, of the other products (gemm.pyx), so nobody need know which was chosen. (But for the sign of a
zero that an underflow left, and for a B that is not finite, which a network's weights and data never are.)
"""
from libc.stdint cimport int32_t, uint16_t

from nnfast._core.gemm cimport parts, round_up
from nnfast._core.kernels cimport nn_kernels, nn_nonzeros

cdef enum:
    SAMPLED = 4             # rows that are looked at
    MOST_ROWS = 64          # whose sums stay in L1
    PART_BYTES = 32768      # of B: most of L1
    LARGE_BYTES = 524288    # of B: it may not be in L2
    LIST_BYTES = 262144     # in L2: numbers of A and their places
    START_BYTES = 16384     # where lists begin

cdef double MOST_NONZERO = 0.6  # of A: more are better multiplied with the zeros among them
cdef double FEW = 0.1           # of A: in a part of it there would be next to none

cdef struct Lists:              # of some rows of A: for each part of K, for each row
    Py_ssize_t part             # rows of B
    int32_t *starts             # of each list, and where the last one ends
    char *values
    uint16_t *places            # in the part


cdef double nonzero_share(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t n, const char *a, Py_ssize_t a_row,
                          char *scratch) noexcept nogil:
    """Of A, rows of n numbers, as some of its rows have it; 1 if it is too large for lists to pay. scratch: room for a row
    and its places."""
    cdef uint16_t *places = <uint16_t *>(scratch + round_up(n, k.vl) * k.real_size)
    cdef Py_ssize_t count = 0, i
    cdef double share
    for i in range(SAMPLED):
        count += k.list_nonzeros(n, a + i * rows // SAMPLED * a_row * k.real_size, scratch, places)
    share = <double>count / (SAMPLED * n)
    return share if share <= MOST_NONZERO else 1


cdef Py_ssize_t part_length(const Nonzeros *x, Py_ssize_t columns) noexcept nogil:
    """Rows of B at a time: as many as L1 holds of so many columns, or more where hardly any are read."""
    cdef double rows = PART_BYTES // (columns * x.k.real_size)
    return parts(x.depth, <Py_ssize_t>min(rows * max(1., FEW / max(x.share, 1e-3)), 65536.))


cdef Py_ssize_t nonzeros_bytes(const nn_kernels *k) noexcept nogil:
    return START_BYTES + MOST_ROWS * k.nonzero_columns * k.real_size + LIST_BYTES + k.vl * (k.real_size + sizeof(uint16_t))


cdef void list_rows(const Nonzeros *x, Py_ssize_t first, Py_ssize_t rows, const Lists *lists) noexcept nogil:
    cdef Py_ssize_t size = x.k.real_size, p = 0, at = 0, count = 0, i
    while p < x.depth:
        for i in range(first, first + rows):
            lists.starts[at] = <int32_t>count
            at += 1
            count += x.k.list_nonzeros(min(lists.part, x.depth - p), x.a + (i * x.a_row + p) * size,
                                       lists.values + count * size, lists.places + count)
        p += lists.part
    lists.starts[at] = <int32_t>count


cdef void sum_columns(const Nonzeros *x, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns,
                      const Lists *lists, char *sums) noexcept nogil:
    """Columns of C, no more than one row's sums have registers, in the rows that are listed."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, p = 0, at = 0, start, i
    cdef bint large = x.n * x.depth * size > LARGE_BYTES
    cdef const char *b
    cdef nn_nonzeros op
    op.ldb, op.panel_step = x.ldb, x.panel_step
    op.accumulate, op.relu = x.accumulate, x.relu
    while p < x.depth:
        op.begins, op.ends = p == 0, p + lists.part >= x.depth
        b = x.b + (column // k.nr * x.panel_step + p * x.ldb) * size
        for i in range(rows):
            start = lists.starts[at]
            # The same for all rows of B in the next part; beyond the last one it asks for what nobody reads.
            op.ahead = (lists.part + i * lists.part // rows) * x.ldb if large and not op.ends else 0
            k.multiply_nonzeros(&op, columns, lists.starts[at + 1] - start, lists.places + start,
                                lists.values + start * size, b, NULL if x.bias == NULL else x.bias + column * size,
                                sums + i * k.nonzero_columns * size, x.c + ((first + i) * x.ldc + column) * size)
            at += 1
        p += lists.part


cdef void multiply_nonzeros(const Nonzeros *x, char *scratch) noexcept nogil:
    """C's rows from lists of A's. A row's numbers and their places fit LIST_BYTES."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, number = size + sizeof(uint16_t), first = 0, rows, j
    cdef Py_ssize_t most = parts(x.rows, min(<Py_ssize_t>MOST_ROWS, LIST_BYTES // (x.depth * number)))
    cdef Py_ssize_t columns = round_up(parts(x.n, k.nonzero_columns), k.nr)
    cdef char *sums = scratch + START_BYTES
    cdef Lists lists
    lists.part = part_length(x, columns)
    lists.starts = <int32_t *>scratch
    lists.values = sums + MOST_ROWS * k.nonzero_columns * size
    lists.places = <uint16_t *>(lists.values + (most * x.depth + k.vl) * size)
    while first < x.rows:
        rows = min(most, x.rows - first)
        list_rows(x, first, rows, &lists)
        j = 0
        while j < x.n:
            sum_columns(x, first, rows, j, min(columns, x.n - j), &lists, sums)
            j += columns
        first += rows


cdef bint skip_zeros(Nonzeros *x, char *scratch) noexcept nogil:
    """Makes C if lists of A pay, and says whether it did."""
    if not pays(x.k, x.rows, x.n, x.depth):
        return False
    x.share = nonzero_share(x.k, x.rows, x.depth, x.a, x.a_row, scratch)
    if x.share == 1:
        return False
    multiply_nonzeros(x, scratch)
    return True


# Of gradients, which are sums over rows of both sides.

cdef void add_transposed(Nonzeros *x, Py_ssize_t depth, const char *a, Py_ssize_t lda, char *rows,
                         char *scratch) noexcept nogil:
    """C (+)= A' B for the next `depth` rows of A, and from then on +=. x holds all but A and the depth; `rows`: room for A's
    columns, x.a_row apart."""
    x.depth, x.a = depth, rows
    x.k.transpose(depth, x.rows, a, lda, rows, x.a_row)
    multiply_nonzeros(x, scratch)
    x.accumulate = True


cdef void to_panels(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, const char *product, Py_ssize_t ld,
                    bint transposed, char *to) noexcept nogil:
    """A matrix, or the transpose of one, as panels of nr columns, each [rows][width]; the padding is left alone."""
    cdef Py_ssize_t size = k.real_size, j = 0, width, n
    while j < columns:
        n = min(columns - j, <Py_ssize_t>k.nr)
        width = round_up(n, k.vl)
        if transposed:
            k.transpose(n, rows, product + j * ld * size, ld, to + j * rows * size, width)
        else:
            k.copy(rows, n, product + j * size, ld, to + j * rows * size, width)
        j += n
