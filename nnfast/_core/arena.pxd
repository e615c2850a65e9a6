"""The memory of a batch, see arena.pyx."""

cdef enum:
    FOREVER = 2147483647    # later than any moment


cdef class Buffer:
    cdef object owner, what         # a node's number; what the buffer holds, in words
    cdef object kind                # buffers of one kind may share memory; None: not shared
    cdef Py_ssize_t row, most       # bytes of a sample; of all together, 0: of any batch
    cdef Py_ssize_t born, dies      # first and last moment
    cdef char **at                  # where its address is wanted
    cdef char **also                # and where else, or NULL
    cdef Py_ssize_t slot


cdef class Arena:
    cdef list buffers
    cdef list slots                 # bytes of a row of each, and most of all
    cdef char *memory
    cdef readonly Py_ssize_t size, capacity     # bytes; samples

    cdef int want(self, char **at, Py_ssize_t row, object owner, object what, object kind=*, Py_ssize_t born=*,
                  Py_ssize_t dies=*, char **also=*) except -1
    cdef int want_at_most(self, char **at, Py_ssize_t row, Py_ssize_t most, object owner, object what) except -1
    cdef int assign(self) except -1
    cdef int reserve(self, Py_ssize_t batch) except -1
