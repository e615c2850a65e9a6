"""The memory of a batch: buffers, which share it where one is done before the next begins.

A buffer has a row for each sample, and a time from its first writing to its last reading, in moments of a program. Two
buffers share memory only if their rows are equally long: a sample's row then lies at the same place in both, and threads,
which work on rows of their own and do not wait for each other, stay apart. What threads write in each other's rows lies
between two barriers, where no other operation runs. They are also of one kind, which says what the
padding of the rows may hold. A buffer that is not one of rows may need no more than so many bytes, whatever the batch.
"""
from nnfast._core.gemm cimport CACHE_LINE
from nnfast._core.memory cimport aligned, allocate, release

import sys


cdef class Buffer:
    """See arena.pxd."""


cdef class Arena:
    """Buffers are wanted first, then assigned; `reserve` finds memory for them."""

    def __cinit__(self):
        self.buffers = []

    def __dealloc__(self):
        if self.memory != NULL:
            release(self.memory, self.size)

    cdef int want(self, char **at, Py_ssize_t row, object owner, object what, object kind=None, Py_ssize_t born=0,
                  Py_ssize_t dies=FOREVER, char **also=NULL) except -1:
        cdef Buffer buffer = Buffer()
        buffer.at, buffer.row, buffer.owner, buffer.what = at, row, owner, what
        buffer.kind, buffer.born, buffer.dies, buffer.also, buffer.most = kind, born, dies, also, 0
        self.buffers.append(buffer)
        return 0

    cdef int want_at_most(self, char **at, Py_ssize_t row, Py_ssize_t most, object owner, object what) except -1:
        """The same of a buffer of its own, of `most` bytes together."""
        self.want(at, row, owner, what)
        (<Buffer>self.buffers[len(self.buffers) - 1]).most = most
        return 0

    cdef int assign(self) except -1:
        """When all buffers are known: a slot for each, in order of birth the first one of its kind that is free by
        then."""
        cdef Buffer buffer, other
        cdef dict shared = {}
        self.slots = []
        self.buffers.sort(key=birth)
        for buffer in self.buffers:
            latest = shared.setdefault((buffer.row, buffer.kind), [])   # of each slot the last buffer
            for i, other in enumerate(latest):
                if buffer.kind is not None and other.dies < buffer.born:
                    buffer.slot = other.slot
                    latest[i] = buffer
                    break
            else:
                buffer.slot = len(self.slots)
                self.slots.append((buffer.row, buffer.most or None))
                latest.append(buffer)
        return 0

    def bytes_for(self, batch):
        """Memory for a batch, however large. A vector may be read beyond its last number."""
        sizes = [batch * row if most is None else min(batch * row, most) for row, most in self.slots]
        return sum([(size + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE for size in sizes]) + CACHE_LINE

    def held(self, owner):
        """What the owner's buffers hold, and bytes of a sample."""
        cdef Buffer buffer
        return {buffer.what: min(buffer.row, buffer.most or buffer.row) for buffer in self.buffers
                if buffer.owner == owner}

    cdef int reserve(self, Py_ssize_t batch) except -1:
        """Memory for `batch` samples or more."""
        cdef Buffer buffer
        cdef char *at
        if batch <= self.capacity:
            return 0
        size = self.bytes_for(batch)
        if self.memory != NULL:
            release(self.memory, self.size)
            self.memory = NULL
            self.size = self.capacity = 0
        if size <= sys.maxsize // 2:        # the allocator adds some
            self.memory = allocate(size)
        if self.memory == NULL:
            raise MemoryError(f"{size} bytes for a batch of {batch}")
        self.size = size
        self.capacity = batch
        starts = [0]
        for row, most in self.slots:
            starts.append(starts[len(starts) - 1] + aligned(batch * row if most is None else min(batch * row, most)))
        for buffer in self.buffers:
            at = self.memory + <Py_ssize_t>starts[buffer.slot]
            buffer.at[0] = at
            if buffer.also != NULL:
                buffer.also[0] = at
        return 0


def birth(Buffer buffer):
    return buffer.born
