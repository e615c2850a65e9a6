"""Activations, softmax and losses over whole arrays, for nnfast.functional. A plan does not come through here.

Arrays are C-contiguous, of one precision, with shapes that Python has checked. The work is cut into chunks of whole
rows (elements where there are no rows) whose length depends on the shape alone, and a kernel's results do not depend on
its neighbours, so the bits are the same for any number of threads.

    for a chunk, in parallel:   one kernel call

Buffers are taken as plain bytes and their element size selects the kernel table: one code path for both precisions.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange
from libc.stdint cimport int32_t, uint64_t

from nnfast._core.activation cimport activation_index
from nnfast._core.kernels cimport kernels_of, nn_kernels
from nnfast._core.threads cimport nn_flush_subnormals, nn_restore_subnormals

import numpy as np

cdef enum:
    CHUNK = 4096        # elements: a few microseconds of work, several times the cost of waking a thread
    MOST_BUFFERS = 6

# In the order of csrc/nnfast.h.
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error",
          "huber")


cdef struct Buffers:
    Py_buffer held[MOST_BUFFERS]
    int count


cdef void *hold(Buffers *buffers, object array, bint writable) except? NULL:
    """Address of an array's bytes, which stay in place until `release`; NULL for None."""
    cdef Py_buffer *buffer = &buffers.held[buffers.count]
    if array is None:
        return NULL
    PyObject_GetBuffer(array, buffer, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    buffers.count += 1
    return buffer.buf


cdef void release(Buffers *buffers) noexcept:
    cdef int i
    for i in range(buffers.count):
        PyBuffer_Release(&buffers.held[i])
    buffers.count = 0


def activation_forward(name, x, out, double alpha, int n_threads):
    """out = act(x), elementwise."""
    cdef Buffers buffers
    cdef const nn_kernels *k
    cdef const char *x_at
    cdef char *y_at
    cdef Py_ssize_t n, chunks, c
    cdef int act = activation_index(name)
    cdef uint64_t mode
    buffers.count = 0
    try:
        x_at = <const char *>hold(&buffers, x, False)
        y_at = <char *>hold(&buffers, out, True)
        k = kernels_of(buffers.held[0].itemsize)
        n = buffers.held[0].len // k.real_size
        chunks = (n + CHUNK - 1) // CHUNK
        for c in prange(chunks, nogil=True, schedule="static", num_threads=team(chunks, n_threads)):
            mode = nn_flush_subnormals()
            k.activation[act](min(CHUNK, n - c * CHUNK), x_at + c * CHUNK * k.real_size, y_at + c * CHUNK * k.real_size,
                              alpha)
            nn_restore_subnormals(mode)
    finally:
        release(&buffers)


def activation_backward(name, x, y, dy, out, double alpha, int n_threads):
    """out = dy * act'; x or y is None, whichever the derivative does not need."""
    cdef Buffers buffers
    cdef const nn_kernels *k
    cdef const char *x_at
    cdef const char *y_at
    cdef const char *dy_at
    cdef char *dx_at
    cdef Py_ssize_t n, chunks, c, at
    cdef int act = activation_index(name)
    cdef uint64_t mode
    buffers.count = 0
    try:
        dy_at = <const char *>hold(&buffers, dy, False)
        dx_at = <char *>hold(&buffers, out, True)
        x_at = <const char *>hold(&buffers, x, False)
        y_at = <const char *>hold(&buffers, y, False)
        k = kernels_of(buffers.held[0].itemsize)
        n = buffers.held[0].len // k.real_size
        chunks = (n + CHUNK - 1) // CHUNK
        for c in prange(chunks, nogil=True, schedule="static", num_threads=team(chunks, n_threads)):
            at = c * CHUNK * k.real_size
            mode = nn_flush_subnormals()
            k.activation_backward[act](min(CHUNK, n - c * CHUNK), shifted(x_at, at), shifted(y_at, at), dy_at + at,
                                       dx_at + at, alpha)
            nn_restore_subnormals(mode)
    finally:
        release(&buffers)


def softmax_forward(x, out, Py_ssize_t n, int n_threads):
    """Softmax of rows of n."""
    cdef Buffers buffers
    cdef const nn_kernels *k
    cdef const char *x_at
    cdef char *y_at
    cdef Py_ssize_t rows, step, chunks, c, at
    cdef uint64_t mode
    buffers.count = 0
    try:
        x_at = <const char *>hold(&buffers, x, False)
        y_at = <char *>hold(&buffers, out, True)
        k = kernels_of(buffers.held[0].itemsize)
        rows = buffers.held[0].len // (n * k.real_size)
        step = rows_per_chunk(n)
        chunks = (rows + step - 1) // step
        for c in prange(chunks, nogil=True, schedule="static", num_threads=team(chunks, n_threads)):
            at = c * step * n * k.real_size
            mode = nn_flush_subnormals()
            k.softmax(min(step, rows - c * step), n, x_at + at, n, y_at + at, n)
            nn_restore_subnormals(mode)
    finally:
        release(&buffers)


def softmax_backward(y, dy, out, Py_ssize_t n, int n_threads):
    """out = (dy - sum_j dy_j y_j) y for rows of n."""
    cdef Buffers buffers
    cdef const nn_kernels *k
    cdef const char *y_at
    cdef const char *dy_at
    cdef char *dx_at
    cdef Py_ssize_t rows, step, chunks, c, at
    cdef uint64_t mode
    buffers.count = 0
    try:
        y_at = <const char *>hold(&buffers, y, False)
        dy_at = <const char *>hold(&buffers, dy, False)
        dx_at = <char *>hold(&buffers, out, True)
        k = kernels_of(buffers.held[0].itemsize)
        rows = buffers.held[0].len // (n * k.real_size)
        step = rows_per_chunk(n)
        chunks = (rows + step - 1) // step
        for c in prange(chunks, nogil=True, schedule="static", num_threads=team(chunks, n_threads)):
            at = c * step * n * k.real_size
            mode = nn_flush_subnormals()
            k.softmax_backward(min(step, rows - c * step), n, y_at + at, n, dy_at + at, n, dx_at + at, n)
            nn_restore_subnormals(mode)
    finally:
        release(&buffers)


def loss(name, y, t, labels, weight, double scale, double delta, out, Py_ssize_t rows, int n_threads):
    """Sum over the rows of scale * weight_i * loss_i (a float); out receives its gradient with respect to y.

    Targets are t, like y, or labels, int32 (rows,) from 0 to n - 1. weight: float64 (rows,) or None. rows > 0.
    """
    cdef Buffers buffers
    cdef const nn_kernels *k
    cdef const char *y_at
    cdef const char *t_at
    cdef const int32_t *labels_at
    cdef const double *weight_at
    cdef char *dy_at
    cdef double *loss_at
    cdef Py_ssize_t n, step, chunks, c, i, at
    cdef double total = 0.0
    cdef uint64_t mode
    cdef int kind = LOSSES.index(name)
    losses = np.empty(rows)
    buffers.count = 0
    try:
        y_at = <const char *>hold(&buffers, y, False)
        dy_at = <char *>hold(&buffers, out, True)
        loss_at = <double *>hold(&buffers, losses, True)
        t_at = <const char *>hold(&buffers, t, False)
        labels_at = <const int32_t *>hold(&buffers, labels, False)
        weight_at = <const double *>hold(&buffers, weight, False)
        k = kernels_of(buffers.held[0].itemsize)
        n = buffers.held[0].len // (rows * k.real_size)
        step = rows_per_chunk(n)
        chunks = (rows + step - 1) // step
        for c in prange(chunks, nogil=True, schedule="static", num_threads=team(chunks, n_threads)):
            i = c * step
            at = i * n * k.real_size
            mode = nn_flush_subnormals()
            k.loss[kind](min(step, rows - i), n, y_at + at, n, shifted(t_at, at), n,
                         <const int32_t *>shifted(labels_at, i * sizeof(int32_t)), scale,
                         <const double *>shifted(weight_at, i * sizeof(double)), delta, loss_at + i, NULL, 0,
                         dy_at + at, n)
            nn_restore_subnormals(mode)
        # In the order of the rows, after the threads: the same sum for any number of them.
        for i in range(rows):
            if weight_at == NULL or weight_at[i] != 0:      # what does not count may be infinite
                total += loss_at[i] if weight_at == NULL else weight_at[i] * loss_at[i]
    finally:
        release(&buffers)
    return scale * total


cdef inline const char *shifted(const void *p, Py_ssize_t size) noexcept nogil:
    if p == NULL:
        return NULL
    return <const char *>p + size


cdef inline Py_ssize_t rows_per_chunk(Py_ssize_t n) noexcept nogil:
    return (CHUNK + n - 1) // n


cdef inline int team(Py_ssize_t chunks, int n_threads) noexcept nogil:
    """Threads for so many chunks: at least one, and none without a chunk."""
    return 1 if chunks <= 1 else <int>chunks if chunks < n_threads else n_threads
