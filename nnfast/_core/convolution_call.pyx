"""Convolution outside a plan, for nnfast.functional, which has checked: the kernel is brought into its forms in each call.

x [N][H][W][C], w [R][S][C / groups][K], y [N][OH][OW][K].
"""
from cython.parallel cimport parallel, threadid
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.convolution cimport (
    Convolution, add_neighbours, all_flipped_bytes, describe, fill_gaps, flip, forward_sum, input_gradient, multiplies,
    sum_pixels, transform_flipped, transformed_bytes, transformed_flipped_bytes,
)
from nnfast._core.correlation cimport Correlation, correlate
from nnfast._core.gemm cimport pack, packed_size, panels, round_up
from nnfast._core.kernel_gradient cimport tile_room
from nnfast._core.kernel_segments cimport KernelGradient, partial_size, segments_of, store_share, sum_share
from nnfast._core.kernels cimport kernels_of, nn_kernels
from nnfast._core.memory cimport Memory, address, aligned, borrow, give_back
from nnfast._core.threads cimport (
    nn_barrier, nn_barrier_wait, nn_flush_subnormals, nn_restore_subnormals, nn_team_size,
)
from nnfast._core.window cimport Window, read_window
from nnfast._core cimport winograd

from nnfast._core.elementwise import activation_forward, softmax_forward

cdef double WORK_PER_THREAD = 4e5


cdef void pack_kernel(const Convolution *c, const char *w, char *packed, int part, int team) noexcept nogil:
    """[R][S][C / groups][K] as a packed matrix for each group; every team-th panel of them all."""
    cdef Py_ssize_t size = c.k.real_size, Kg = c.K // c.matrices, before = 0, g
    for g in range(c.matrices):
        pack(c.k, c.rows, Kg, c.K, w + g * Kg * size, packed + g * packed_size(c.k, c.rows, Kg) * size,
             (part + team - before % team) % team, team)
        before += panels(c.k, Kg)


cdef int team_for(double work, int n_threads) noexcept:
    if work < n_threads * WORK_PER_THREAD:
        n_threads = max(1, <int>(work / WORK_PER_THREAD))
    return n_threads


cdef int activate(out, activation, double alpha, int n_threads) except -1:
    """What the tiles have not done."""
    if activation == "softmax":
        softmax_forward(out, out, out.shape[3], n_threads)
    elif activation not in ("linear", "relu"):
        activation_forward(activation, out, out, alpha, n_threads)
    return 0


cdef struct Forward:        # what the threads of conv_forward share
    Convolution *c
    Correlation *sum
    const char *w
    char *packed
    Py_ssize_t samples
    nn_barrier barrier


cdef void forward_share(Forward *job, int part, int team, char *scratch) noexcept nogil:
    cdef uint64_t mode = nn_flush_subnormals()
    cdef Py_ssize_t units = job.samples * job.sum.per_sample
    pack_kernel(job.c, job.w, job.packed, part, team)
    if job.sum.tile_w > 0:    # of the panels that this thread has packed
        winograd.transform_kernel(job.sum, job.packed, job.c.transformed, part, team)
    nn_barrier_wait(&job.barrier, team)
    correlate(job.sum, units * part // team, units * (part + 1) // team, scratch)
    nn_restore_subnormals(mode)


def conv_forward(x, w, b, window, Py_ssize_t groups, activation, double alpha, out, int n_threads):
    """out = act(conv(x, w) + b)."""
    cdef Convolution c
    cdef Correlation sum
    cdef Forward job
    cdef Window geometry
    cdef const nn_kernels *k = kernels_of(x.itemsize)
    cdef Py_ssize_t size = k.real_size, samples = x.shape[0], bias_size, packed, transformed, each
    cdef Memory memory
    cdef char *scratch
    read_window(&geometry, window)
    describe(&c, k, &geometry, x.shape[3], w.shape[3], groups, n_threads, samples)
    forward_sum(&c, &sum)
    n_threads = team_for(<double>samples * geometry.OH * geometry.OW * c.rows * c.K, n_threads)
    bias_size = aligned((round_up(c.K, k.vl) + k.nr) * size)
    packed = aligned(c.matrices * packed_size(k, c.rows, c.K // c.matrices) * size)
    transformed = aligned(transformed_bytes(&sum))
    each = aligned(c.scratch)
    borrow(&memory, bias_size + packed + transformed + n_threads * each)
    if b is not None:       # tiles read whole vectors of it, and store none of what comes of the rest
        memcpy(memory.at, address(b), c.K * size)
        sum.bias = memory.at
    memset(&job, 0, sizeof(Forward))
    job.c = &c
    job.sum = &sum
    job.w = address(w)
    job.packed = memory.at + bias_size
    job.samples = samples
    sum.x = address(x)
    sum.x_sample = geometry.H * geometry.W * c.C
    sum.y = address(out, True)
    sum.y_sample = geometry.OH * geometry.OW * c.K
    sum.w = job.packed
    sum.relu = activation == "relu"
    sum.u = c.transformed = job.packed + packed
    scratch = c.transformed + transformed
    with nogil:
        if n_threads == 1:
            forward_share(&job, 0, 1, scratch)
        else:
            with parallel(num_threads=n_threads):
                forward_share(&job, threadid(), nn_team_size(), scratch + threadid() * each)
    give_back(&memory)
    activate(out, activation, alpha, n_threads)


cdef struct Backward:       # what the threads of conv_backward share, and of a transposed convolution, whose x is dy
    Convolution *c
    const char *w
    const char *dy
    char *dx
    const char *bias        # of the transposed convolution, or NULL
    bint relu
    char *sums              # [N][K padded]
    Py_ssize_t samples, y_sample
    KernelGradient kernel   # without dw where it is not wanted
    nn_barrier barrier


cdef void backward_share(Backward *job, int part, int team, char *scratch) noexcept nogil:
    cdef Convolution *c = job.c
    cdef const Window *w = &c.window
    cdef Py_ssize_t lo = job.samples * part // team, hi = job.samples * (part + 1) // team
    cdef Py_ssize_t dx_sample = w.H * w.W * (c.K if c.depthwise else c.C)
    cdef uint64_t mode = nn_flush_subnormals()
    if job.dx != NULL:
        fill_gaps(c, job.bias, job.relu, job.dx + lo * dx_sample * c.k.real_size, dx_sample, hi - lo)
        flip(c, job.w, False, c.flipped, part, team)
        transform_flipped(c, part, team)
        nn_barrier_wait(&job.barrier, team)
    if job.sums != NULL:
        sum_pixels(c.k, w.OH * w.OW, c.K, job.dy, job.y_sample, lo, hi, job.sums)
    if job.kernel.dw != NULL:
        sum_share(&job.kernel, part, team, scratch)
        if job.kernel.segments > 1:
            nn_barrier_wait(&job.barrier, team)
            store_share(&job.kernel, part, team, scratch)
    if job.dx != NULL:
        input_gradient(c, job.dy, job.y_sample, c.flipped, job.bias, job.relu, job.dx, dx_sample, job.samples, False, part, team,
                       scratch)
    nn_restore_subnormals(mode)


cdef void run_backward(Backward *job, int n_threads, char *scratch, Py_ssize_t each) noexcept nogil:
    """each: bytes of scratch for a thread."""
    if n_threads == 1:
        backward_share(job, 0, 1, scratch)
    else:
        with parallel(num_threads=n_threads):
            backward_share(job, threadid(), nn_team_size(), scratch + threadid() * each)


def conv_backward(x, w, dy, dx, dw, db, window, Py_ssize_t groups, int n_threads):
    """dx, dw, db of y = conv(x, w) + b given dy; None where one is not wanted."""
    cdef Convolution c
    cdef Window geometry
    cdef const nn_kernels *k = kernels_of(x.itemsize)
    cdef Py_ssize_t size = k.real_size, samples = x.shape[0], flipped, each, sums, wide = 0
    cdef Py_ssize_t transformed = 0, partial = 0, segments
    cdef Memory memory
    cdef char *after
    cdef char *scratch
    cdef char *dx_at = NULL
    cdef char *db_at = NULL
    cdef uint64_t mode
    cdef Backward job
    read_window(&geometry, window)
    describe(&c, k, &geometry, x.shape[3], w.shape[3], groups, 1, samples)
    segments = segments_of(&c, samples)
    if segments == 1:   # tiles are cut for the threads
        describe(&c, k, &geometry, x.shape[3], w.shape[3], groups, n_threads, samples)
    n_threads = team_for(2.0 * samples * geometry.OH * geometry.OW * c.rows * c.K, n_threads)
    flipped = aligned(all_flipped_bytes(&c)) if dx is not None else 0
    sums = aligned(samples * round_up(c.K, k.vl) * size) if db is not None else 0
    # A depthwise multiplier's dx, before its neighbours are added.
    if dx is not None and multiplies(&c):
        wide = aligned(samples * geometry.H * geometry.W * c.K * size)
    each = aligned(c.scratch) + aligned(tile_room(&c) * size)
    if dx is not None:
        transformed = aligned(transformed_flipped_bytes(&c))
    if dw is not None:
        partial = aligned(partial_size(&c, segments))
    borrow(&memory, flipped + transformed + sums + wide + partial + n_threads * each)
    memset(&job, 0, sizeof(Backward))
    job.c = &c
    job.samples = samples
    job.dy = address(dy)
    job.y_sample = geometry.OH * geometry.OW * c.K
    job.kernel.c = &c
    job.kernel.x, job.kernel.dy = address(x), job.dy
    job.kernel.x_sample, job.kernel.y_sample = geometry.H * geometry.W * c.C, job.y_sample
    job.kernel.samples, job.kernel.segments = samples, segments
    if transformed > 0:
        c.transformed_flipped = memory.at + flipped
    after = memory.at + flipped + transformed       # what the kernels need not
    job.kernel.partial = after + sums + wide
    scratch = job.kernel.partial + partial
    if dx is not None:
        c.flipped = memory.at
        job.w = address(w)
        dx_at = address(dx, True)
        job.dx = after + sums if wide else dx_at
    if dw is not None:
        job.kernel.dw = address(dw, True)
    if db is not None:
        db_at = address(db, True)
        job.sums = after
    with nogil:
        run_backward(&job, n_threads, scratch, each)
        mode = nn_flush_subnormals()
        if wide:
            add_neighbours(k, job.dx, samples * geometry.H * geometry.W * c.C, c.K // c.C, False, dx_at)
        if db_at != NULL:
            k.column_sum(samples, c.K, job.sums, round_up(c.K, k.vl), db_at)
        nn_restore_subnormals(mode)
    give_back(&memory)


def conv_transpose_forward(x, w, b, window, activation, double alpha, out, int n_threads):
    """out = act(conv_transpose(x, w) + b): the input gradient of the convolution that makes x's pixels of out's."""
    cdef Convolution c
    cdef Window geometry
    cdef const nn_kernels *k = kernels_of(x.itemsize)
    cdef Py_ssize_t size = k.real_size, samples = x.shape[0], flipped, transformed, each, bias_size
    cdef Memory memory
    cdef char *scratch
    cdef Backward job
    read_window(&geometry, window)
    describe(&c, k, &geometry, w.shape[2], w.shape[3], 1, n_threads, samples)
    n_threads = team_for(<double>samples * geometry.OH * geometry.OW * c.rows * c.K, n_threads)
    bias_size = aligned((round_up(c.C, k.vl) + k.nr) * size)
    flipped = aligned(all_flipped_bytes(&c))
    transformed = aligned(transformed_flipped_bytes(&c))
    each = aligned(c.scratch)
    borrow(&memory, bias_size + flipped + transformed + n_threads * each)
    memset(&job, 0, sizeof(Backward))
    if b is not None:       # tiles read whole vectors of it
        memcpy(memory.at, address(b), c.C * size)
        job.bias = memory.at
    job.c = &c
    job.w = address(w)
    job.dy = address(x)
    job.dx = address(out, True)
    job.samples, job.y_sample = samples, geometry.OH * geometry.OW * c.K
    job.relu = activation == "relu"
    c.flipped = memory.at + bias_size
    if transformed > 0:
        c.transformed_flipped = c.flipped + flipped
    scratch = c.flipped + flipped + transformed
    with nogil:
        run_backward(&job, n_threads, scratch, each)
    give_back(&memory)
    activate(out, activation, alpha, n_threads)


cdef void sum_part(const nn_kernels *k, Py_ssize_t samples, Py_ssize_t pixels, Py_ssize_t channels, const char *dy, char *sums,
                   int part, int team) noexcept nogil:
    cdef uint64_t mode = nn_flush_subnormals()
    sum_pixels(k, pixels, channels, dy, pixels * channels, samples * part // team, samples * (part + 1) // team, sums)
    nn_restore_subnormals(mode)


def sum_over_pixels(dy, db, int n_threads):
    """db: the sum of dy [N][H][W][C] over samples and pixels."""
    cdef const nn_kernels *k = kernels_of(dy.itemsize)
    cdef Py_ssize_t samples = dy.shape[0], pixels = dy.shape[1] * dy.shape[2], channels = dy.shape[3]
    cdef Memory memory
    cdef const char *dy_at = address(dy)
    cdef char *db_at = address(db, True)
    cdef uint64_t mode
    n_threads = team_for(<double>samples * pixels * channels, n_threads)
    borrow(&memory, samples * round_up(channels, k.vl) * k.real_size)
    with nogil:
        if n_threads == 1:
            sum_part(k, samples, pixels, channels, dy_at, memory.at, 0, 1)
        else:
            with parallel(num_threads=n_threads):
                sum_part(k, samples, pixels, channels, dy_at, memory.at, threadid(), nn_team_size())
        mode = nn_flush_subnormals()
        k.column_sum(samples, channels, memory.at, round_up(channels, k.vl), db_at)
        nn_restore_subnormals(mode)
    give_back(&memory)
