cdef extern from "memory.h" nogil:
    const size_t NN_PAGES, NN_LARGE
    size_t NN_ROUND(size_t size) noexcept
    void *nn_allocate(size_t size) noexcept
    void nn_release(void *p, size_t size) noexcept
    void nn_prefetch(const void *p, size_t size) noexcept
    void nn_take_over(void *p, size_t size) noexcept

cdef struct Memory:
    char *at
    size_t size

cdef char *allocate(size_t size) noexcept nogil
cdef void release(void *at, size_t size) noexcept nogil
cdef int borrow(Memory *block, size_t size) except -1
cdef void give_back(Memory *block) noexcept nogil
cdef char *address(object array, bint writable=*) except? NULL
cdef void *table(Py_ssize_t count, size_t size) except NULL
cdef Py_ssize_t aligned(Py_ssize_t size) noexcept nogil
