"""Random changes of a sample while a batch is gathered: flips, shifts, cutouts and noise, in place, once its numbers are
in the network's precision, channels last and scaled; and the draws of mixup (gather.pyx mixes).

    for each operation, in the order of the list:
        its random numbers, from (seed, step, place in the batch, operation)
        rows of the image, or all of it

They act on the data as they were before the scaling: a zero there is the port's offset here, and noise is scaled with
the data. A target that is an image, or a map of labels, is flipped and shifted by the same numbers as the image. The
place in the batch, not the sample's number, keys the numbers, so that data which are read block by block
(nnfast/streams.py) meet the same ones as arrays.
"""
from libc.math cimport cos, expm1, fabs, log, sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memmove, memset

from nnfast._core.kernels cimport nn_kernels, nn_random_key
from nnfast._core.memory cimport table
from nnfast._core.node cimport Context
from nnfast._core.transfer cimport Port

cdef extern from "random.h":
    uint64_t nn_mix_key(const nn_random_key *key, uint64_t block) noexcept nogil

cdef double TWO_PI = 6.283185307179586476925
# Dropout's streams have the first bit clear (nnfast/graph.py).
cdef uint64_t OWN_STREAMS = <uint64_t>1 << 63
cdef uint64_t MIXING = OWN_STREAMS | <uint32_t>0xFFFFFFFF

KINDS = {"flip": FLIP, "shift": SHIFT, "cutout": CUTOUT, "noise": NOISE}


cdef class Recipe:
    """What is done to each sample. operations: a dict for each, as `nnfast.augment.Augmentation.describe` makes it, with
    "port", the number of the input that it changes, "stream", a pair of numbers that name its random numbers, and
    "shape", (H, W, C) for those on images. of_targets: the same of outputs; one with the stream of another moves the
    target as that one moves the image."""

    def __cinit__(self, operations, of_targets=(), alpha=0.0, config=None):
        self.n_operations, self.n_of_targets = len(operations), len(of_targets)
        self.operations = <Operation *>table(self.n_operations, sizeof(Operation))
        self.of_targets = <Operation *>table(self.n_of_targets, sizeof(Operation))
        self.alpha = alpha
        self.config = config
        fill_operations(self.operations, operations)
        fill_operations(self.of_targets, of_targets)

    def __dealloc__(self):
        free(self.operations)
        free(self.of_targets)


cdef int fill_operations(Operation *operations, object specs) except -1:
    cdef Py_ssize_t i
    cdef Operation *operation
    for i, spec in enumerate(specs):
        operation = &operations[i]
        operation.kind = KINDS[spec["kind"]]
        operation.port = spec["port"]
        input, place = spec["stream"]
        operation.stream = OWN_STREAMS | <uint64_t><Py_ssize_t>input << 32 | <uint64_t><Py_ssize_t>place
        operation.probability = spec.get("probability", 1.0)
        operation.deviation = spec.get("deviation", 0.0)
        if operation.kind != NOISE:
            operation.H, operation.W, operation.C = spec["shape"]
            operation.rows, operation.columns = spec["pixels"]
    return 0


cdef inline nn_random_key key_of(const Context *ctx, Py_ssize_t b, uint64_t stream) noexcept nogil:
    cdef nn_random_key key
    key.seed = ctx.seed
    key.step = ctx.step
    key.sample = b
    key.layer = stream
    return key


cdef inline Py_ssize_t one_of(Py_ssize_t n, uint32_t bits) noexcept nogil:
    """0..n-1, for n below 2^32; the bias is below n / 2^32."""
    return <Py_ssize_t>(<uint64_t>bits * <uint64_t>n >> 32)


cdef inline double uniform(uint32_t bits) noexcept nogil:
    """Between 0 and 1, and neither."""
    return (bits + 0.5) / 4294967296.0


cdef void augment(const nn_kernels *k, const Port *port, bint gaps, const Operation *operations, Py_ssize_t n,
                  const Context *ctx, Py_ssize_t at, Py_ssize_t b, char *x) noexcept nogil:
    """All operations of input or output `at` on row b of the batch, x. port NULL: x holds labels or weights of pixels.
    gaps: what comes in from outside has no label."""
    cdef const Operation *operation
    cdef nn_random_key key
    cdef uint64_t bits
    cdef Py_ssize_t i, C
    for i in range(n):
        operation = &operations[i]
        if operation.port != at:
            continue
        C = 1 if port == NULL else operation.C
        key = key_of(ctx, b, operation.stream)
        if operation.kind == NOISE:
            k.noise(port.size, x, operation.deviation * fabs(port.scale), &key)
            continue
        bits = nn_mix_key(&key, 0)
        if operation.kind == FLIP:
            flip(k, operation, C, uniform(<uint32_t>bits) < operation.probability,
                 uniform(bits >> 32) < operation.probability, x)
        elif operation.kind == SHIFT:
            shift(k, port, gaps, operation, C, one_of(2 * operation.rows + 1, <uint32_t>bits) - operation.rows,
                  one_of(2 * operation.columns + 1, bits >> 32) - operation.columns, x)
        elif uniform(<uint32_t>nn_mix_key(&key, 1)) < operation.probability:
            cut_out(k, port, operation, one_of(operation.H, <uint32_t>bits), one_of(operation.W, bits >> 32), x)


cdef void flip(const nn_kernels *k, const Operation *image, Py_ssize_t C, bint rows, bint columns, char *x) noexcept nogil:
    cdef Py_ssize_t length = image.W * C, i
    if rows and image.rows:
        k.reverse(image.H, length, x)
    if columns and image.columns:
        for i in range(image.H):
            k.reverse(image.W, C, x + i * length * k.real_size)


cdef void shift(const nn_kernels *k, const Port *port, bint gaps, const Operation *image, Py_ssize_t C, Py_ssize_t down,
                Py_ssize_t right, char *x) noexcept nogil:
    """Pixel (i, j) to (i + down, j + right); what comes in from outside is blank."""
    cdef Py_ssize_t pixel = C * k.real_size, row = image.W * pixel, step, i
    cdef Py_ssize_t kept = image.W - (right if right > 0 else -right)
    cdef char *to
    if down == 0 and right == 0:
        return
    for step in range(image.H):
        i = image.H - 1 - step if down > 0 else step        # a row is read before it is written
        to = x + i * row
        if not 0 <= i - down < image.H:
            blank(k, port, gaps, image.W * C, to)
        elif right > 0:
            memmove(to + right * pixel, to - down * row, kept * pixel)
            blank(k, port, gaps, right * C, to)
        else:
            memmove(to, to - down * row - right * pixel, kept * pixel)
            blank(k, port, gaps, -right * C, to + kept * pixel)


cdef void cut_out(const nn_kernels *k, const Port *port, const Operation *image, Py_ssize_t i, Py_ssize_t j,
                  char *x) noexcept nogil:
    """A rectangle of zeros with its middle at pixel (i, j), as much of it as lies inside of the image."""
    cdef Py_ssize_t top = max(0, i - image.rows // 2), bottom = min(image.H, i - image.rows // 2 + image.rows)
    cdef Py_ssize_t left = max(0, j - image.columns // 2)
    cdef Py_ssize_t width = min(image.W, j - image.columns // 2 + image.columns) - left
    for i in range(top, bottom):
        blank(k, port, False, width * image.C, x + (i * image.W + left) * image.C * k.real_size)


cdef inline void blank(const nn_kernels *k, const Port *port, bint gaps, Py_ssize_t n, char *x) noexcept nogil:
    """n numbers that show nothing: zeros of the data, or UNLABELED, all of whose bits are set; of a real number, nan."""
    memset(x, 0xFF if gaps else 0, n * k.real_size)
    if port != NULL and not gaps and port.offset != 0:
        k.affine(n, x, 0, port.offset, x)


cdef double mixing_share(const Context *ctx, double alpha, Py_ssize_t b, Py_ssize_t *partner) noexcept nogil:
    """Mixup: which row is mixed into row b, any other one of the batch, and how much of row b stays, 1/2 or more.

    Of a number from Beta(alpha, alpha) the larger of it and its complement, by Devroye's line (Random variate generation
    in one line of code, 1996): 1/2 +- 1 / (2 sqrt(1 + 1 / c^2)), where c^2 = (u^(-1 / alpha) - 1) cos^2(2 pi v).
    """
    cdef nn_random_key key = key_of(ctx, b, MIXING)
    cdef uint64_t bits = nn_mix_key(&key, 0)
    cdef double cosine = cos(TWO_PI * uniform(<uint32_t>bits))
    partner[0] = b
    if ctx.batch == 1:
        return 1
    partner[0] = (b + 1 + one_of(ctx.batch - 1, <uint32_t>nn_mix_key(&key, 1))) % ctx.batch
    return 0.5 + 0.5 / sqrt(1 + 1 / (expm1(-log(uniform(bits >> 32)) / alpha) * cosine * cosine))
