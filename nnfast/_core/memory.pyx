"""Addresses of arrays and memory of our own."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport SIZE_MAX
from libc.stdlib cimport calloc
from libc.string cimport memmove, memset

from nnfast._core.threads cimport nn_atomic, nn_fetch_add

cdef enum:
    MOST_SPARE = 67108864   # bytes
    MOST_BLOCKS = 16

# Blocks that were given back, the oldest first, for whoever wants memory next: to fill an old page costs a tenth of a new
# one, or less. Nobody waits here, whatever a fork or the collection of garbage has interrupted: who does not find the list
# free does without.
cdef Memory[MOST_BLOCKS] spare
cdef int n_spare = 0
cdef size_t spare_bytes = 0
cdef nn_atomic users


cdef void remove(int i) noexcept nogil:
    global n_spare, spare_bytes
    spare_bytes -= spare[i].size
    n_spare -= 1
    memmove(&spare[i], &spare[i + 1], (n_spare - i) * sizeof(Memory))


cdef bint take(Memory *block, size_t least, size_t most) noexcept nogil:
    """The smallest spare block of so many bytes; of equal ones the youngest, which may still be in the cache."""
    cdef int i, best = -1
    if nn_fetch_add(&users, 1) == 0:
        for i in range(n_spare):
            if least <= spare[i].size <= most and (best < 0 or spare[i].size <= spare[best].size):
                best = i
        if best >= 0:
            block[0] = spare[best]
            remove(best)
    nn_fetch_add(&users, -1)
    return best >= 0


cdef void give_back(Memory *block) noexcept nogil:
    """What was borrowed becomes spare; older blocks go where there is no room for all."""
    global n_spare, spare_bytes
    if nn_fetch_add(&users, 1) == 0 and block.size <= MOST_SPARE:
        while n_spare == MOST_BLOCKS or spare_bytes + block.size > MOST_SPARE:
            nn_release(spare[0].at, spare[0].size)
            remove(0)
        spare[n_spare] = block[0]
        spare_bytes += block.size
        n_spare += 1
    else:
        nn_release(block.at, block.size)
    nn_fetch_add(&users, -1)


cdef char *allocate(size_t size) noexcept nogil:
    """Zeros that begin a cache line, or NULL."""
    cdef Memory block
    if NN_PAGES <= size < NN_LARGE and take(&block, NN_ROUND(size), NN_ROUND(size)):
        memset(block.at, 0, size)
        return block.at
    return <char *>nn_allocate(size)


cdef void release(void *at, size_t size) noexcept nogil:
    """Memory from `allocate`, of the same size. Larger blocks are of huge pages: new ones are soon there."""
    cdef Memory block
    if NN_PAGES <= size < NN_LARGE:
        block.at, block.size = <char *>at, NN_ROUND(size)
        give_back(&block)
    else:
        nn_release(at, size)


cdef int borrow(Memory *block, size_t size) except -1:
    """At least `size` bytes with anything in them, for one call."""
    size = NN_ROUND(max(size, <size_t>NN_PAGES))
    if not take(block, size, SIZE_MAX):
        block.at, block.size = <char *>nn_allocate(size), size
        if block.at == NULL:
            raise MemoryError(f"{size} bytes for a call's own use")
    return 0


def drop_spare():
    """Give the spare blocks back to the system, unless another thread is at them right now."""
    if nn_fetch_add(&users, 1) == 0:
        while n_spare:
            nn_release(spare[n_spare - 1].at, spare[n_spare - 1].size)
            remove(n_spare - 1)
    nn_fetch_add(&users, -1)


def soil_spare():
    """Fill all of it with the bits of NaN: for tests, which find out so who takes it for zeros. Its blocks and bytes."""
    cdef int i
    for i in range(n_spare):
        memset(spare[i].at, 0xFF, spare[i].size)
    return n_spare, spare_bytes


cdef char *address(object array, bint writable=False) except? NULL:
    """Where an array's numbers are. The caller keeps the array; NumPy does not move what is referenced."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef char *at = <char *>buffer.buf
    PyBuffer_Release(&buffer)
    return at


def bytes_to_line(array):
    """From where an array begins to the next beginning of a cache line."""
    return -<Py_ssize_t>address(array) & 63


cdef void *table(Py_ssize_t count, size_t size) except NULL:
    """Zeroed room for `count` C structs, to be freed with free()."""
    cdef void *p = calloc(count if count else 1, size)
    if p == NULL:
        raise MemoryError()
    return p


cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil:
    """Bytes, up to a whole cache line."""
    return (size + 63) // 64 * 64
