"""Addresses of arrays and memory of our own."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc
from libc.string cimport memset

import threading

cdef enum:
    MOST_SPARE = 67108864   # bytes

# What an earlier call gave back, for the next one.
cdef Borrowed spare
spare.at = NULL
spare.size = 0
spare_lock = threading.Lock()


cdef int borrow(Borrowed *memory, Py_ssize_t size) except -1:
    """At least `size` bytes with anything in them, for one call: new pages cost more than a small sum."""
    global spare
    memory.at = NULL
    with spare_lock:
        if spare.size >= size:
            memory[0] = spare
            spare.at, spare.size = NULL, 0
    if memory.at == NULL:
        memory.at = <char *>nn_allocate(size)
        memory.size = size
        if memory.at == NULL:
            raise MemoryError(f"{size} bytes for a call's own use")
    return 0


cdef int give_back(Borrowed *memory) except -1:
    """The larger one of this and the spare one is kept, unless it is very large."""
    global spare
    cdef Borrowed unwanted = memory[0]
    if memory.size <= MOST_SPARE:
        with spare_lock:
            if spare.size < memory.size:
                unwanted = spare
                spare = memory[0]
    if unwanted.at != NULL:
        nn_release(unwanted.at, unwanted.size)
    return 0


def soil_spare():
    """Fill it with the bits of NaN: for tests, which find out so who takes it for zeros."""
    with spare_lock:
        if spare.at != NULL:
            memset(spare.at, 0xFF, spare.size)
        return spare.size


cdef char *address(object array, bint writable=False) except? NULL:
    """Where an array's numbers are. The caller keeps the array; NumPy does not move what is referenced."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    cdef char *at = <char *>buffer.buf
    PyBuffer_Release(&buffer)
    return at


cdef void *table(Py_ssize_t count, size_t size) except NULL:
    """Zeroed room for `count` C structs, to be freed with free()."""
    cdef void *p = calloc(count if count else 1, size)
    if p == NULL:
        raise MemoryError()
    return p


cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil:
    """Bytes, up to a whole cache line."""
    return (size + 63) // 64 * 64
