"""The loss and the metrics of an output, row by row.

The loss leaves each sample's value in loss_values and the gradient of the mean in the output's dy, in one pass; a softmax
or sigmoid output with its cross-entropy is computed there from the logits, and the probabilities take their place.
Metrics read the output afterwards and leave `width` numbers a sample, which the plan sums in order of the samples.
"""
from libc.math cimport fabs
from libc.stdint cimport int32_t

from nnfast._core.node cimport Context, Value


cdef void loss_rows(const Head *head, const Context *ctx, double scale, const double *weight, bint gradient, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = head.output
    cdef Py_ssize_t start = lo * y.ld * head.k.real_size
    cdef const void *target = NULL
    cdef const int32_t *label = NULL
    cdef const double *factor = NULL
    if head.labels:
        label = head.label + lo
    else:
        target = head.target + start
    if weight != NULL:
        factor = weight + lo
    head.k.loss[head.loss](
        hi - lo, y.size, y.y + start, y.ld,
        target, y.ld, label, scale * head.weight, factor, head.delta, head.loss_values + lo,
        y.y + start if head.fused else NULL, y.ld, y.dy + start if gradient else NULL, y.ld)


cdef inline double number(const char *at, Py_ssize_t i, int size) noexcept nogil:
    return (<const float *>at)[i] if size == 4 else (<const double *>at)[i]


cdef Py_ssize_t largest(const char *row, Py_ssize_t n, int size) noexcept nogil:
    """Index of the first maximum."""
    cdef Py_ssize_t best = 0, j
    cdef double most = number(row, 0, size), x
    for j in range(1, n):
        x = number(row, j, size)
        if x > most:
            most = x
            best = j
    return best


cdef inline double wanted(const Head *head, Py_ssize_t b, Py_ssize_t j) noexcept nogil:
    """Number j of sample b's target; of a label as of its one-hot vector."""
    if head.labels:
        return head.label[b] == j
    return number(head.target + b * head.output.ld * head.k.real_size, j, head.k.real_size)


cdef void metric_rows(const Head *head, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = head.output
    cdef int size = head.k.real_size
    cdef Py_ssize_t n = y.size, b, i, j, c, above
    cdef const Metric *metric
    cdef const char *row
    cdef const char *target
    cdef double *to
    cdef double total, e, x, t
    for i in range(head.n_metrics):
        metric = &head.metrics[i]
        for b in range(lo, hi):
            row = y.y + b * y.ld * size
            target = head.target + b * y.ld * size
            to = metric.values + b * metric.width
            if metric.kind == ACCURACY:
                c = head.label[b] if head.labels else largest(target, n, size)
                to[0] = largest(row, n, size) == c
            elif metric.kind == TOP_K:
                c = head.label[b] if head.labels else largest(target, n, size)
                x = number(row, c, size)
                above = 0
                for j in range(n):
                    # Of equal scores the first counts as the higher one, as in the argmax of accuracy.
                    above += number(row, j, size) > x or (j < c and number(row, j, size) == x)
                to[0] = above < metric.k
            elif metric.kind == BINARY_ACCURACY:
                total = 0
                for j in range(n):
                    total += (number(row, j, size) > metric.threshold) == (wanted(head, b, j) > 0.5)
                to[0] = total / n
            elif metric.kind == R2:
                for j in range(n):
                    t = wanted(head, b, j)
                    e = number(row, j, size) - t
                    to[j] = e * e
                    to[n + j] = t
                    to[2 * n + j] = t * t
            else:
                total = 0
                for j in range(n):
                    e = number(row, j, size) - wanted(head, b, j)
                    total += e * e if metric.kind == SQUARED else fabs(e)
                to[0] = total
