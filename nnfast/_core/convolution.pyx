"""Convolution as all frameworks have it (cross-correlation), 1-D and 2-D, with groups; depthwise channel by channel.

    y[n, i, j, k] = act(b[k] + sum_{r, s, c} x[n, i * stride - pad + r * dilation, (likewise j), c] w[r, s, c, k])

Layout: x [N][H][W][C], w [R][S][C / groups][K], packed like a dense kernel of R * S * C / groups rows (a matrix for each
group; depthwise: one of R * S rows), y [N][OH][OW][K].

    forward   a sum over taps (correlation.pyx), bias and relu in the tile; a max-pooling layer that follows takes its
              windows from a band of rows in scratch memory: what lies between is never stored
    backward  dz = dy * act'(y), through the pooling if there is one; sums of dz over a sample's pixels for db;
              dx = a sum over taps for each phase of the stride, with the kernel flipped
    gradient  dw[r, s] = sum over pixels of x' dz, a product for each tap over the whole batch (kernel_gradient.pyx)

Kernels of several taps and many channels go by winograd.pyx in all three, few output channels by planar.pyx; calls outside
a plan are in convolution_call.pyx, the transposed convolution in convolution_transpose.pyx.
"""
from libc.string cimport memcpy, memset

from nnfast._core.activation cimport apply, apply_backward
from nnfast._core.correlation cimport Correlation, correlate, prepare
from nnfast._core.kernel_gradient cimport gradient_scratch, kernel_gradient
from nnfast._core.kernel_segments cimport add_segments, segment_scratch, segments_of_batch, sum_segments
from nnfast._core.gemm cimport packed_size, panel_width, panels, round_up
from nnfast._core.kernels cimport NN_RELU, nn_kernels, nn_window
from nnfast._core.memory cimport aligned, allocate, release
from nnfast._core.node cimport CHUNK_BYTES, Context, Node, Tile, Value
from nnfast._core.window cimport Window
from nnfast._core cimport winograd

cdef enum:
    POOL_BYTES = 131072     # of rows that wait for their pooling, in L2
    SAMPLE_BYTES = 262144


# ---------------------------------------------------------------- shape

cdef void describe(Convolution *c, const nn_kernels *k, const Window *window, Py_ssize_t C, Py_ssize_t K,
                   Py_ssize_t groups, int team, Py_ssize_t samples) noexcept:
    """team: threads that share the work. samples: of the only call that there will be, or 0 in a plan, where a sample's
    bits do not depend on their number."""
    cdef Window *w = &c.window
    cdef Correlation x
    cdef Py_ssize_t phase
    c.k = k
    c.window = window[0]
    c.C = C
    c.K = K
    c.groups = groups
    c.team = team
    c.skips_zeros = samples == 0
    c.depthwise = groups == C and groups > 1
    c.rows = w.R * w.S * (1 if c.depthwise else C // groups)
    c.matrices = 1 if c.depthwise else groups
    c.pooled = False
    c.flipped = c.transformed = c.transformed_flipped = NULL
    if (w.R == w.S == w.stride_h == w.stride_w == 1 and w.pad_top == w.pad_left == w.pad_bottom == w.pad_right == 0):
        # A pixel by itself: all of a sample's are one row.
        w.W *= w.H
        w.H = 1
        w.OW *= w.OH
        w.OH = 1
    forward_shape(c, &x)
    winograd.choose_tile(&x, samples)
    c.tile_h, c.tile_w = x.tile_h, x.tile_w
    forward_sum(c, &x)
    c.scratch = x.scratch
    for phase in range(phases(w)):
        if phase < TILED_PHASES:
            backward_shape(c, phase, &x)
            winograd.choose_tile(&x, samples)
            c.dx_tile[phase] = x.tile_w
        backward_sum(c, phase, &x)
        c.scratch = max(c.scratch, x.scratch)
    c.scratch = max(c.scratch, max(gradient_scratch(c), segment_scratch(c)))
    if multiplies(c):       # a sample's dx for every channel of dz
        c.scratch = aligned(c.scratch) + w.H * w.W * K * k.real_size


cdef bint multiplies(const Convolution *c) noexcept nogil:
    """A depthwise convolution that makes several channels of one."""
    return c.depthwise and c.K != c.C


cdef void fuse_pool(Convolution *c, const Window *pool) noexcept:
    """Windows that lie side by side, without padding."""
    c.pooled = True
    c.pool = pool[0]
    c.scratch = aligned(c.scratch) + aligned(pool_rows(c) * c.window.OW * c.K * c.k.real_size)


cdef Py_ssize_t pool_rows(const Convolution *c) noexcept nogil:
    """Rows of the convolution that are pooled together."""
    cdef Py_ssize_t windows = POOL_BYTES // (c.pool.R * c.window.OW * c.K * c.k.real_size)
    return round_up(max(1, min(windows, c.pool.OH)), pool_unit(c)) * c.pool.R


cdef void forward_sum(const Convolution *c, Correlation *x) noexcept nogil:
    """The convolution as a sum over taps; arrays are the caller's to fill in."""
    forward_shape(c, x)
    winograd.set_tile(x, c.tile_w)
    x.u = c.transformed
    x.skips_zeros = c.skips_zeros
    prepare(x)


cdef void forward_shape(const Convolution *c, Correlation *x) noexcept nogil:
    cdef const Window *w = &c.window
    memset(x, 0, sizeof(Correlation))
    x.k = c.k
    x.C = c.C
    x.K = c.K
    x.groups = c.groups if not c.depthwise else 1
    x.depthwise = c.depthwise
    x.repeat = c.K // c.C if c.depthwise else 1
    x.H, x.W, x.OH, x.OW = w.H, w.W, w.OH, w.OW
    x.step_h, x.step_w = w.stride_h, w.stride_w
    x.first_h, x.first_w = -w.pad_top, -w.pad_left
    x.spacing_h, x.spacing_w = w.dilation_h, w.dilation_w
    x.taps_h, x.taps_w = w.R, w.S
    x.y_pixel = c.K
    x.y_row = w.OW * c.K


# Pixels of dx at one offset of the stride, a phase, meet dz through the same taps. Only phases that have any are visited:
# they are named by their first tap, so their number is bounded by the kernel's size, not by the stride.

cdef Py_ssize_t period(Py_ssize_t stride, Py_ssize_t dilation) noexcept nogil:
    """Taps that are this far apart belong to one phase."""
    cdef Py_ssize_t a = stride, b = dilation
    while b:
        a, b = b, a % b
    return stride // a


cdef inline Py_ssize_t phases_across(const Window *w) noexcept nogil:
    return min(w.S, period(w.stride_w, w.dilation_w))


cdef Py_ssize_t phases(const Window *w) noexcept nogil:
    return min(w.R, period(w.stride_h, w.dilation_h)) * phases_across(w)


cdef inline Py_ssize_t offset_of(Py_ssize_t tap, Py_ssize_t dilation, Py_ssize_t pad, Py_ssize_t stride) noexcept nogil:
    """The offset at which a tap belongs to the pixels of dx."""
    cdef Py_ssize_t offset = (tap * dilation - pad) % stride
    return offset if offset >= 0 else offset + stride


cdef Py_ssize_t row_offset(const Window *w, Py_ssize_t phase) noexcept nogil:
    return offset_of(phase // phases_across(w), w.dilation_h, w.pad_top, w.stride_h)


cdef Py_ssize_t column_offset(const Window *w, Py_ssize_t phase) noexcept nogil:
    return offset_of(phase % phases_across(w), w.dilation_w, w.pad_left, w.stride_w)


cdef bint leaves_pixels_out(const Convolution *c) noexcept nogil:
    """Some offsets of the stride have no tap: pixels of dx that no phase reaches."""
    cdef const Window *w = &c.window
    return phases(w) < w.stride_h * w.stride_w


cdef struct Taps:       # of one phase, along one axis: first, first - step, ...
    Py_ssize_t count
    Py_ssize_t first
    Py_ssize_t step
    # They meet row i of the phase in rows i + first_output, i + first_output + spacing, ... of dz.
    Py_ssize_t first_output
    Py_ssize_t spacing


cdef Taps taps_of(Py_ssize_t phase, Py_ssize_t stride, Py_ssize_t pad, Py_ssize_t dilation, Py_ssize_t taps) noexcept nogil:
    cdef Taps t
    t.step = period(stride, dilation)
    t.count = (taps - 1 - phase) // t.step + 1
    t.first = phase + (t.count - 1) * t.step
    t.first_output = (offset_of(phase, dilation, pad, stride) + pad - t.first * dilation) // stride   # without remainder
    t.spacing = t.step * dilation // stride if t.count > 1 else 1
    return t


cdef Taps taps_down(const Window *w, Py_ssize_t phase) noexcept nogil:
    return taps_of(phase // phases_across(w), w.stride_h, w.pad_top, w.dilation_h, w.R)


cdef Taps taps_across(const Window *w, Py_ssize_t phase) noexcept nogil:
    return taps_of(phase % phases_across(w), w.stride_w, w.pad_left, w.dilation_w, w.S)


cdef void backward_sum(const Convolution *c, Py_ssize_t phase, Correlation *x) noexcept nogil:
    """The input gradient at one phase of the stride as a sum over taps of dz. For a depthwise multiplier the result is
    for every channel of dz; its `repeat` neighbours are added afterwards."""
    backward_shape(c, phase, x)
    winograd.set_tile(x, c.dx_tile[phase] if phase < TILED_PHASES else 0)
    x.skips_zeros = c.skips_zeros
    prepare(x)


cdef void backward_shape(const Convolution *c, Py_ssize_t phase, Correlation *x) noexcept nogil:
    cdef const Window *w = &c.window
    cdef Taps down = taps_down(w, phase), across = taps_across(w, phase)
    memset(x, 0, sizeof(Correlation))
    x.k = c.k
    x.C = c.K
    x.K = c.K if c.depthwise else c.C
    x.groups = c.groups if not c.depthwise else 1
    x.depthwise = c.depthwise
    x.repeat = 1
    x.H, x.W = w.OH, w.OW
    x.OH = (w.H - row_offset(w, phase) + w.stride_h - 1) // w.stride_h
    x.OW = (w.W - column_offset(w, phase) + w.stride_w - 1) // w.stride_w
    x.step_h = x.step_w = 1
    x.taps_h, x.first_h, x.spacing_h = down.count, down.first_output, down.spacing
    x.taps_w, x.first_w, x.spacing_w = across.count, across.first_output, across.spacing
    x.y_pixel = w.stride_w * x.K
    x.y_row = w.stride_h * w.W * x.K


# ---------------------------------------------------------------- the flipped kernel

cdef Py_ssize_t transformed_bytes(const Correlation *x) noexcept nogil:
    return winograd.transformed_size(x) * x.k.real_size if x.tile_w > 0 else 0


cdef inline Py_ssize_t flipped_bytes(const Correlation *x) noexcept nogil:
    """Of the kernel of one phase of the input gradient."""
    if x.depthwise:
        return packed_size(x.k, x.taps_h * x.taps_w, x.K) * x.k.real_size
    return x.groups * packed_size(x.k, x.taps_h * x.taps_w * (x.C // x.groups), x.K // x.groups) * x.k.real_size


ctypedef Py_ssize_t (*bytes_function)(const Correlation *x) noexcept nogil


cdef Py_ssize_t of_all_phases(const Convolution *c, bytes_function bytes_of) noexcept nogil:
    cdef Py_ssize_t phase, total = 0
    cdef Correlation x
    for phase in range(phases(&c.window)):
        backward_sum(c, phase, &x)
        total += bytes_of(&x)
    return total


cdef Py_ssize_t all_flipped_bytes(const Convolution *c) noexcept nogil:
    return of_all_phases(c, flipped_bytes)


cdef Py_ssize_t transformed_flipped_bytes(const Convolution *c) noexcept nogil:
    return of_all_phases(c, transformed_bytes)


cdef int allocate_kernels(Convolution *c, bint sums, bint gradients) except -1:
    """Room for the forms that a plan's kernel takes besides its own, for the convolution's sums, for its input gradient, or
    for both."""
    cdef Correlation x
    cdef Py_ssize_t flipped = all_flipped_bytes(c) if gradients else 0, transformed
    cdef Py_ssize_t transformed_flipped = transformed_flipped_bytes(c) if gradients else 0
    forward_sum(c, &x)
    transformed = transformed_bytes(&x) if sums else 0
    if gradients:
        c.flipped = allocate(flipped)
    if transformed > 0:
        c.transformed = allocate(transformed)
    if transformed_flipped > 0:
        c.transformed_flipped = allocate(transformed_flipped)
    if ((gradients and c.flipped == NULL) or (transformed > 0 and c.transformed == NULL)
            or (transformed_flipped > 0 and c.transformed_flipped == NULL)):
        raise MemoryError(f"{flipped + transformed + transformed_flipped} bytes for a kernel")
    return 0


cdef void free_kernels(Convolution *c) noexcept:
    cdef Correlation x
    forward_sum(c, &x)
    if c.flipped != NULL:
        release(c.flipped, all_flipped_bytes(c))
    if c.transformed != NULL:
        release(c.transformed, transformed_bytes(&x))
    if c.transformed_flipped != NULL:
        release(c.transformed_flipped, transformed_flipped_bytes(c))


cdef bint flipped_without_winograd(const Convolution *c) noexcept:
    """No phase of the input gradient is winograd.pyx's."""
    return transformed_flipped_bytes(c) == 0


cdef bint takes_chunks(const Node *node) noexcept:
    """Whether a few samples at a time take no longer than all at once: not if each time a large kernel is read again, nor
    by Winograd's blocks of tiles, which go through the samples."""
    cdef const Convolution *c = <const Convolution *>node.extra
    return c.tile_w == 0 and node.kernel.size * c.k.real_size <= CHUNK_BYTES // 2


cdef void flip(const Convolution *c, const char *kernel, bint packed, char *flipped, int part, int team) noexcept nogil:
    """The kernel, packed or as the user's, with taps reversed and channels exchanged, phase after phase; every team-th
    panel of it."""
    cdef const nn_kernels *k = c.k
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = k.real_size, Cg = c.C // c.groups, Kg = c.K // c.groups
    cdef Py_ssize_t phase, g, j, r, s, panel = 0, width, columns, rows, kk, inner, tap, K = c.K
    cdef Taps down, across
    cdef const char *source
    cdef char *to
    for phase in range(phases(w)):
        down = taps_down(w, phase)
        across = taps_across(w, phase)
        if c.depthwise:
            for j in range(panels(k, K)):
                if (panel + j) % team != part:
                    continue
                width = panel_width(k, K, j)
                columns = width if packed else min(K - j * k.nr, width)
                to = flipped + j * k.nr * down.count * across.count * size
                if columns < width:
                    memset(to, 0, down.count * across.count * width * size)
                for r in range(down.count):
                    for s in range(across.count):
                        tap = (down.first - r * down.step) * w.S + across.first - s * across.step
                        source = kernel + (j * k.nr * c.rows + tap * width if packed else tap * K + j * k.nr) * size
                        memcpy(to, source, columns * size)
                        to += width * size
            flipped += packed_size(k, down.count * across.count, K) * size
            panel += panels(k, K)
            continue
        rows = down.count * across.count * Kg
        for g in range(c.groups):
            source = kernel + g * (packed_size(k, c.rows, Kg) if packed else Kg) * size
            for j in range(panels(k, Cg)):
                if (panel + j) % team != part:
                    continue
                width = panel_width(k, Cg, j)
                columns = min(Cg - j * k.nr, width)
                to = flipped + j * k.nr * rows * size
                if columns < width:
                    memset(to, 0, rows * width * size)
                for r in range(down.count):
                    for s in range(across.count):
                        tap = (down.first - r * down.step) * w.S + across.first - s * across.step
                        if not packed:
                            k.transpose(columns, Kg, source + (tap * Cg + j * k.nr) * K * size, K, to, width)
                        kk = 0
                        while packed and kk < Kg:
                            inner = panel_width(k, Kg, kk // k.nr)
                            k.transpose(columns, min(inner, Kg - kk),
                                        source + (kk * c.rows + (tap * Cg + j * k.nr) * inner) * size, inner,
                                        to + kk * width * size, width)
                            kk += inner
                        to += Kg * width * size
            flipped += packed_size(k, rows, Cg) * size
            panel += panels(k, Cg)


cdef void prepare_kernel(const Node *node, const Context *ctx, bint gradient, int part, int team) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef Correlation x
    if c.tile_w > 0:
        forward_sum(c, &x)
        winograd.transform_kernel(&x, node.kernel.w, c.transformed, part, team)
    if gradient and node.inputs[0].dy != NULL:
        flip(c, node.kernel.w, True, c.flipped, part, team)
        transform_flipped(c, part, team)


cdef void transform_flipped(const Convolution *c, int part, int team) noexcept nogil:
    """The panels that this thread has flipped."""
    cdef const char *flipped = c.flipped
    cdef char *u = c.transformed_flipped
    cdef Py_ssize_t phase, before
    cdef Correlation x
    for phase in range(phases(&c.window) if u != NULL else 0):
        backward_sum(c, phase, &x)
        before = phase * panels(c.k, x.K)
        if x.tile_w > 0:
            winograd.transform_kernel(&x, flipped, u, (part + team - before % team) % team, team)
        flipped += flipped_bytes(&x)
        u += transformed_bytes(&x)


# ---------------------------------------------------------------- forward

cdef void sum_of_node(const Node *node, Correlation *x) noexcept nogil:
    """The sum over taps from sample 0 on, without the activation unless the tile does it."""
    cdef const Value *out = node.output
    forward_sum(<const Convolution *>node.extra, x)
    x.x, x.x_sample = node.inputs[0].y, node.inputs[0].ld
    x.y, x.y_sample = out.y if out.z == NULL else out.z, out.ld
    x.w = node.kernel.w
    x.bias = NULL if node.bias == NULL else node.bias.w
    x.relu = node.activation == NN_RELU


cdef void forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef Correlation x
    sum_of_node(node, &x)
    if c.pooled:
        forward_pooled(node, &x, ctx.scratch, lo * pool_units(c), hi * pool_units(c))
        return
    correlate(&x, lo * x.per_sample, hi * x.per_sample, ctx.scratch)
    if node.activation != NN_RELU:
        apply(node, ctx, lo, hi)


cdef void team_forward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """Rows of pixels are shared, not samples."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef Py_ssize_t units
    cdef Correlation x
    sum_of_node(node, &x)
    units = ctx.batch * (pool_units(c) if c.pooled else x.per_sample)
    if c.pooled:
        forward_pooled(node, &x, ctx.scratch, units * part // team, units * (part + 1) // team)
    else:
        correlate(&x, units * part // team, units * (part + 1) // team, ctx.scratch)


cdef void after_team_forward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    if node.activation != NN_RELU and not (<const Convolution *>node.extra).pooled:
        apply(node, ctx, lo, hi)


cdef Py_ssize_t pool_unit(const Convolution *c) noexcept nogil:
    """Rows of windows that threads share out: their pixels are whole rows of tiles."""
    cdef Py_ssize_t windows = 1
    while c.tile_w > 0 and windows * c.pool.R % c.tile_h != 0:
        windows += 1
    return windows


cdef Py_ssize_t pool_units(const Convolution *c) noexcept nogil:
    """Units (pool_unit) of a sample."""
    cdef Py_ssize_t windows = pool_unit(c)
    return (c.pool.OH + windows - 1) // windows


cdef void forward_pooled(const Node *node, Correlation *x, char *scratch, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Units lo..hi: a band of rows in scratch memory, then its windows' maxima."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const nn_kernels *k = c.k
    cdef const Value *out = node.output
    cdef Py_ssize_t size = k.real_size, most = pool_rows(c), each = pool_units(c), unit = pool_unit(c) * c.pool.R
    cdef Py_ssize_t b, i, end, rows, j, at, first
    cdef Py_ssize_t band = most * c.window.OW * c.K * size
    cdef char *pixels = scratch
    cdef nn_window w
    pool_window(c, &w)
    scratch += aligned(band)
    for b in range(lo // each, (hi + each - 1) // each):
        i = max(0, lo - b * each) * unit
        end = min(c.pool.OH * c.pool.R, (hi - b * each) * unit)
        while i < end:
            rows = min(most, end - i)
            # The rows' places in an output that begins `i` rows before the band.
            x.y = pixels - (i * x.y_row + b * x.y_sample) * size
            first = b * x.per_sample
            if x.tile_w > 0:
                correlate(x, first + i // x.tile_h * x.segments, first + winograd.tiles(x.tile_h, i + rows) * x.segments,
                          scratch)
            else:
                correlate(x, first + i * x.segments, first + (i + rows) * x.segments, scratch)
            if node.activation != NN_RELU and node.activation != 0:
                k.activation[node.activation](rows * c.window.OW * c.K, pixels, pixels, node.alpha)
            for j in range(rows // c.pool.R):
                at = (b * out.ld + (i // c.pool.R + j) * c.pool.OW * c.K) * size
                k.max_pool(&w, c.pool.OW, pixels + j * c.pool.R * x.y_row * size, out.y + at,
                           NULL if c.code == NULL else c.code + at)
            i += rows


cdef void pool_window(const Convolution *c, nn_window *w) noexcept nogil:
    w.rows, w.columns = c.pool.R, c.pool.S
    w.row_pitch, w.column_pitch = c.window.OW * c.K, c.K
    w.step = c.pool.S * c.K
    w.channels = c.K
    w.accumulate = False


# ---------------------------------------------------------------- backward

cdef void before_input_gradient(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """dz, its sums for db, and zeros where no tap adds to dx."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = c.k.real_size, ld
    cdef const char *dz
    apply_backward(node, ctx, lo, hi)
    if c.pooled:
        unpool(node, lo, hi)
    gradient_before_pool(node, &dz, &ld)
    if node.bias != NULL and node.bias.trainable:
        sum_pixels(c.k, w.OH * w.OW, c.K, dz, ld, lo, hi, c.bias_sums)
    if in_.dy != NULL and not multiplies(c) and not node.adds[0]:
        fill_gaps(c, NULL, False, in_.dy + lo * in_.ld * size, in_.ld, hi - lo)


cdef void sum_pixels(const nn_kernels *k, Py_ssize_t pixels, Py_ssize_t channels, const char *dz, Py_ssize_t ld, Py_ssize_t lo,
                     Py_ssize_t hi, char *sums) noexcept nogil:
    """The sums over pixels of samples lo..hi, each a row of whole vectors of `sums`."""
    cdef Py_ssize_t b
    for b in range(lo, hi):
        k.column_sum(pixels, channels, dz + b * ld * k.real_size, channels,
                     sums + b * round_up(channels, k.vl) * k.real_size)


cdef void team_backward(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    """Rows of pixels are shared, not samples."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef Py_ssize_t ld
    cdef const char *dz
    if in_.dy != NULL:
        gradient_before_pool(node, &dz, &ld)
        input_gradient(c, dz, ld, c.flipped, NULL, False, in_.dy, in_.ld, ctx.batch, node.adds[0], part, team, ctx.scratch)


cdef void backward(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef Py_ssize_t size = c.k.real_size, ld
    cdef const char *dz
    before_input_gradient(node, ctx, lo, hi)
    if in_.dy == NULL:
        return
    if multiplies(c):
        multiplied_gradient(node, ctx, lo, hi)
        return
    gradient_before_pool(node, &dz, &ld)
    input_gradient(c, dz + lo * ld * size, ld, c.flipped, NULL, False, in_.dy + lo * in_.ld * size, in_.ld, hi - lo,
                   node.adds[0], 0, 1, ctx.scratch)


cdef void multiplied_gradient(const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """dx of a depthwise multiplier: for every channel of dz in scratch memory, then their sums."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *in_ = node.inputs[0]
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = c.k.real_size, b, ld
    cdef const char *dz
    cdef char *wide
    gradient_before_pool(node, &dz, &ld)
    wide = ctx.scratch + c.scratch - w.H * w.W * c.K * size
    for b in range(lo, hi):
        fill_gaps(c, NULL, False, wide, 0, 1)       # the last sample's sums are where these begin
        input_gradient(c, dz + b * ld * size, ld, c.flipped, NULL, False, wide, 0, 1, False, 0, 1, ctx.scratch)
        add_neighbours(c.k, wide, w.H * w.W * c.C, c.K // c.C, node.adds[0], in_.dy + b * in_.ld * size)


cdef void gradient_before_pool(const Node *node, const char **dz, Py_ssize_t *ld) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    dz[0] = c.dz if c.pooled else node.output.dy
    ld[0] = c.dz_sample if c.pooled else node.output.ld


cdef void unpool(const Node *node, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """The pooled gradient to the pixels that it came from; zero elsewhere."""
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *out = node.output
    cdef Py_ssize_t size = c.k.real_size, b, i, at
    cdef bint covered = c.pool.OW * c.pool.S == c.window.OW and c.pool.OH * c.pool.R == c.window.OH
    cdef nn_window w
    cdef char *dz
    pool_window(c, &w)
    for b in range(lo, hi):
        dz = c.dz + b * c.dz_sample * size
        if not covered:
            memset(dz, 0, c.window.OH * c.window.OW * c.K * size)
        for i in range(c.pool.OH):
            at = (b * out.ld + i * c.pool.OW * c.K) * size
            c.k.max_pool_backward(&w, c.pool.OW, out.dy + at, c.code + at, dz + i * c.pool.R * w.row_pitch * size)


cdef void fill_gaps(const Convolution *c, const char *bias, bint relu, char *dx, Py_ssize_t ld, Py_ssize_t samples) noexcept nogil:
    """dx of some samples, before `input_gradient`, where no tap adds to it: zeros, or what a transposed convolution makes
    of its bias alone."""
    cdef Py_ssize_t pixels = c.window.H * c.window.W, channels = c.K if c.depthwise else c.C, b
    for b in range(samples if leaves_pixels_out(c) else 0):
        if bias == NULL:
            memset(dx, 0, pixels * channels * c.k.real_size)
        else:
            c.k.copy(pixels, channels, bias, 0, dx, channels)
        if relu:
            c.k.activation[NN_RELU](pixels * channels, dx, dx, 0)
        dx += ld * c.k.real_size


cdef void input_gradient(const Convolution *c, const char *dz, Py_ssize_t ld, const char *flipped, const char *bias, bint relu,
                         char *dx, Py_ssize_t dx_ld, Py_ssize_t samples, bint accumulate, int part, int team,
                         char *scratch) noexcept nogil:
    """dx of some samples, where there are taps; a team's part of the rows of each phase. bias and relu are for a transposed
    convolution, whose y this is."""
    cdef const Window *w = &c.window
    cdef Py_ssize_t size = c.k.real_size, phase, b = 0, together = samples, units, lo, hi
    cdef const char *taps
    cdef const char *u
    cdef Correlation x
    if phases(w) > 1 and c.transformed_flipped == NULL:     # which read the same samples: as many as stay in L2
        together = max(1, <Py_ssize_t>SAMPLE_BYTES // ((w.OH * w.OW * c.K + w.H * w.W * c.C) * size))
    while b < samples:
        taps = flipped
        u = c.transformed_flipped
        for phase in range(phases(w)):
            backward_sum(c, phase, &x)
            x.x = dz
            x.x_sample = ld
            x.y = dx + (row_offset(w, phase) * w.W + column_offset(w, phase)) * x.K * size
            x.y_sample = dx_ld
            x.w = taps
            x.u = u
            x.bias = bias
            x.accumulate, x.relu = accumulate, relu
            units = samples * x.per_sample
            lo = max(units * part // team, b * x.per_sample)
            hi = min(units * (part + 1) // team, (b + together) * x.per_sample)
            if lo < hi:
                correlate(&x, lo, hi, scratch)
            taps += flipped_bytes(&x)
            u += transformed_bytes(&x)
        b += together


cdef void add_neighbours(const nn_kernels *k, char *x, Py_ssize_t n, Py_ssize_t count, bint accumulate,
                         char *y) noexcept nogil:
    """y[i] (+)= the sum of x[i * count ..]: a row of windows of one pixel with one channel."""
    cdef nn_window w
    w.rows, w.columns = 1, count
    w.row_pitch, w.column_pitch = 0, 1
    w.step = count
    w.channels = 1
    k.sum_pool(&w, n, x, 1, x if accumulate else y)     # in place: the sums trail behind what they are made of
    if accumulate:
        k.add(n, x, y, y)


# ---------------------------------------------------------------- the parameters' gradients

cdef Py_ssize_t segments(const Node *node, Py_ssize_t batch) noexcept nogil:
    return segments_of_batch(<const Convolution *>node.extra, batch)


cdef void segment_gradients(const Node *node, const Context *ctx, int part, int team) noexcept nogil:
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t ld
    cdef const char *dz
    gradient_before_pool(node, &dz, &ld)
    sum_segments(<const Convolution *>node.extra, x.y, x.ld, dz, ld, ctx.batch, part, team, ctx.gradient, ctx.scratch)


cdef void gradient(const Node *node, const Context *ctx, const Tile *tile, char *to) noexcept nogil:
    cdef const Convolution *c = <const Convolution *>node.extra
    cdef const Value *x = node.inputs[0]
    cdef Py_ssize_t ld, n_segments
    cdef const char *dz
    if tile.parameter == node.bias:
        c.k.column_sum(ctx.batch, tile.rows, c.bias_sums + tile.lo * c.k.real_size, round_up(c.K, c.k.vl), to)
        return
    n_segments = segments(node, ctx.batch) if node.segments != NULL else 1
    if n_segments > 1:
        add_segments(c, n_segments, tile, to)
        return
    gradient_before_pool(node, &dz, &ld)
    kernel_gradient(c, x.y, x.ld, dz, ld, ctx.batch, tile.panel, tile.n_panels, tile.lo, tile.hi, to, ctx.scratch)
