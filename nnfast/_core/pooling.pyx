"""Pooling over windows of pixels, 1-D and 2-D, upsampling, and padding with zeros.

    maximum   y = max of the window; dy goes to the first maximum. NaN counts as the greatest, padding is never chosen
    average   y = sum of the window / number of taps (in the image, or all of them); dy is shared out likewise
    upsample  x = y in all of the window; dy = the window's sum of dx

Layout: x [N][H][W][C], y [N][OH][OW][C]; an upsampling's input is y.

    for a row of windows:
        for a run of windows with the same taps inside the image:   one kernel call
"""
from cython.parallel cimport parallel, threadid
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.kernels cimport kernels_of, nn_kernels, nn_window
from nnfast._core.memory cimport Memory, address, borrow, give_back
from nnfast._core.node cimport Context, Node, Value
from nnfast._core.threads cimport nn_flush_subnormals, nn_restore_subnormals, nn_team_size
from nnfast._core.window cimport Window, clip, clip_run, read_window

cdef enum Direction:
    MAX_FORWARD
    MAX_BACKWARD
    AVERAGE_FORWARD
    AVERAGE_BACKWARD

cdef double WORK_PER_THREAD = 1e5   # taps that pay for waking a thread


cdef bint apart(const Window *w) noexcept nogil:
    """No pixel is in two windows."""
    return (w.stride_h >= (w.R - 1) * w.dilation_h + 1) and (w.stride_w >= (w.S - 1) * w.dilation_w + 1)


cdef bint gapless(const Window *w) noexcept nogil:
    """Windows lie side by side from the first pixel of a row to the last."""
    return (apart(w) and w.dilation_h == w.dilation_w == 1 and w.stride_h == w.R and w.stride_w == w.S
            and w.pad_top == w.pad_left == 0 and w.OW * w.S == w.W)


cdef void pool_row(const nn_kernels *k, const Window *w, Py_ssize_t channels, Direction direction, Divisor divisor,
                   bint accumulate, Py_ssize_t i, char *x, char *y, char *code) noexcept nogil:
    """Row i of the windows: x is the sample's image, y and code are this row's. Backward: y is dy and x is dx."""
    cdef Py_ssize_t pixel = channels * k.real_size, start = i * w.stride_h - w.pad_top, j = 0, end, r_lo, r_hi, lo, hi
    cdef Py_ssize_t at
    cdef double scale
    cdef nn_window op
    op.row_pitch = w.dilation_h * w.W * channels
    op.column_pitch = w.dilation_w * channels
    op.step = w.stride_w * channels
    op.channels = channels
    op.accumulate = accumulate or not apart(w)
    clip(start, w.R, w.dilation_h, w.H, &r_lo, &r_hi)
    op.rows = r_hi - r_lo
    while j < w.OW:
        end = clip_run(j, w.OW, w.stride_w, -w.pad_left, w.S, w.dilation_w, w.W, &lo, &hi)
        op.columns = hi - lo
        at = ((start + r_lo * w.dilation_h) * w.W + j * w.stride_w - w.pad_left + lo * w.dilation_w) * pixel
        scale = 1.0
        if divisor != ONE:
            scale /= w.R * w.S if divisor == ALL_TAPS else max(op.rows * op.columns, 1)
        if direction == MAX_FORWARD:
            k.max_pool(&op, end - j, x + at, y + j * pixel, NULL if code == NULL else code + j * pixel)
        elif direction == MAX_BACKWARD:
            k.max_pool_backward(&op, end - j, y + j * pixel, code + j * pixel, x + at)
        elif direction == AVERAGE_FORWARD:
            k.sum_pool(&op, end - j, x + at, scale, y + j * pixel)
        else:
            k.sum_pool_backward(&op, end - j, y + j * pixel, scale, x + at)
        j = end


cdef inline Py_ssize_t clear_rows(const nn_kernels *k, const Window *w, Py_ssize_t channels, Py_ssize_t cleared,
                                  Py_ssize_t end, char *dx) noexcept nogil:
    """Rows `cleared`..`end` of dx are zero, too; the number of rows that are. Just before they are added to: in cache."""
    cdef Py_ssize_t row = w.W * channels * k.real_size
    end = min(end, w.H)
    if end <= cleared:
        return cleared
    memset(dx + cleared * row, 0, (end - cleared) * row)
    return end


cdef void pool(const nn_kernels *k, const Window *w, Py_ssize_t channels, Direction direction, Divisor divisor,
               bint accumulate, char *x, char *y, char *code, const char *source, char *row_y) noexcept nogil:
    """One sample, forward: x to y and code; backward: y is dy and x is dx. If `source` is not NULL, code and row_y have
    room for a row, and codes are made anew from it, the image."""
    cdef Py_ssize_t row = w.OW * channels * k.real_size, i, last = 0
    cdef bint backward = direction == MAX_BACKWARD or direction == AVERAGE_BACKWARD
    cdef bint filled = gapless(w)
    for i in range(w.OH):
        if source != NULL:
            pool_row(k, w, channels, MAX_FORWARD, TAPS_INSIDE, False, i, <char *>source, row_y, code)
        if backward and not accumulate:
            if filled:
                last = (i + 1) * w.R
            else:
                last = clear_rows(k, w, channels, last, i * w.stride_h - w.pad_top + (w.R - 1) * w.dilation_h + 1, x)
        pool_row(k, w, channels, direction, divisor, accumulate, i, x, y + i * row,
                 code if code == NULL or source != NULL else code + i * row)
    if backward and not accumulate:
        clear_rows(k, w, channels, last, w.H, x)


cdef void pool_rows(const Node *node, Direction direction, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Pool *op = <const Pool *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef const Value *y = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    cdef bint backward = direction == MAX_BACKWARD or direction == AVERAGE_BACKWARD
    if backward and x.dy == NULL:
        return
    for b in range(lo, hi):
        pool(node.k, &op.window, op.channels, direction, op.divisor, backward and node.adds[0],
             (x.dy if backward else x.y) + b * x.ld * size, (y.dy if backward else y.y) + b * y.ld * size,
             NULL if op.code == NULL else op.code + b * y.ld * size, NULL, NULL)


cdef void max_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    pool_rows(node, MAX_FORWARD, lo, hi)


cdef void max_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    pool_rows(node, MAX_BACKWARD, lo, hi)


cdef void average_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    pool_rows(node, AVERAGE_FORWARD, lo, hi)


cdef void average_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    pool_rows(node, AVERAGE_BACKWARD, lo, hi)


# An upsampling goes the way back of an average pooling whose windows stand on its output, and its gradient the way there.

cdef void upsample_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Pool *op = <const Pool *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef const Value *out = node.output
    cdef Py_ssize_t size = node.k.real_size, b
    for b in range(lo, hi):
        pool(node.k, &op.window, op.channels, AVERAGE_BACKWARD, ONE, False, out.y + b * out.ld * size,
             in_.y + b * in_.ld * size, NULL, NULL, NULL)


cdef void upsample_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Pool *op = <const Pool *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef Py_ssize_t size = node.k.real_size, b
    cdef char *dy
    cdef char *dx
    if in_.dy == NULL:
        return
    for b in range(lo, hi):
        dy = node.output.dy + b * node.output.ld * size
        dx = in_.dy + b * in_.ld * size
        # Nobody reads dy again: sums that are to be added take its place, behind what they are made of.
        pool(node.k, &op.window, op.channels, AVERAGE_FORWARD, ONE, False, dy, dy if node.adds[0] else dx, NULL, NULL, NULL)
        if node.adds[0]:
            node.k.add(in_.size, dx, dy, dx)


cdef void pad_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Zeros around the image: of a window of one tap, pad_top, pad_left and the output's size say where it lies."""
    cdef const Pool *op = <const Pool *>node.extra
    cdef const Window *w = &op.window
    cdef Py_ssize_t size = node.k.real_size, pixel = op.channels * size, b, i
    cdef char *y
    for b in range(lo, hi):
        y = node.output.y + b * node.output.ld * size
        memset(y, 0, w.OH * w.OW * pixel)
        for i in range(w.H):
            memcpy(y + ((i + w.pad_top) * w.OW + w.pad_left) * pixel,
                   node.inputs[0].y + b * node.inputs[0].ld * size + i * w.W * pixel, w.W * pixel)


cdef void pad_backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Pool *op = <const Pool *>node.extra
    cdef const Window *w = &op.window
    cdef Py_ssize_t size = node.k.real_size, pixel = op.channels * size, b, i
    cdef const char *dy
    cdef char *dx
    if node.inputs[0].dy == NULL:
        return
    for b in range(lo, hi):
        for i in range(w.H):
            dy = node.output.dy + b * node.output.ld * size + ((i + w.pad_top) * w.OW + w.pad_left) * pixel
            dx = node.inputs[0].dy + b * node.inputs[0].ld * size + i * w.W * pixel
            if node.adds[0]:
                node.k.add(w.W * op.channels, dx, dy, dx)
            else:
                memcpy(dx, dy, w.W * pixel)


# ---------------------------------------------------------------- stateless, for nnfast.functional, which has checked

cdef struct Job:
    const nn_kernels *k
    Window window
    Py_ssize_t samples, channels
    Direction direction
    Divisor divisor
    char *x                 # or dx
    char *y                 # or dy
    char *code              # maximum: of y, or NULL
    const char *source      # maximum, backward without codes: x itself, of which they are made again
    char *scratch           # then: a row of codes and one of y for each thread


cdef void share(const Job *job, int part, int team) noexcept nogil:
    cdef Py_ssize_t size = job.k.real_size, b
    cdef Py_ssize_t x_bytes = job.window.H * job.window.W * job.channels * size
    cdef Py_ssize_t y_bytes = job.window.OH * job.window.OW * job.channels * size
    cdef Py_ssize_t row_bytes = job.window.OW * job.channels * size
    cdef char *code = NULL
    cdef char *row_y = NULL
    cdef const char *source = NULL
    cdef uint64_t mode = nn_flush_subnormals()
    if job.source != NULL:
        code = job.scratch + 2 * part * row_bytes
        row_y = code + row_bytes
    for b in range(job.samples * part // team, job.samples * (part + 1) // team):
        if job.source != NULL:
            source = job.source + b * x_bytes
        elif job.code != NULL:
            code = job.code + b * y_bytes
        pool(job.k, &job.window, job.channels, job.direction, job.divisor, False, job.x + b * x_bytes,
             job.y + b * y_bytes, code, source, row_y)
    nn_restore_subnormals(mode)


cdef int run(Job *job, array, window, int n_threads) except -1:
    cdef Memory memory
    cdef double work
    read_window(&job.window, window)
    job.k = kernels_of(array.itemsize)
    job.samples, job.channels = array.shape[0], array.shape[3]
    work = <double>job.samples * job.window.OH * job.window.OW * job.window.R * job.window.S * job.channels
    if work < n_threads * WORK_PER_THREAD:
        n_threads = max(1, <int>(work / WORK_PER_THREAD))
    if job.source != NULL:
        borrow(&memory, 2 * n_threads * job.window.OW * job.channels * job.k.real_size)
        job.scratch = memory.at
    with nogil:
        if n_threads == 1:
            share(job, 0, 1)
        else:
            with parallel(num_threads=n_threads):
                share(job, threadid(), nn_team_size())
    if job.source != NULL:
        give_back(&memory)
    return 0


def max_pool_forward(x, y, taps, window, int n_threads):
    """y: each window's maximum. taps: which tap that was, or None."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction = MAX_FORWARD
    job.x, job.y = address(x), address(y, True)
    if taps is not None:
        job.code = address(taps, True)
    run(&job, x, window, n_threads)


def max_pool_backward(x, taps, dy, dx, window, int n_threads):
    """dx: dy at the tap of each window that `taps` says, or, if it is None, at the first maximum of x."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction = MAX_BACKWARD
    job.x, job.y = address(dx, True), address(dy)
    if taps is not None:
        job.code = address(taps)
    else:
        job.source = address(x)
    run(&job, x, window, n_threads)


def average_pool_forward(x, y, window, bint include_pad, int n_threads):
    """y: each window's mean."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction, job.divisor = AVERAGE_FORWARD, ALL_TAPS if include_pad else TAPS_INSIDE
    job.x, job.y = address(x), address(y, True)
    run(&job, x, window, n_threads)


def average_pool_backward(dy, dx, window, bint include_pad, int n_threads):
    """dx: dy over the number of taps, for every tap."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction, job.divisor = AVERAGE_BACKWARD, ALL_TAPS if include_pad else TAPS_INSIDE
    job.x, job.y = address(dx, True), address(dy)
    run(&job, dx, window, n_threads)


def upsample(x, y, window, int n_threads):
    """y: each pixel of x in all of its window of y."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction, job.divisor = AVERAGE_BACKWARD, ONE
    job.x, job.y = address(y, True), address(x)
    run(&job, y, window, n_threads)


def upsample_gradient(dy, dx, window, int n_threads):
    """dx: the sum of each window of dy."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    job.direction, job.divisor = AVERAGE_FORWARD, ONE
    job.x, job.y = address(dy), address(dx, True)
    run(&job, dy, window, n_threads)
