"""The rows of a batch from the user's data: inputs, and targets or output gradients, in the network's precision and
order of axes, augmented and mixed."""
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

from nnfast._core.augment cimport augment, mixing_share
from nnfast._core.kernels cimport NN_FLOAT32, NN_FROM_UINT8, NN_SOFTMAX_CROSS_ENTROPY, kernels, nn_kernels
from nnfast._core.loss cimport UNLABELED, Head, forget_ignored
from nnfast._core.memory cimport nn_prefetch
from nnfast._core.network cimport Job, Source
from nnfast._core.node cimport Context, Value
from nnfast._core.sparse cimport find_sparse_rows, read_sparse_row
from nnfast._core.transfer cimport Port, read_as_it_is, read_sample

cdef enum:
    AHEAD = 2048            # bytes of the rows after the one that is read


cdef inline Py_ssize_t number_of(const Context *ctx, Py_ssize_t b) noexcept nogil:
    """The number in the data of row b of the batch."""
    return ctx.sample[b] if ctx.sample != NULL else ctx.first_sample + b


cdef void gather_inputs(const nn_kernels *k, const Job *job, const Port *ports, Py_ssize_t n, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Rows lo..hi of the batch, but for mixup."""
    cdef Py_ssize_t i, b
    cdef const Value *value
    for i in range(n):
        value = &job.values[ports[i].value]
        if value.sparse != NULL:
            find_sparse_rows(value.sparse, ctx, lo, hi)
            continue
        if job.n_operations == 0 and take_rows(k, &job.inputs[i], &ports[i], ctx, lo, hi,
                                               value.y + lo * value.ld * k.real_size, value.ld):
            continue
        for b in range(lo, hi):
            input_row(k, job, &ports[i], ctx, i, b, value.y + b * value.ld * k.real_size)


cdef inline bint take_rows(const nn_kernels *k, const Source *source, const Port *port, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, char *to, Py_ssize_t ld) noexcept nogil:
    """Rows that are read as they are, lo..hi of the batch, all at once. Few instructions a row, and few stores:
    one to a line that another thread has read waits, and so do all stores behind it."""
    if source.sparse != NULL or not read_as_it_is(k, port, source.kind):
        return False
    if ctx.sample != NULL:
        k.take_rows(hi - lo, port.size, source.data, <const ptrdiff_t *>(ctx.sample + lo), to, ld)
    else:
        k.copy(hi - lo, port.size, source.data + (ctx.first_sample + lo) * source.row_bytes, port.size, to, ld)
    return True


cdef inline void input_row(const nn_kernels *k, const Job *job, const Port *port, const Context *ctx, Py_ssize_t i, Py_ssize_t b, char *to) noexcept nogil:
    """Row b of input i, as it is trained with but for mixup."""
    cdef const Source *source = &job.inputs[i]
    cdef Py_ssize_t soon
    if source.sparse != NULL:
        read_sparse_row(k, source.sparse, number_of(ctx, b), to)
        if port.scaled:
            k.affine(port.size, to, port.scale, port.offset, to)
    else:
        soon = b + 1 + AHEAD // (1 + source.row_bytes)
        if ctx.sample != NULL and soon < ctx.batch:     # scattered rows, of which the processor cannot know the next
            nn_prefetch(source.data + ctx.sample[soon] * source.row_bytes, min(source.row_bytes, <Py_ssize_t>AHEAD))
        read_sample(k, port, source.kind, source.data + number_of(ctx, b) * source.row_bytes, to, ctx.scratch)
    if job.n_operations > 0:
        augment(k, port, False, job.operations, job.n_operations, ctx, i, b, to)


cdef void gather_targets(const nn_kernels *k, const Job *job, const Port *ports, Head *heads, Py_ssize_t n, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    """Rows lo..hi of the targets to the heads, but for mixup; without a loss (vjp) of the gradients to the outputs."""
    cdef Py_ssize_t i, b, size = k.real_size
    cdef const Value *value
    cdef const Source *source
    for i in range(n):
        value = &job.values[ports[i].value]
        source = &job.targets[i]
        if not job.loss:
            for b in range(lo, hi):
                read_sample(k, &ports[i], source.kind, source.data + number_of(ctx, b) * source.row_bytes,
                            value.dy + b * value.ld * size, ctx.scratch)
        elif not (heads[i].labels or heads[i].mixed):
            if (job.n_target_operations > 0 or heads[i].gaps
                    or not take_rows(k, source, &ports[i], ctx, lo, hi, heads[i].target + lo * value.ld * size, value.ld)):
                for b in range(lo, hi):
                    target_row(k, job, &ports[i], &heads[i], ctx, i, b, heads[i].target + b * value.ld * size)
        elif heads[i].pixels == 1 and not heads[i].gaps and source.kind != NN_FROM_UINT8:
            for b in range(lo, hi):     # a small network's step is so short that it matters
                heads[i].label[b] = (<const int32_t *>source.data)[number_of(ctx, b)]
        else:
            for b in range(lo, hi):
                label_row(job, &heads[i], ctx, i, b, heads[i].label + b * heads[i].pixels)
        if job.pixel_weights != NULL:
            for b in range(lo, hi):
                weight_row(k, job, &heads[i], ctx, i, b, heads[i].pixel_weights + b * heads[i].pixels * size)


cdef void target_row(const nn_kernels *k, const Job *job, const Port *port, const Head *head, const Context *ctx, Py_ssize_t i, Py_ssize_t b, char *to) noexcept nogil:
    """The target of row b for output i, moved as its image is."""
    cdef const Source *source = &job.targets[i]
    cdef bint answers = head.gaps and head.loss != NN_SOFTMAX_CROSS_ENTROPY
    read_sample(k, port, source.kind, source.data + number_of(ctx, b) * source.row_bytes, to, ctx.scratch)
    if answers:
        forget_ignored(head, to)
    if job.n_target_operations > 0:
        augment(k, port, answers, job.target_operations, job.n_target_operations, ctx, i, b, to)


cdef void label_row(const Job *job, const Head *head, const Context *ctx, Py_ssize_t i, Py_ssize_t b, int32_t *to) noexcept nogil:
    """The same of labels."""
    cdef const Source *source = &job.targets[i]
    cdef const char *data = source.data + number_of(ctx, b) * source.row_bytes
    cdef Py_ssize_t pixel
    for pixel in range(head.pixels):
        if source.kind == NN_FROM_UINT8:
            to[pixel] = (<const uint8_t *>data)[pixel]
        else:
            to[pixel] = (<const int32_t *>data)[pixel]
        if head.ignores and to[pixel] == head.ignored:
            to[pixel] = UNLABELED
    if job.n_target_operations > 0:     # labels are as long as float32
        augment(kernels(NN_FLOAT32), NULL, True, job.target_operations, job.n_target_operations, ctx, i, b, <char *>to)


cdef void weight_row(const nn_kernels *k, const Job *job, const Head *head, const Context *ctx, Py_ssize_t i, Py_ssize_t b, char *to) noexcept nogil:
    """The same of the weights of pixels; what comes in from outside has none."""
    cdef Py_ssize_t row = head.pixels * k.real_size
    memcpy(to, job.pixel_weights + number_of(ctx, b) * row, row)
    if job.n_target_operations > 0:
        augment(k, NULL, False, job.target_operations, job.n_target_operations, ctx, i, b, to)


cdef void mix(const nn_kernels *k, const Job *job, const Port *inputs, Py_ssize_t n_inputs, const Port *outputs, Head *heads, Py_ssize_t n_outputs, const Context *ctx, Py_ssize_t b) noexcept nogil:
    """Mixup (Zhang et al. 2018): row b, gathered already, becomes share * row b + (1 - share) * another row. That one
    is gathered once more: in its own place another thread may have mixed it by now."""
    cdef Py_ssize_t partner, i, size = k.real_size
    cdef double share = mixing_share(ctx, job.alpha, b, &partner)
    cdef const Value *value
    cdef Head *head
    for i in range(n_inputs if partner != b else 0):
        value = &job.values[inputs[i].value]
        input_row(k, job, &inputs[i], ctx, i, partner, ctx.row)
        mix_rows(k, value.size, share, value.y + b * value.ld * size, ctx.row)
    for i in range(n_outputs):
        head = &heads[i]
        value = head.output
        if head.mixed:
            memset(head.target + b * value.ld * size, 0, value.size * size)
            add_labels(head, b, head.label + b * head.pixels, share)
            label_row(job, head, ctx, i, partner, <int32_t *>ctx.row)
            add_labels(head, b, <int32_t *>ctx.row, 1 - share)
        elif partner != b:
            target_row(k, job, &outputs[i], head, ctx, i, partner, ctx.row)
            mix_rows(k, value.size, share, head.target + b * value.ld * size, ctx.row)


cdef void mix_rows(const nn_kernels *k, Py_ssize_t n, double share, char *x, char *other) noexcept nogil:
    """x = share * x + (1 - share) * other; other is lost."""
    k.affine(n, x, share, 0, x)         # nan, a missing answer, stays nan
    k.affine(n, other, 1 - share, 0, other)
    k.add(n, x, other, x)


cdef void add_labels(const Head *head, Py_ssize_t b, const int32_t *label, double share) noexcept nogil:
    """So much of the one-hot vector of each pixel's label to row b of the targets."""
    cdef Py_ssize_t pixel, at
    for pixel in range(head.pixels):
        at = b * head.output.ld + pixel * head.classes + label[pixel]
        if label[pixel] == UNLABELED:
            continue
        if head.k.real_size == 4:
            (<float *>head.target)[at] += <float>share
        else:
            (<double *>head.target)[at] += share
