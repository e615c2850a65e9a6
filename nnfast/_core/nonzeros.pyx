"""Products whose left side holds many zeros, from its other numbers alone.

    for some rows of A:                     their numbers that are not 0 are listed, part by part of K
        for a group of panels of B:         as many as one row's sums have registers
            for a part of K:                B's rows there stay in L1
                for each row of A:          sums of the numbers listed (csrc/nonzeros.c); between parts they wait in L1

Whether A is so is seen from a few of its rows, anew for every block: it costs little, and data and networks change. The sums
have the order, and the bits, of the other products (gemm.pyx), so nobody need know which was chosen.
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
    START_BYTES = 16384     # where the lists begin

cdef double FEW = 0.1       # of A that is not 0


cdef double nonzero_share(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t n, const char *a, Py_ssize_t a_row,
                          char *scratch) noexcept nogil:
    """Of A, rows of n numbers, as some of its rows have it."""
    cdef uint16_t *places = <uint16_t *>(scratch + round_up(n, k.vl) * k.real_size)
    cdef Py_ssize_t count = 0, i
    for i in range(SAMPLED):
        count += k.list_nonzeros(n, a + i * rows // SAMPLED * a_row * k.real_size, scratch, places)
    return <double>count / (SAMPLED * n)


cdef Py_ssize_t part_length(const nn_kernels *k, Py_ssize_t columns, double share) noexcept nogil:
    """Rows of B at a time: as many as L1 holds, or more where hardly any are read."""
    cdef double rows = PART_BYTES // (columns * k.real_size)
    return <Py_ssize_t>min(rows * max(1., FEW / max(share, 1e-3)), 65536.)


cdef Py_ssize_t nonzeros_bytes(const nn_kernels *k) noexcept nogil:
    return START_BYTES + MOST_ROWS * k.nonzero_columns * k.real_size + LIST_BYTES + k.vl * (k.real_size + sizeof(uint16_t))


cdef void multiply_nonzeros(const Nonzeros *x, char *scratch) noexcept nogil:
    """C's rows from lists of A's. A row's numbers and their places fit LIST_BYTES."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, number = size + sizeof(uint16_t)
    cdef Py_ssize_t most = min(<Py_ssize_t>MOST_ROWS, LIST_BYTES // (x.depth * number)), rows, i0 = 0, i
    cdef Py_ssize_t columns = round_up(parts(x.n, k.nonzero_columns), k.nr), j, n
    cdef Py_ssize_t part = parts(x.depth, part_length(k, columns, x.share)), p, list_at, count
    cdef int32_t *starts = <int32_t *>scratch
    cdef char *sums = scratch + START_BYTES
    cdef char *values = sums + most * columns * size
    cdef uint16_t *places = <uint16_t *>(values + (most * x.depth + k.vl) * size)
    cdef bint large = x.n * x.depth * size > LARGE_BYTES
    cdef const char *b
    cdef nn_nonzeros op
    op.ldb, op.panel_step = x.ldb, x.panel_step
    op.accumulate, op.relu = x.accumulate, x.relu
    most = parts(x.rows, most)
    while i0 < x.rows:
        rows = min(most, x.rows - i0)
        count = list_at = p = 0
        while p < x.depth:
            for i in range(i0, i0 + rows):
                starts[list_at] = <int32_t>count
                list_at += 1
                count += k.list_nonzeros(min(part, x.depth - p), x.a + (i * x.a_row + p) * size, values + count * size,
                                         places + count)
            p += part
        starts[list_at] = <int32_t>count
        j = 0
        while j < x.n:
            n = min(columns, x.n - j)
            list_at = p = 0
            while p < x.depth:
                op.begins, op.ends = p == 0, p + part >= x.depth
                b = x.b + (j // k.nr * x.panel_step + p * x.ldb) * size
                for i in range(rows):
                    count = starts[list_at]
                    op.ahead = (part + i * part // rows) * x.ldb if large and not op.ends else 0
                    k.multiply_nonzeros(&op, n, starts[list_at + 1] - count, places + count, values + count * size, b,
                                        NULL if x.bias == NULL else x.bias + j * size, sums + i * columns * size,
                                        x.c + ((i0 + i) * x.ldc + j) * size)
                    list_at += 1
                p += part
            j += columns
        i0 += rows


# Of gradients, which are sums over rows of both sides.

cdef void add_transposed(Nonzeros *x, Py_ssize_t depth, const char *a, Py_ssize_t lda, char *rows, char *scratch) noexcept nogil:
    """C (+)= A' B for the next `depth` rows of A, and from then on +=. rows: room for A's columns, x.a_row apart."""
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
