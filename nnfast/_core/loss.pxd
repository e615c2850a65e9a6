from libc.stdint cimport int32_t
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.node cimport Context, Value

cdef enum:
    CUSTOM_LOSS = 100       # a Python callable
    MAX_METRICS = 8
    UNLABELED = -1          # where a label should stand: counts neither in the loss nor in metrics

cdef enum MetricKind:
    ACCURACY
    TOP_K
    BINARY_ACCURACY
    SQUARED
    ABSOLUTE
    R2
    MEAN_IOU

cdef struct Metric:
    MetricKind kind
    Py_ssize_t k            # TOP_K
    double threshold        # BINARY_ACCURACY; MEAN_IOU of a single output
    Py_ssize_t width        # numbers a sample adds to the totals
    double *values          # [batch][width]
    double *totals          # [width]

cdef struct Head:           # an output with its loss and metrics
    const nn_kernels *k
    Value *output           # [batch][pixels][classes]; of a vector, one pixel
    Py_ssize_t pixels, classes
    int loss                # index in csrc/nnfast.h, or CUSTOM_LOSS
    double delta, weight
    bint fused              # the output is to hold probabilities, the loss computes them from logits
    bint labels             # targets are class labels
    bint mixed              # the data's are, of which mixup makes rows of probabilities
    bint ignores            # of the data's labels, `ignored` means UNLABELED; of yes/no answers nan
    int32_t ignored
    bint gaps               # some pixels may have no label, or probabilities that are all zero; some answers may be nan
    const double *class_factors     # of the losses of pixels, or of 0 and 1 of yes/no answers, by class; NULL: ones
    bint weighted           # the losses of pixels have factors of their own, too
    char *pixel_weights     # [batch][pixels]: these
    char *target            # [batch][output.ld]
    int32_t *label          # [batch][pixels]
    double *loss_values     # [batch]
    double loss_total
    Py_ssize_t n_metrics
    Metric metrics[MAX_METRICS]

cdef Py_ssize_t metric_width(const Head *head, MetricKind kind) noexcept nogil
cdef void loss_rows(const Head *head, const Context *ctx, double scale, const double *weight, bint gradient, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
cdef void forget_ignored(const Head *head, char *target) noexcept nogil
cdef void metric_rows(const Head *head, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil
