cdef extern from "memory.h" nogil:
    void *nn_allocate(size_t size) noexcept
    void nn_release(void *p, size_t size) noexcept
    void nn_prefetch(const void *p, size_t size) noexcept

cdef struct Borrowed:
    char *at
    Py_ssize_t size

cdef int borrow(Borrowed *memory, Py_ssize_t size) except -1
cdef int give_back(Borrowed *memory) except -1
cdef char *address(object array, bint writable=*) except? NULL
cdef void *table(Py_ssize_t count, size_t size) except NULL
cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil
