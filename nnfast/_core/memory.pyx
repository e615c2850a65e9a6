"""Addresses of arrays and memory of our own."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc


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
