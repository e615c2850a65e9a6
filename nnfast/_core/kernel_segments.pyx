"""Segments of the batch for the gradient of a small convolution kernel.

Of such a kernel there are few tiles (kernel_gradient.pyx), and each reads all of the batch, most of which other threads
have made: in a plan it is in their caches, maybe on another chip. So the batch is cut into segments, by shapes alone and
not by the number of threads, which the bits must not depend on.

    each thread, for its segments:      whole kernels of partial sums, from samples that its own caches hold
    barrier
    each thread, for its tiles:         the sum of these
"""
from libc.string cimport memcpy

from nnfast._core.convolution cimport Convolution
from nnfast._core.gemm cimport packed_size, panel_width, panels
from nnfast._core.kernel_gradient cimport (
    TileShape, gradient_scratch, kernel_gradient, tile_count, tile_end, tile_room, tile_shape, tile_start,
)
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.memory cimport aligned
from nnfast._core.node cimport Tile, piece_offset, piece_size, piece_start, pieces
from nnfast._core cimport winograd

cdef enum:
    SHARES = 4              # of a call's work there are at least as many, so that several threads have something to do
    SEGMENT_PIXELS = 512    # least in a segment,
    SEGMENT_TILES = 256     # by Winograd's filtering, whose sums are transformed
    MOST_SEGMENTS = 8       # in a plan, whose threads are not known when a model is trained anew with others
    SEGMENT_SHARE = 8       # numbers of x and dz are at least so many times those of all segments' kernels
    SEGMENTED = 65536       # below so many numbers of x and dz another barrier costs more than it saves
    TYPICAL_BATCH = 64      # no segments at all unless two fit into the memory for so many samples


cdef struct Piece:          # a tile
    Py_ssize_t panel, n_panels, lo, hi


cdef Piece nth_tile(const Convolution *c, const TileShape *shape, Py_ssize_t tile) noexcept nogil:
    """As a plan has them: blocks of rows, then panels."""
    cdef Py_ssize_t in_group = panels(c.k, c.K // c.matrices), across = (in_group + shape.panels - 1) // shape.panels
    cdef Piece piece
    piece.lo = tile_start(shape, tile // (c.matrices * across))
    piece.hi = tile_end(shape, piece.lo)
    piece.panel = tile % across * shape.panels
    piece.n_panels = min(shape.panels, in_group - piece.panel)
    piece.panel += tile // across % c.matrices * in_group
    return piece


# ---------------------------------------------------------------- in a plan

cdef inline Py_ssize_t most_segments(const Convolution *c, Py_ssize_t samples, Py_ssize_t times) noexcept nogil:
    """With enough to do in each of them: so many times the least."""
    if c.tile_w > 0:
        return min(samples, samples * winograd.gradient_tiles(c) // (times * SEGMENT_TILES))
    return min(samples, samples * c.window.OH * c.window.OW // (times * SEGMENT_PIXELS))


cdef inline Py_ssize_t kernel_size(const Convolution *c) noexcept nogil:
    """Numbers of the packed kernel."""
    return c.matrices * packed_size(c.k, c.rows, c.K // c.matrices)


cdef Py_ssize_t segment_row(const Convolution *c) noexcept nogil:
    """Numbers of memory for segments' kernels that a plan keeps for each sample."""
    cdef Py_ssize_t row = min(c.numbers_read // SEGMENT_SHARE, kernel_size(c))
    return row if 2 * kernel_size(c) <= TYPICAL_BATCH * row else 0


cdef Py_ssize_t all_segments(const Convolution *c) noexcept nogil:
    """Numbers of this memory that are enough for any batch."""
    return MOST_SEGMENTS * kernel_size(c)


cdef Py_ssize_t segments_of_batch(const Convolution *c, Py_ssize_t batch) noexcept nogil:
    """In a plan, by shape and batch alone: the bits depend on it."""
    cdef Py_ssize_t segments = 1, most
    if batch * c.numbers_read < SEGMENTED:
        return 1
    most = min(batch * segment_row(c) // kernel_size(c), <Py_ssize_t>MOST_SEGMENTS)
    # Twice as long as outside a plan, where there is nothing else that keeps threads busy.
    most = min(most, most_segments(c, batch, 2))
    while 2 * segments <= most:
        segments *= 2
    return segments


cdef inline Convolution for_segment(const Convolution *c, Py_ssize_t segments) noexcept nogil:
    """Tiles of a segment are cut for as many threads as share it; most often it is one thread's."""
    cdef Convolution one = c[0]
    one.team = <int>max(1, (c.team + segments - 1) // segments)
    return one


cdef Py_ssize_t segment_tile_room(const Convolution *c) noexcept nogil:
    """Elements of the largest tile of a segment."""
    cdef Convolution one = for_segment(c, c.team)
    return tile_room(&one)


cdef Py_ssize_t segment_scratch(const Convolution *c) noexcept nogil:
    """Bytes of a thread."""
    cdef Convolution one = for_segment(c, c.team)
    return gradient_scratch(&one)


cdef double segment_tile_cost(Py_ssize_t numbers) noexcept nogil:
    """What the sum of segments costs, in multiply-adds for each sample of a typical batch."""
    return <double>numbers * MOST_SEGMENTS / TYPICAL_BATCH


cdef void sum_segments(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld,
                       Py_ssize_t batch, int part, int team, char *to, char *scratch) noexcept nogil:
    """A thread's part of the segments' kernels, into c.partial, if there are several. to: room for a tile."""
    cdef Py_ssize_t segments = segments_of_batch(c, batch), size = c.k.real_size, count, unit, segment, b, end
    cdef Convolution one = for_segment(c, segments)
    cdef TileShape shape = tile_shape(&one)
    cdef Piece piece
    count = tile_count(&one, &shape) if segments > 1 else 0
    for unit in range(count * segments * part // team, count * segments * (part + 1) // team):
        segment = unit // count
        piece = nth_tile(&one, &shape, unit % count)
        b = batch * segment // segments
        end = batch * (segment + 1) // segments
        kernel_gradient(&one, x + b * x_ld * size, x_ld, dz + b * dz_ld * size, dz_ld, end - b, piece.panel, piece.n_panels,
                        piece.lo, piece.hi, to, scratch)
        store_packed(&one, &shape, &piece, to, c.partial + segment * kernel_size(c) * size)


cdef void store_packed(const Convolution *c, const TileShape *shape, const Piece *piece, const char *source,
                       char *kernel) noexcept nogil:
    """A tile to its place in a packed kernel."""
    cdef const nn_kernels *k = c.k
    cdef Py_ssize_t size = k.real_size, Kg = c.K // c.matrices, in_matrix = panels(k, Kg), rows = c.rows // shape.taps
    cdef Py_ssize_t first = piece.panel % in_matrix, tap, i, width
    kernel += piece.panel // in_matrix * packed_size(k, c.rows, Kg) * size
    for tap in range(shape.taps):
        for i in range(piece.n_panels):
            width = panel_width(k, Kg, first + i)
            memcpy(kernel + ((first + i) * k.nr * c.rows + (tap * rows + piece.lo) * width) * size, source,
                   (piece.hi - piece.lo) * width * size)
            source += (piece.hi - piece.lo) * width * size


cdef void add_segments(const Convolution *c, Py_ssize_t segments, const Tile *tile, char *to) noexcept nogil:
    """A tile of a plan as the sum of all segments'."""
    cdef Py_ssize_t size = c.k.real_size, i
    for i in range(pieces(tile)):
        c.k.column_sum(segments, piece_size(tile, i),
                       c.partial + (piece_offset(tile, i) - tile.parameter.offset) * size, kernel_size(c),
                       to + piece_start(tile, i) * size)


# ---------------------------------------------------------------- a call outside a plan

cdef Py_ssize_t segments_of(const Convolution *c, Py_ssize_t samples) noexcept nogil:
    """Of the batch where there are too few tiles to share, by the shape alone: the bits depend on it. c is described for one
    thread."""
    cdef TileShape shape = tile_shape(c)
    cdef Py_ssize_t tiles = tile_count(c, &shape), segments = 1, most = most_segments(c, samples, 1)
    while 2 * segments <= most and segments * tiles < SHARES:
        segments *= 2
    return segments


cdef Py_ssize_t partial_size(const Convolution *c, Py_ssize_t segments) noexcept nogil:
    """Bytes."""
    cdef TileShape shape = tile_shape(c)
    return tile_count(c, &shape) * segments * tile_room(c) * c.k.real_size if segments > 1 else 0


cdef void store_tile(const KernelGradient *job, const TileShape *shape, const Piece *piece, const char *source) noexcept nogil:
    cdef const Convolution *c = job.c
    cdef const nn_kernels *k = c.k
    cdef Py_ssize_t size = k.real_size, Kg = c.K // c.matrices, in_group = panels(k, Kg), rows = c.rows // shape.taps
    cdef Py_ssize_t tap, i, width, first
    for tap in range(shape.taps):
        for i in range(piece.n_panels):
            width = panel_width(k, Kg, piece.panel % in_group + i)
            first = (piece.panel % in_group + i) * k.nr
            k.copy(piece.hi - piece.lo, min(Kg - first, width), source, width,
                   job.dw + ((tap * rows + piece.lo) * c.K + piece.panel // in_group * Kg + first) * size, c.K)
            source += (piece.hi - piece.lo) * width * size


cdef void sum_share(const KernelGradient *job, int part, int team, char *scratch) noexcept nogil:
    """This thread's sums: some segments of tiles, or tiles, which are stored at once. scratch: a tile and gradient_scratch
    bytes."""
    cdef const Convolution *c = job.c
    cdef TileShape shape = tile_shape(c)
    cdef Py_ssize_t size = c.k.real_size, room = tile_room(c), count = tile_count(c, &shape), unit, b, end
    cdef char *to = scratch
    cdef Piece piece
    for unit in range(count * job.segments * part // team, count * job.segments * (part + 1) // team):
        piece = nth_tile(c, &shape, unit % count)
        b = job.samples * (unit // count) // job.segments
        end = job.samples * (unit // count + 1) // job.segments
        if job.segments > 1:
            to = job.partial + (unit % count * job.segments + unit // count) * room * size
        kernel_gradient(c, job.x + b * job.x_sample * size, job.x_sample, job.dy + b * job.y_sample * size, job.y_sample,
                        end - b, piece.panel, piece.n_panels, piece.lo, piece.hi, to, scratch + aligned(room * size))
        if job.segments == 1:
            store_tile(job, &shape, &piece, to)


cdef void store_share(const KernelGradient *job, int part, int team, char *scratch) noexcept nogil:
    """When all threads have made their sums: those of segments are added up."""
    cdef const Convolution *c = job.c
    cdef TileShape shape = tile_shape(c)
    cdef Py_ssize_t room = tile_room(c), count = tile_count(c, &shape), tile
    cdef Piece piece
    for tile in range(count * part // team, count * (part + 1) // team):
        piece = nth_tile(c, &shape, tile)
        c.k.column_sum(job.segments, room, job.partial + tile * job.segments * room * c.k.real_size, room, scratch)
        store_tile(job, &shape, &piece, scratch)
