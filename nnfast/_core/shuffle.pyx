"""Order of the samples in an epoch: a permutation that depends on (seed, epoch) alone.

Fisher-Yates (Durstenfeld 1964) with numbers from SplitMix64 (Steele, Lea, Flood 2014) started at a hash of seed and
epoch; bounded without bias as in Lemire 2019.
"""
from libc.stdint cimport uint32_t, uint64_t

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef enum:
    LONG = 16384            # numbers; fewer are permuted in less time than it takes to give up the GIL and get it back


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef void permute(Py_ssize_t *order, Py_ssize_t n, uint64_t state) noexcept nogil:
    cdef Py_ssize_t i, j, held
    cdef uint32_t bound, threshold
    cdef uint64_t product
    for i in range(n - 1, 0, -1):
        if i >= <Py_ssize_t>0xFFFFFFFF:     # 64 random bits for 2^32 or more choices: the bias is below 2^-32
            state += <uint64_t>0x9E3779B97F4A7C15
            j = <Py_ssize_t>(mix(state) % <uint64_t>(i + 1))
        else:
            bound = <uint32_t>(i + 1)
            state += <uint64_t>0x9E3779B97F4A7C15
            product = (mix(state) >> 32) * bound
            if <uint32_t>product < bound:
                threshold = (0 - bound) % bound
                while <uint32_t>product < threshold:
                    state += <uint64_t>0x9E3779B97F4A7C15
                    product = (mix(state) >> 32) * bound
            j = <Py_ssize_t>(product >> 32)
        held = order[i]
        order[i] = order[j]
        order[j] = held


cdef void draw_order(Py_ssize_t *order, Py_ssize_t n, bint natural, uint64_t seed, uint64_t epoch) noexcept nogil:
    cdef Py_ssize_t i
    if natural:
        for i in range(n):
            order[i] = i
    permute(order, n, mix(mix(seed) + epoch))


def shuffle(order, seed, epoch, bint natural=False):
    """Permute an intp array in place, or with `natural` the numbers from 0 on, which it then is filled with. The same
    (seed, epoch, length) gives the same permutation everywhere."""
    cdef Py_buffer buffer
    cdef Py_ssize_t n
    cdef uint64_t key = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF), number = <uint64_t>(epoch & 0xFFFFFFFFFFFFFFFF)
    PyObject_GetBuffer(order, &buffer, PyBUF_WRITABLE)
    n = buffer.len // <Py_ssize_t>sizeof(Py_ssize_t)
    if n < LONG:
        draw_order(<Py_ssize_t *>buffer.buf, n, natural, key, number)
    else:
        with nogil:
            draw_order(<Py_ssize_t *>buffer.buf, n, natural, key, number)
    PyBuffer_Release(&buffer)
