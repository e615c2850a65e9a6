"""The loss and the metrics of an output, row by row.

The loss leaves each sample's value in loss_values and the gradient of the mean in the output's dy, in one pass; a softmax
or sigmoid output with its cross-entropy is computed there from the logits, and the probabilities take their place. The
cross-entropy of a map of pixels, each with a class of its own, is the sum over them. Of yes/no answers each may have a
factor or be missing; of all losses each pixel may have a weight.
Metrics read the output afterwards and leave `width` numbers a sample, which the plan sums in order of the samples.
"""
from libc.math cimport NAN, fabs
from libc.stdint cimport int32_t
from libc.string cimport memset

from nnfast._core.kernels cimport NN_SOFTMAX_CROSS_ENTROPY, nn_kernels
from nnfast._core.node cimport Context, Value

cdef enum:
    BLOCK = 128             # rows whose labels, weights and losses lie on the stack


cdef void loss_rows(const Head *head, const Context *ctx, double scale, const double *weight, bint gradient, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef const Value *y = head.output
    cdef Py_ssize_t b = lo
    if weight != NULL:
        weight += lo
    if head.loss == NN_SOFTMAX_CROSS_ENTROPY and (head.pixels > 1 or head.class_factors != NULL or head.weighted):
        for b in range(lo, hi):
            head.loss_values[b] = map_loss(head, scale if weight == NULL else scale * weight[b - lo], gradient, b)
    elif head.weighted and not head.gaps and head.class_factors == NULL:
        for b in range(lo, hi):     # where pixels have weights, samples have none
            head.loss_values[b] = sum_of_pixels(head, scale, gradient, b)
    elif head.labels and head.gaps:
        while b < hi:
            cross_entropies(head, min(hi - b, <Py_ssize_t>BLOCK), b * y.ld, y.ld, head.label + b, NULL, scale,
                            NULL if weight == NULL else weight + b - lo, gradient, head.loss_values + b)
            b += BLOCK
    elif head.loss != NN_SOFTMAX_CROSS_ENTROPY and (head.gaps or head.class_factors != NULL):
        for b in range(lo, hi):
            head.loss_values[b] = sum_of_answers(head, scale if weight == NULL else scale * weight[b - lo], gradient, b)
    else:
        rows(head, hi - lo, y.size, lo * y.ld, y.ld, head.target + lo * y.ld * head.k.real_size,
             head.label + lo if head.labels else NULL, scale, weight, gradient, head.loss_values + lo)


cdef double map_loss(const Head *head, double scale, bint gradient, Py_ssize_t b) noexcept nogil:
    """The sum of the cross-entropies of sample b's pixels."""
    cdef double values[BLOCK]
    cdef double total = 0
    cdef Py_ssize_t start = 0, n, i
    while start < head.pixels:
        n = min(head.pixels - start, <Py_ssize_t>BLOCK)
        cross_entropies(head, n, b * head.output.ld + start * head.classes, head.classes,
                        head.label + b * head.pixels + start, weights_at(head, b, start), scale, NULL, gradient, values)
        for i in range(n):
            total += values[i]
        start += n
    return total


cdef void cross_entropies(const Head *head, Py_ssize_t m, Py_ssize_t at, Py_ssize_t ld, const int32_t *label, const char *own, double scale, const double *weight, bint gradient, double *values) noexcept nogil:
    """Of BLOCK rows at most; each times its class's factor and its own, if there are, and 0 where there is no label."""
    cdef double factors[BLOCK]
    cdef double weights[BLOCK]
    cdef int32_t labels[BLOCK]
    cdef Py_ssize_t i, c
    cdef const char *target = head.target + at * head.k.real_size
    if head.class_factors == NULL and own == NULL and not (head.labels and head.gaps):
        rows(head, m, head.classes, at, ld, target, label if head.labels else NULL, scale, weight, gradient, values)
        return
    for i in range(m):
        c = label[i] if head.labels else target_class(head, at + i * ld)
        labels[i] = <int32_t>max(c, 0)      # where there is none, any for the kernel
        factors[i] = 0 if c == UNLABELED else 1 if head.class_factors == NULL else head.class_factors[c]
        if own != NULL:
            factors[i] *= number(own, i, head.k.real_size)
        weights[i] = factors[i] if weight == NULL else factors[i] * weight[i]
    rows(head, m, head.classes, at, ld, target, labels if head.labels else NULL, scale, weights, gradient, values)
    for i in range(m):
        values[i] = factors[i] * values[i] if factors[i] > 0 else 0


cdef double sum_of_answers(const Head *head, double scale, bint gradient, Py_ssize_t b) noexcept nogil:
    """The sum of the binary cross-entropies of sample b's answers, each times its class's factor and its pixel's; 0 where
    one is missing."""
    cdef double[BLOCK] values, factors, room
    cdef char *targets = <char *>room
    cdef double total = 0, t
    cdef Py_ssize_t start = 0, at = b * head.output.ld, n, i
    while start < head.output.size:
        n = min(head.output.size - start, <Py_ssize_t>BLOCK)
        for i in range(n):
            t = number(head.target, at + start + i, head.k.real_size)
            factors[i] = 0 if is_missing(t) else 1 if head.class_factors == NULL else head.class_factors[t > 0.5]
            if head.weighted:
                factors[i] *= number(weights_at(head, b, (start + i) // head.classes), 0, head.k.real_size)
            put(head.k, targets, i, 0 if is_missing(t) else t)
        rows(head, n, 1, at + start, 1, targets, NULL, scale, factors, gradient, values)
        for i in range(n):
            total += factors[i] * values[i] if factors[i] > 0 else 0
        start += n
    return total


cdef double sum_of_pixels(const Head *head, double scale, bint gradient, Py_ssize_t b) noexcept nogil:
    """The sum of the losses of sample b's pixels, each times its weight."""
    cdef double[BLOCK] values, weights
    cdef double total = 0
    cdef Py_ssize_t start = 0, at, n, i
    while start < head.pixels:
        n = min(head.pixels - start, <Py_ssize_t>BLOCK)
        at = b * head.output.ld + start * head.classes
        for i in range(n):
            weights[i] = number(weights_at(head, b, start), i, head.k.real_size)
        rows(head, n, head.classes, at, head.classes, head.target + at * head.k.real_size, NULL, scale, weights, gradient,
             values)
        for i in range(n):
            total += weights[i] * values[i] if weights[i] > 0 else 0
        start += n
    return total


cdef inline const char *weights_at(const Head *head, Py_ssize_t b, Py_ssize_t pixel) noexcept nogil:
    """The weights of sample b from a pixel on; NULL if they have none."""
    return head.pixel_weights + (b * head.pixels + pixel) * head.k.real_size if head.weighted else NULL


cdef void forget_ignored(const Head *head, char *target) noexcept nogil:
    """Of a sample's yes/no answers those that are missing become nan."""
    cdef Py_ssize_t j
    for j in range(head.output.size):
        if number(target, j, head.k.real_size) == head.ignored:
            put(head.k, target, j, NAN)


cdef void rows(const Head *head, Py_ssize_t m, Py_ssize_t n, Py_ssize_t at, Py_ssize_t ld, const char *target, const int32_t *label, double scale, const double *weight, bint gradient, double *values) noexcept nogil:
    """The loss of m rows of n numbers, the first one from number `at` of the output on; targets or labels are theirs."""
    cdef const Value *y = head.output
    cdef Py_ssize_t start = at * head.k.real_size
    head.k.loss[head.loss](
        m, n, y.y + start, ld, NULL if label != NULL else target, ld, label, scale * head.weight, weight,
        head.delta, values, y.y + start if head.fused else NULL, ld, y.dy + start if gradient else NULL, ld)


cdef inline double number(const char *at, Py_ssize_t i, int size) noexcept nogil:
    return (<const float *>at)[i] if size == 4 else (<const double *>at)[i]


cdef inline void put(const nn_kernels *k, char *at, Py_ssize_t i, double value) noexcept nogil:
    if k.real_size == 4:
        (<float *>at)[i] = <float>value
    else:
        (<double *>at)[i] = value


cdef inline bint is_missing(double answer) noexcept nogil:
    return answer != answer


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


cdef Py_ssize_t target_class(const Head *head, Py_ssize_t at) noexcept nogil:
    """The class of the probabilities from number `at` of the targets on; UNLABELED if all are zero."""
    cdef int size = head.k.real_size
    cdef const char *row = head.target + at * size
    cdef Py_ssize_t c = largest(row, head.classes, size)
    return c if not head.gaps or number(row, c, size) > 0 else UNLABELED


cdef inline double wanted(const Head *head, Py_ssize_t b, Py_ssize_t j) noexcept nogil:
    """Number j of sample b's target; of a label as of its one-hot vector."""
    if head.labels:
        return head.label[b * head.pixels + j // head.classes] == j % head.classes
    return number(head.target + b * head.output.ld * head.k.real_size, j, head.k.real_size)


cdef Py_ssize_t metric_width(const Head *head, MetricKind kind) noexcept nogil:
    """Numbers a sample adds to the totals of a metric."""
    if kind == R2:
        return 3 * head.output.size
    if kind == MEAN_IOU:
        return 3 * max(head.classes, 2)
    return 2 if kind == ACCURACY or kind == TOP_K or kind == BINARY_ACCURACY else 1


cdef void metric_rows(const Head *head, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef Py_ssize_t b, i
    cdef const Metric *metric
    for i in range(head.n_metrics):
        metric = &head.metrics[i]
        for b in range(lo, hi):
            if metric.kind == ACCURACY or metric.kind == TOP_K:
                hits(head, metric, b, metric.values + b * metric.width)
            elif metric.kind == MEAN_IOU:
                overlaps(head, metric, b, metric.values + b * metric.width)
            elif metric.kind == BINARY_ACCURACY:
                answers(head, metric, b, metric.values + b * metric.width)
            else:
                of_numbers(head, metric, b, metric.values + b * metric.width)


cdef inline Py_ssize_t class_at(const Head *head, Py_ssize_t b, Py_ssize_t pixel, Py_ssize_t at) noexcept nogil:
    """The right class of a pixel, whose outputs begin at number `at`; of a single output 0 or 1."""
    if head.labels:
        return head.label[b * head.pixels + pixel]
    cdef double answer
    if head.classes > 1:
        return target_class(head, at)
    answer = number(head.target, at, head.k.real_size)
    return UNLABELED if is_missing(answer) else answer > 0.5


cdef void hits(const Head *head, const Metric *metric, Py_ssize_t b, double *to) noexcept nogil:
    """How many of a sample's pixels are right, and how many have a label."""
    cdef int size = head.k.real_size
    cdef Py_ssize_t n = head.classes, at = b * head.output.ld, pixel, c, j, above, right = 0, labeled = 0
    cdef const char *row
    cdef double x
    for pixel in range(head.pixels):
        c = class_at(head, b, pixel, at)
        row = head.output.y + at * size
        at += n
        if c == UNLABELED:
            continue
        labeled += 1
        if metric.kind == ACCURACY:
            right += largest(row, n, size) == c
            continue
        x = number(row, c, size)
        above = 0
        for j in range(n):
            # Of equal scores the first counts as the higher one, as in the argmax of accuracy.
            above += number(row, j, size) > x or (j < c and number(row, j, size) == x)
        right += above < metric.k
    to[0], to[1] = right, labeled


cdef void overlaps(const Head *head, const Metric *metric, Py_ssize_t b, double *to) noexcept nogil:
    """For each class how many of a sample's pixels are predicted as it and of it, predicted as it, of it."""
    cdef int size = head.k.real_size
    cdef Py_ssize_t n = head.classes, classes = max(n, 2), at = b * head.output.ld, pixel, c, predicted
    cdef const char *row
    memset(to, 0, metric.width * sizeof(double))
    for pixel in range(head.pixels):
        c = class_at(head, b, pixel, at)
        row = head.output.y + at * size
        at += n
        if c != UNLABELED:
            predicted = largest(row, n, size) if n > 1 else number(row, 0, size) > metric.threshold
            to[c] += predicted == c
            to[classes + predicted] += 1
            to[2 * classes + c] += 1


cdef void answers(const Head *head, const Metric *metric, Py_ssize_t b, double *to) noexcept nogil:
    """How many of a sample's yes/no answers are right, and how many are known."""
    cdef int size = head.k.real_size
    cdef const char *row = head.output.y + b * head.output.ld * size
    cdef Py_ssize_t j, right = 0, known = 0
    cdef double t
    for j in range(head.output.size):
        t = wanted(head, b, j)
        if not is_missing(t):
            known += 1
            right += (number(row, j, size) > metric.threshold) == (t > 0.5)
    to[0], to[1] = right, known


cdef void of_numbers(const Head *head, const Metric *metric, Py_ssize_t b, double *to) noexcept nogil:
    """Metrics that compare the output's numbers one by one."""
    cdef int size = head.k.real_size
    cdef Py_ssize_t n = head.output.size, j
    cdef const char *row = head.output.y + b * head.output.ld * size
    cdef double total = 0, e, t
    for j in range(n):
        t = wanted(head, b, j)
        e = number(row, j, size) - t
        if metric.kind == SQUARED:
            total += e * e
        elif metric.kind == ABSOLUTE:
            total += fabs(e)
        else:
            to[j] = e * e
            to[n + j] = t
            to[2 * n + j] = t * t
    if metric.kind != R2:
        to[0] = total
