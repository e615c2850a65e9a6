"""Matrix products out of tiles.

    for a block of columns (NC):        B's block, packed here if it is not yet, stays in L2
        for a block of K (KC):
            for a block of rows (MC):   A's block stays in L2, copied if its strides would thrash L1; if much of it is 0,
                                        the rest is as nonzeros.pyx has it
                for a panel (NR):       B's panel stays in L1
                    for a tile of rows (MR): C's tile stays in registers

The cuts along K depend on K alone, and a tile sums in order of p: every element of C has the same bits, however rows
and panels were shared out among threads.
"""
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.kernels cimport nn_brgemm, nn_kernels, nn_planes_gradient
from nnfast._core.memory cimport Memory, borrow, give_back
from nnfast._core.nonzeros cimport Nonzeros, nonzeros_bytes, skip_zeros
from nnfast._core.threads cimport nn_flush_subnormals, nn_restore_subnormals, nn_team_size

cdef enum:
    PANEL_BYTES = 25600     # one panel of B in L1, beside the tile of A
    LONG_PANEL_BYTES = 102400   # in L2, for high tiles
    DEPTH_OF_FEW = 16       # rows of B at once for a C of few rows
    BLOCK_BYTES = 131072    # a block of A in L2
    FEW_PANELS = 16         # of B in a block: it, A's block and the part of C that they make stay in L2
    MANY_PANELS_BYTES = 1638400 # where several blocks of A have to be copied anew for every block of B: L3
    ROWS_TOGETHER = 8       # of B while some panels are packed
    ROWS_OF_ALL = 16        # while all are
    DOTS = 32               # columns of B between which A stays in L1
    DOT_BYTES = 16384       # of A
    ROWS_OF_DOTS = 64       # of B for each row of C: fewer do not pay for the lanes' sums
    COPY_BYTES = 1024       # strides that are multiples of this fall into few sets of L1

cdef double WORK_PER_THREAD = 4e5   # multiply-adds that pay for waking one more thread
cdef double READ_COST = 4           # a number of A or B out of the outer caches, in multiply-adds

cdef inline Py_ssize_t panel_bytes(const nn_kernels *k) noexcept nogil:
    return PANEL_BYTES if k.mr < HIGH_TILE else LONG_PANEL_BYTES


cdef Py_ssize_t block_depth(const nn_kernels *k, Py_ssize_t K) noexcept nogil:
    """KC: rows of B in a block, between which sums are added to C."""
    return parts(K, panel_bytes(k) // (k.nr * k.real_size))


cdef inline Py_ssize_t copy_bytes() noexcept nogil:
    """Room for a copied block of A: rows of COPY_BYTES at least, each longer by up to two cache lines."""
    return BLOCK_BYTES + BLOCK_BYTES // COPY_BYTES * 2 * CACHE_LINE


cdef Py_ssize_t scratch_bytes(const nn_kernels *k) noexcept nogil:
    return copy_bytes() + MANY_PANELS_BYTES + nonzeros_bytes(k)


cdef void pack_panel(const Product *x, Py_ssize_t panel, Py_ssize_t p0, Py_ssize_t p1, char *to) noexcept nogil:
    """Rows p0..p1 of one panel of B as [p][width], with zeros for the columns beyond N."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, j0 = panel * k.nr, width = panel_width(k, x.N, panel)
    cdef Py_ssize_t columns = min(x.N - j0, width), p, q, q0, part, inner
    if columns < width:
        memset(to, 0, (p1 - p0) * width * size)
    if x.storage == ROWS:
        k.copy(p1 - p0, columns, x.b + (p0 * x.ldb + j0) * size, x.ldb, to, width)
    elif x.storage == COLUMNS:
        k.transpose(columns, p1 - p0, x.b + (j0 * x.ldb + p0) * size, x.ldb, to, width)
    else:
        # The packed matrix W is [N][K]; its panels cut K. Take from each panel the part that lies in p0..p1.
        p = p0
        while p < p1:
            part = p // k.nr
            q0 = part * k.nr
            inner = panel_width(k, x.K, part)
            q = min(p1, q0 + inner)
            k.transpose(columns, q - p, x.b + (q0 * x.b_rows + j0 * inner + (p - q0)) * size, inner,
                        to + (p - p0) * width * size, width)
            p = q


cdef void pack_panels(const Product *x, Py_ssize_t panel_lo, Py_ssize_t panel_hi, Py_ssize_t p0, Py_ssize_t p1,
                      char *to) noexcept nogil:
    """Rows p0..p1 of some panels, panel_bytes apart. Of ROWS a few at a time, each from end to end: down a panel every
    line would come from another page, which no prefetcher follows."""
    cdef Py_ssize_t together = ROWS_TOGETHER if x.storage == ROWS else p1 - p0, p = p0, j
    while p < p1:
        for j in range(panel_lo, panel_hi):
            pack_panel(x, j, p, min(p + together, p1),
                       to + (j - panel_lo) * panel_bytes(x.k) + (p - p0) * panel_width(x.k, x.N, j) * x.k.real_size)
        p += together


cdef void copy_block(const nn_kernels *k, const Product *x, Py_ssize_t rows, Py_ssize_t depth, const char *a, char *to,
                     Py_ssize_t ld) noexcept nogil:
    """rows x depth numbers of A from `a` on as rows of ld."""
    cdef Py_ssize_t size = k.real_size, i
    if x.a_col != 1:
        k.transpose(depth, rows, a, x.a_col, to, ld)
        return
    k.copy(rows, depth, a, x.a_row, to, ld)


cdef void multiply_few(const Product *x, Py_ssize_t panel_lo, Py_ssize_t panel_hi) noexcept nogil:
    """The same for a C of few rows and a B of ROWS: B, which is read once, is not packed, but read some whole rows at a
    time, in the order in which it lies in memory."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, p0 = 0, j
    cdef nn_brgemm op
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row, op.a_col = x.a_row, x.a_col
    op.ldb, op.ldc = x.ldb, x.ldc
    while p0 < x.K:
        op.k = min(x.K - p0, DEPTH_OF_FEW)
        op.accumulate = p0 > 0 or x.accumulate
        op.relu = x.relu and p0 + op.k == x.K
        for j in range(panel_lo, panel_hi):
            multiply_rows(k, &op, x.M, min(x.N - j * k.nr, <Py_ssize_t>k.nr), x.a + p0 * x.a_col * size,
                          x.b + (p0 * x.ldb + j * k.nr) * size,
                          x.bias + j * k.nr * size if x.bias != NULL and p0 + op.k == x.K else NULL, x.c + j * k.nr * size)
        p0 += op.k


cdef bint few_dots(const Product *x) noexcept nogil:
    """Whether C has so few rows that B, as COLUMNS, is better not packed: it would be read, written and read again."""
    return (x.storage == COLUMNS and 0 < 2 * x.M <= x.k.vl and x.a_col == 1 and x.K % x.k.vl == 0
            and x.K >= ROWS_OF_DOTS * x.M and not x.accumulate and not x.relu and x.bias == NULL)


cdef void multiply_dots(const Product *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil:
    """Columns lo..hi of such a C: dot products of a few columns of B, one after another as they lie in memory, and the rows
    of A, which stay in L1; the lanes are added up at the end."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size, j = lo, p, t, count
    cdef Py_ssize_t most = max(k.vl, DOT_BYTES // (x.M * size) // k.vl * k.vl)
    cdef char *numbers = scratch + DOTS * x.M * k.vl * size
    cdef ptrdiff_t offset[2]
    cdef nn_planes_gradient op
    op.rows = x.M
    op.x_offset = offset
    op.y_step = x.a_row
    op.samples = 1
    op.x_sample = op.y_sample = 0
    offset[0], offset[1] = 0, x.ldb
    while j < hi:
        count = min(<Py_ssize_t>DOTS, hi - j)
        memset(scratch, 0, count * x.M * k.vl * size)
        p = 0
        while p < x.K:
            for t in range(0, count, 2):
                op.taps = min(<Py_ssize_t>2, count - t)
                k.planes_gradient(&op, min(most, x.K - p), x.b + ((j + t) * x.ldb + p) * size, x.a + p * size,
                                  scratch + t * x.M * k.vl * size)
            p += most
        k.sum_lanes(count * x.M, scratch, numbers)
        k.transpose(count, x.M, numbers, x.M, x.c + j * size, x.ldc)
        j += count


cdef Py_ssize_t panels_of_nonzeros(const Product *x, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t p0, Py_ssize_t p1,
                                   Py_ssize_t panel_lo, Py_ssize_t panel_hi, const char *packed,
                                   char *scratch) noexcept nogil:
    """A block of C, without its last panel if that is a narrow one, from the numbers of A that are not 0; how many panels:
    none if A has too few zeros."""
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size
    cdef bint last = p1 == x.K
    cdef Nonzeros y
    if not x.skips_zeros:
        return 0
    if panel_hi == panels(k, x.N) and panel_width(k, x.N, panel_hi - 1) < k.nr:
        panel_hi -= 1
    y.k, y.rows, y.depth = k, row_hi - row_lo, p1 - p0
    y.n = min(x.N - panel_lo * k.nr, (panel_hi - panel_lo) * k.nr)
    y.a, y.a_row = x.a + (row_lo * x.a_row + p0) * size, x.a_row
    y.ldb = k.nr
    if x.storage == PANELS:
        y.b = x.b + (panel_lo * x.K + p0) * k.nr * size
        y.panel_step = x.K * k.nr
    else:
        y.b = packed
        y.panel_step = panel_bytes(k) // size
    y.bias = x.bias + panel_lo * k.nr * size if x.bias != NULL and last else NULL
    y.c, y.ldc = x.c + (row_lo * x.ldc + panel_lo * k.nr) * size, x.ldc
    y.accumulate = p0 > 0 or x.accumulate
    y.relu = x.relu and last
    return panel_hi - panel_lo if skip_zeros(&y, scratch) else 0


cdef void multiply(const Product *x, Py_ssize_t row_lo, Py_ssize_t row_hi, Py_ssize_t panel_lo, Py_ssize_t panel_hi, char *scratch) noexcept nogil:
    """Rows row_lo..row_hi of C in the columns of panels panel_lo..panel_hi, on this thread.

    scratch: scratch_bytes(k) of this thread's own.
    """
    cdef const nn_kernels *k = x.k
    cdef Py_ssize_t size = k.real_size
    cdef Py_ssize_t kc = block_depth(k, x.K)
    cdef Py_ssize_t mc = max(k.mr, BLOCK_BYTES // (kc * size))
    cdef Py_ssize_t nc = FEW_PANELS
    cdef Py_ssize_t stride = (x.a_row if x.a_col == 1 else x.a_col) * size
    # Worth it where a row is long and serves many panels.
    cdef bint copied = stride % COPY_BYTES == 0 and kc * size >= COPY_BYTES and panel_hi - panel_lo >= 4
    cdef Py_ssize_t copied_row = odd_lines(k, kc)
    cdef char *panels_at = scratch + copy_bytes()
    cdef char *nonzeros_at = panels_at + MANY_PANELS_BYTES
    cdef const char *a
    cdef Py_ssize_t jc, p0, p1, ic, i_end, j, width, columns
    cdef const char *b
    cdef const char *bias
    cdef bint last
    cdef nn_brgemm op
    if copied and row_hi - row_lo > mc:
        nc = MANY_PANELS_BYTES // panel_bytes(k)
    op.count = 1
    op.a_offset = NULL
    op.b_step = 0
    op.a_row = copied_row if copied else x.a_row
    op.a_col = 1 if copied else x.a_col
    op.ldc = x.ldc
    mc = parts(row_hi - row_lo, mc)
    jc = panel_lo
    while jc < panel_hi:
        p0 = 0
        while True:
            p1 = min(x.K, p0 + kc)
            last = p1 == x.K
            op.k = p1 - p0
            op.accumulate = p0 > 0 or x.accumulate
            op.relu = x.relu and last
            if x.storage != PANELS:
                pack_panels(x, jc, min(jc + nc, panel_hi), p0, p1, panels_at)
            ic = row_lo
            while ic < row_hi:
                i_end = min(ic + mc, row_hi)
                a = x.a + (ic * x.a_row + p0 * x.a_col) * size
                j = jc + panels_of_nonzeros(x, ic, i_end, p0, p1, jc, min(jc + nc, panel_hi), panels_at, nonzeros_at)
                if copied and j < min(jc + nc, panel_hi):
                    copy_block(k, x, i_end - ic, p1 - p0, a, scratch, copied_row)
                    a = scratch
                for j in range(j, min(jc + nc, panel_hi)):
                    width = panel_width(k, x.N, j)
                    columns = min(x.N - j * k.nr, width)
                    op.ldb = width
                    if x.storage == PANELS:
                        b = x.b + (j * k.nr * x.K + p0 * width) * size
                    else:
                        b = panels_at + (j - jc) * panel_bytes(k)
                    bias = x.bias + j * k.nr * size if x.bias != NULL and last else NULL
                    multiply_rows(k, &op, i_end - ic, columns, a, b, bias, x.c + (ic * x.ldc + j * k.nr) * size)
                ic = i_end
            p0 = p1
            if p0 >= x.K:
                break
        jc += nc


cdef void pack(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t ld, const char *matrix,
               char *packed, Py_ssize_t first, Py_ssize_t step) noexcept nogil:
    """A matrix with rows of ld numbers as panels: first, first + step, ... of them. Some rows at a time, as pack_panels."""
    cdef Product x
    cdef Py_ssize_t p = 0, p_end, j
    x.k = k
    x.K = rows
    x.N = columns
    x.storage = ROWS
    x.b = matrix
    x.ldb = ld
    while p < rows:
        p_end = min(p + ROWS_OF_ALL, rows)
        j = first
        while j < panels(k, columns):
            pack_panel(&x, j, p, p_end, packed + (j * k.nr * rows + p * panel_width(k, columns, j)) * k.real_size)
            j += step
        p = p_end


cdef void unpack(const nn_kernels *k, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t ld, const char *packed,
                 char *matrix) noexcept nogil:
    """The inverse of pack."""
    cdef Py_ssize_t size = k.real_size, j, i, width
    for j in range(panels(k, columns)):
        width = panel_width(k, columns, j)
        for i in range(rows):
            memcpy(matrix + (i * ld + j * k.nr) * size, packed + (j * k.nr * rows + i * width) * size,
                   min(width, columns - j * k.nr) * size)


cdef Block block_of(const Product *x, int part, int team, bint by_columns) noexcept nogil:
    """A thread's share of C: all blocks have about the same size, and are about as high as wide where that can be, or
    some whole columns."""
    cdef Py_ssize_t count = panels(x.k, x.N), rows, columns, across = 1, down
    cdef double cost, least = INFINITY
    cdef int d
    cdef Block block
    for d in range(team if by_columns else 1, team + 1):
        if team % d == 0:
            rows = (x.M + team // d - 1) // (team // d)
            columns = (count + d - 1) // d * x.k.nr
            cost = <double>rows * <double>columns + READ_COST * (rows + columns)
            if cost < least:
                least, across = cost, d
    down = team // across
    block.row_lo, block.row_hi = x.M * (part // across) // down, x.M * (part // across + 1) // down
    block.panel_lo, block.panel_hi = count * (part % across) // across, count * (part % across + 1) // across
    return block


cdef void multiply_block(const Product *x, const Block *block, char *scratch) noexcept nogil:
    multiply(x, block.row_lo, block.row_hi, block.panel_lo, block.panel_hi, scratch)


cdef void multiply_share(const Product *x, int part, int team, char *scratch) noexcept nogil:
    """A thread's share of C: a block, or panels or columns of a C of few rows."""
    cdef Py_ssize_t count = panels(x.k, x.N)
    cdef uint64_t mode = nn_flush_subnormals()
    cdef Block block
    if x.storage == ROWS and x.M <= 2 * x.k.mr and x.N % x.k.vl == 0 and x.N > x.M and x.K > 0:
        multiply_few(x, count * part // team, count * (part + 1) // team)
    elif few_dots(x):
        multiply_dots(x, x.N * part // team, x.N * (part + 1) // team, scratch)
    else:
        block = block_of(x, part, team, False)
        multiply_block(x, &block, scratch)
    nn_restore_subnormals(mode)


cdef int multiply_parallel(const Product *x, int n_threads) except -1:
    """All of C on at most n_threads, for calls from outside a plan. B may have any storage."""
    cdef double work = <double>x.M * <double>x.N * <double>x.K
    if work < n_threads * WORK_PER_THREAD:
        n_threads = max(1, <int>(work / WORK_PER_THREAD))
    cdef Py_ssize_t each = scratch_bytes(x.k)
    cdef Memory scratch
    borrow(&scratch, each * n_threads)
    with nogil:
        if n_threads == 1:
            multiply_share(x, 0, 1, scratch.at)
        else:
            with parallel(num_threads=n_threads):
                multiply_share(x, threadid(), nn_team_size(), scratch.at + threadid() * each)
    give_back(&scratch)
    return 0
