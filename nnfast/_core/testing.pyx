"""One kernel at a time, at any level of this machine, on arrays: what the tests of the C kernels call.

Arrays are 1-D, or 2-D with contiguous rows whose distance becomes the leading dimension; None is a NULL pointer. The
precision is that of the first array. Shapes are the caller's business, types are checked.
"""
cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t

from nnfast._core.gemm cimport PANELS, Product, pack, packed_size, panels, panels_of_nonzeros, scratch_bytes
from nnfast._core.kernels cimport (
    NN_ACTIVATION_COUNT,
    NN_FLOAT32,
    NN_FLOAT64,
    NN_LOSS_COUNT,
    NN_OPTIMIZER_COUNT,
    kernels_at,
    nn_brgemm,
    nn_kernels,
    nn_random_key,
    nn_update,
)
from nnfast._core.memory cimport Memory, borrow, give_back

# In the order of csrc/nnfast.h.
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
               "hard_sigmoid", "hard_swish", "selu", "mish")
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error",
          "huber")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
SOURCES = ("f", "d", "B")       # buffer formats


@cython.final
cdef class Array:
    """A buffer's address, length, row distance and format; NULL and 0 for None."""
    cdef Py_buffer buffer
    cdef bint held
    cdef void *p
    cdef ptrdiff_t rows, n, ld
    cdef str format

    def __cinit__(self, x, formats, bint writable=False):
        self.p, self.rows, self.n, self.ld, self.held = NULL, 0, 0, 0, False
        if x is None:
            return
        PyObject_GetBuffer(x, &self.buffer, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        self.format = self.buffer.format.decode("ascii")
        cdef int last = self.buffer.ndim - 1
        if self.format not in formats or not 0 <= last <= 1:
            raise TypeError(f"array of format {self.format}, {last + 1} axes; expected one of {formats}, 1 or 2 axes")
        self.n = self.buffer.shape[last]
        if self.n > 1 and self.buffer.strides[last] != self.buffer.itemsize:
            raise TypeError("the last axis is not contiguous")
        self.rows = self.buffer.shape[0] if last else 1
        self.ld = self.buffer.strides[0] // self.buffer.itemsize if last else self.n
        self.p = self.buffer.buf

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


cdef const nn_kernels *table(str isa, Array like) except NULL:
    cdef const nn_kernels *k = kernels_at(isa.encode("ascii"), NN_FLOAT32 if like.format == "f" else NN_FLOAT64)
    if k == NULL:
        raise ValueError(f"level {isa!r} is not usable here")
    return k


cdef Array first(x, bint writable=False):
    return Array(x, ("f", "d"), writable)


cdef Array alike(Array other, x, bint writable=False):
    return Array(x, (other.format,), writable)


def tile(str isa, str dtype):
    """vl, mr, nr, mr_narrow of a level; dtype is "f" or "d"."""
    cdef const nn_kernels *k = kernels_at(isa.encode("ascii"), NN_FLOAT32 if dtype == "f" else NN_FLOAT64)
    if k == NULL:
        raise ValueError(f"level {isa!r} is not usable here")
    return k.vl, k.mr, k.nr, k.mr_narrow


def brgemm(str isa, a, b, bias, c, *, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, ptrdiff_t a_row, ptrdiff_t a_col,
           ptrdiff_t ldb, ptrdiff_t ldc, ptrdiff_t count=1, a_offset=None, ptrdiff_t b_step=0, bint accumulate=False,
           bint relu=False):
    """One tile; a_offset is an array of ptrdiff_t or None."""
    cdef Array aa = first(a), bb = alike(aa, b), shift = alike(aa, bias), cc = alike(aa, c, True)
    cdef Array offset = Array(a_offset, ("l", "q"))
    cdef nn_brgemm op
    if offset.held and offset.buffer.itemsize != sizeof(ptrdiff_t):
        raise TypeError("a_offset is not of pointer-sized integers")
    op.k, op.count, op.b_step, op.a_row, op.a_col, op.ldb, op.ldc = k, count, b_step, a_row, a_col, ldb, ldc
    op.a_offset = <const ptrdiff_t *>offset.p
    op.accumulate, op.relu = accumulate, relu
    table(isa, aa).brgemm(&op, m, n, aa.p, bb.p, shift.p, cc.p)


def multiply_nonzeros(str isa, a, b, c):
    """C = A B from the numbers of A that are not 0, if there are so few that products skip them; whether it was done. B has
    whole panels of columns."""
    cdef Array aa = first(a), bb = alike(aa, b), cc = alike(aa, c, True)
    cdef const nn_kernels *k = table(isa, aa)
    cdef Memory packed, scratch
    cdef Product x
    cdef Py_ssize_t done
    if bb.n % k.nr:
        raise ValueError(f"{bb.n} columns are no multiple of {k.nr}")
    x.k, x.M, x.N, x.K = k, aa.rows, bb.n, aa.n
    x.a, x.a_row, x.a_col = <const char *>aa.p, aa.ld, 1
    x.c, x.ldc = <char *>cc.p, cc.ld
    x.bias, x.accumulate, x.relu, x.skips_zeros = NULL, False, False, True
    borrow(&packed, packed_size(k, x.K, x.N) * k.real_size)
    borrow(&scratch, scratch_bytes(k))
    pack(k, x.K, x.N, bb.ld, <const char *>bb.p, packed.at, 0, 1)
    x.storage, x.b = PANELS, packed.at
    done = panels_of_nonzeros(&x, 0, x.M, 0, x.K, 0, panels(k, x.N), NULL, scratch.at)
    give_back(&scratch)
    give_back(&packed)
    return done > 0


def transpose(str isa, src, dst):
    cdef Array s = first(src), d = alike(s, dst, True)
    table(isa, s).transpose(s.rows, s.n, s.p, s.ld, d.p, d.ld)


def column_sum(str isa, x, y):
    cdef Array xx = first(x), yy = alike(xx, y, True)
    table(isa, xx).column_sum(xx.rows, xx.n, xx.p, xx.ld, yy.p)


def exp(str isa, x, y):
    cdef Array xx = first(x), yy = alike(xx, y, True)
    table(isa, xx).exp(xx.n, xx.p, yy.p)


def log(str isa, x, y):
    cdef Array xx = first(x), yy = alike(xx, y, True)
    table(isa, xx).log(xx.n, xx.p, yy.p)


def activation(str isa, str name, z, y, double alpha=1.0):
    cdef Array zz = first(z), yy = alike(zz, y, True)
    cdef int i = ACTIVATIONS.index(name)
    table(isa, zz).activation[i](zz.n, zz.p, yy.p, alpha)


def activation_backward(str isa, str name, z, y, dy, dz, double alpha=1.0):
    """z may be None where nnfast.h says so."""
    cdef Array yy = first(y), zz = alike(yy, z), dyy = alike(yy, dy), dzz = alike(yy, dz, True)
    cdef int i = ACTIVATIONS.index(name)
    table(isa, yy).activation_backward[i](yy.n, zz.p, yy.p, dyy.p, dzz.p, alpha)


def add(str isa, a, b, y):
    cdef Array aa = first(a), bb = alike(aa, b), yy = alike(aa, y, True)
    table(isa, aa).add(aa.n, aa.p, bb.p, yy.p)


def sum_squares(str isa, x):
    cdef Array xx = first(x)
    return table(isa, xx).sum_squares(xx.n, xx.p)


def absolute_maximum(str isa, x):
    cdef Array xx = first(x)
    return table(isa, xx).absolute_maximum(xx.n, xx.p)


def penalty(str isa, w, double l1, double l2):
    cdef Array ww = first(w)
    return table(isa, ww).penalty(ww.n, ww.p, l1, l2)


def penalty_backward(str isa, w, g, double l1, double l2):
    cdef Array ww = first(w), gg = alike(ww, g, True)
    table(isa, ww).penalty_backward(ww.n, ww.p, gg.p, l1, l2)


def gather(str isa, src, dst):
    cdef Array d = first(dst, True), s = Array(src, SOURCES)
    cdef int i = SOURCES.index(s.format)
    table(isa, d).gather[i](d.n, s.p, d.p)


def dropout(str isa, x, y, double rate, *, seed=0, step=0, sample=0, layer=0, ptrdiff_t start=0):
    cdef Array xx = first(x), yy = alike(xx, y, True)
    cdef nn_random_key key
    key.seed, key.step, key.sample, key.layer = seed, step, sample, layer
    table(isa, xx).dropout(xx.n, xx.p, yy.p, rate, &key, start)


def reverse(str isa, x, ptrdiff_t n):
    """Runs of n numbers, in place."""
    cdef Array xx = first(x, True)
    table(isa, xx).reverse(xx.n // n, n, xx.p)


def noise(str isa, x, double deviation, *, seed=0, step=0, sample=0, layer=0):
    cdef Array xx = first(x, True)
    cdef nn_random_key key
    key.seed, key.step, key.sample, key.layer = seed, step, sample, layer
    table(isa, xx).noise(xx.n, xx.p, deviation, &key)


def update(str isa, str name, w, g, s0=None, s1=None, *, double lr=0.0, double scale=1.0, double clip=0.0,
           double momentum=0.0, bint nesterov=False, double beta1=0.0, double beta2=0.0,
           double correction1=1.0, double correction2=1.0, double rho=0.0, double eps=0.0, double weight_decay=0.0):
    """One optimizer step in place; the keywords are nn_update's fields."""
    cdef Array ww = first(w, True), gg = alike(ww, g), a = alike(ww, s0, True), b = alike(ww, s1, True)
    cdef int i = OPTIMIZERS.index(name)
    cdef nn_update u
    u.lr, u.scale, u.clip, u.momentum, u.nesterov = lr, scale, clip, momentum, nesterov
    u.beta1, u.beta2, u.correction1, u.correction2 = beta1, beta2, correction1, correction2
    u.rho, u.eps, u.weight_decay = rho, eps, weight_decay
    table(isa, ww).update[i](ww.n, ww.p, gg.p, a.p, b.p, &u)


def softmax(str isa, x, y):
    cdef Array xx = first(x), yy = alike(xx, y, True)
    table(isa, xx).softmax(xx.rows, xx.n, xx.p, xx.ld, yy.p, yy.ld)


def softmax_backward(str isa, y, dy, dx):
    cdef Array yy = first(y), dyy = alike(yy, dy), dxx = alike(yy, dx, True)
    table(isa, yy).softmax_backward(yy.rows, yy.n, yy.p, yy.ld, dyy.p, dyy.ld, dxx.p, dxx.ld)


def loss(str isa, str name, y, t, labels, value, *, p=None, dy=None, weight=None, double scale=1.0, double delta=1.0):
    """Row losses into `value` (float64); t or labels (int32) is None."""
    cdef Array yy = first(y), tt = alike(yy, t), pp = alike(yy, p, True), dyy = alike(yy, dy, True)
    cdef Array ll = Array(labels, ("i",)), ww = Array(weight, ("d",)), vv = Array(value, ("d",), True)
    cdef int i = LOSSES.index(name)
    table(isa, yy).loss[i](yy.rows, yy.n, yy.p, yy.ld, tt.p, tt.ld, <const int32_t *>ll.p, scale,
                           <const double *>ww.p, delta, <double *>vv.p, pp.p, pp.ld, dyy.p, dyy.ld)


assert len(ACTIVATIONS) == NN_ACTIVATION_COUNT and len(LOSSES) == NN_LOSS_COUNT
assert len(OPTIMIZERS) == NN_OPTIMIZER_COUNT
