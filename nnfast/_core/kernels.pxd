"""The C kernels (csrc/nnfast.h, where every field and function is described) and the table in use."""
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint16_t, uint64_t


cdef extern from "nnfast.h":
    enum:
        NN_FLOAT32
        NN_FLOAT64
        NN_PRECISION_COUNT
    enum:
        NN_LINEAR
        NN_SIGMOID
        NN_TANH
        NN_RELU
        NN_LEAKY_RELU
        NN_ELU
        NN_GELU
        NN_SILU
        NN_SOFTPLUS
        NN_RELU6
        NN_HARD_SIGMOID
        NN_HARD_SWISH
        NN_SELU
        NN_MISH
        NN_ACTIVATION_COUNT
    enum:
        NN_SOFTMAX_CROSS_ENTROPY
        NN_SIGMOID_CROSS_ENTROPY
        NN_BINARY_CROSS_ENTROPY
        NN_SQUARED_ERROR
        NN_ABSOLUTE_ERROR
        NN_HUBER
        NN_LOSS_COUNT
    enum:
        NN_SGD
        NN_ADAM
        NN_ADAMW
        NN_RMSPROP
        NN_ADAGRAD
        NN_OPTIMIZER_COUNT
    enum:
        NN_FROM_FLOAT32
        NN_FROM_FLOAT64
        NN_FROM_UINT8
        NN_SOURCE_COUNT

    ctypedef struct nn_brgemm:
        ptrdiff_t k
        ptrdiff_t count
        const ptrdiff_t *a_offset
        ptrdiff_t b_step
        ptrdiff_t a_row
        ptrdiff_t a_col
        ptrdiff_t ldb
        ptrdiff_t ldc
        int accumulate
        int relu

    ctypedef struct nn_nonzeros:
        ptrdiff_t ldb
        ptrdiff_t panel_step
        ptrdiff_t ahead
        int begins
        int ends
        int accumulate
        int relu

    ctypedef struct nn_window:
        ptrdiff_t rows
        ptrdiff_t columns
        ptrdiff_t row_pitch
        ptrdiff_t column_pitch
        ptrdiff_t step
        ptrdiff_t channels
        int accumulate

    ctypedef struct nn_depthwise:
        ptrdiff_t rows
        ptrdiff_t taps
        const ptrdiff_t *row
        const ptrdiff_t *x_offset
        ptrdiff_t x_step
        ptrdiff_t y_step
        ptrdiff_t lines
        ptrdiff_t x_line
        ptrdiff_t y_line
        ptrdiff_t columns
        ptrdiff_t column
        int run
        int accumulate
        int relu
        int ahead

    ctypedef struct nn_planes:
        ptrdiff_t rows
        ptrdiff_t taps
        const ptrdiff_t *x_offset
        ptrdiff_t channels
        ptrdiff_t x_step
        ptrdiff_t y_step
        ptrdiff_t w_step
        int relu

    ctypedef struct nn_planes_gradient:
        ptrdiff_t rows
        ptrdiff_t taps
        const ptrdiff_t *x_offset
        ptrdiff_t y_step
        ptrdiff_t samples
        ptrdiff_t x_sample
        ptrdiff_t y_sample

    ctypedef struct nn_winograd:
        ptrdiff_t taps
        int line
        ptrdiff_t first_row
        ptrdiff_t first_column
        ptrdiff_t rows
        ptrdiff_t columns
        ptrdiff_t row_pitch
        ptrdiff_t pixel_pitch
        int accumulate
        int relu

    ctypedef struct nn_update:
        double lr
        double scale
        double clip
        double momentum
        int nesterov
        double beta1
        double beta2
        double correction1
        double correction2
        double rho
        double eps
        double weight_decay

    ctypedef struct nn_random_key:
        uint64_t seed
        uint64_t step
        uint64_t sample
        uint64_t layer

    ctypedef struct nn_kernels:
        const char *isa
        int real_size
        int vl
        int mr
        int nr
        int mr_narrow
        int few_by_row
        int few_by_column
        int nonzero_columns
        void (*brgemm)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                       void *c) noexcept nogil
        void (*brgemm_scattered)(const nn_brgemm *op, const ptrdiff_t *a_rows, const ptrdiff_t *c_rows, ptrdiff_t m,
                                 ptrdiff_t n, const void *a, const void *b, const void *bias, void *c) noexcept nogil
        void (*brgemm_few)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                           void *c) noexcept nogil
        ptrdiff_t (*list_nonzeros)(ptrdiff_t n, const void *x, void *values, uint16_t *places) noexcept nogil
        void (*multiply_nonzeros)(const nn_nonzeros *op, ptrdiff_t n, ptrdiff_t count, const uint16_t *places,
                                  const void *values, const void *b, const void *bias, void *sums,
                                  void *c) noexcept nogil
        void (*transpose)(ptrdiff_t rows, ptrdiff_t cols, const void *src, ptrdiff_t src_ld, void *dst,
                          ptrdiff_t dst_ld) noexcept nogil
        void (*copy)(ptrdiff_t rows, ptrdiff_t cols, const void *src, ptrdiff_t src_ld, void *dst,
                     ptrdiff_t dst_ld) noexcept nogil
        void (*take_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *src, const ptrdiff_t *index, void *dst,
                          ptrdiff_t dst_ld) noexcept nogil
        void (*column_sum)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, void *y) noexcept nogil
        void (*column_squares)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, const void *mean,
                               void *y) noexcept nogil
        void (*join_moments)(ptrdiff_t n, const void *mean, const void *squares, double share, double weight,
                             double *joint_mean, double *joint_squares) noexcept nogil
        void (*join_sums)(ptrdiff_t n, const void *x, double *sum) noexcept nogil
        void (*normalize)(ptrdiff_t rows, ptrdiff_t cols, const void *x, const void *scale, const void *shift, int relu,
                          void *y) noexcept nogil
        void (*normalize_sums)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, const void *scale,
                               const void *shift, const void *mean, const void *dy, void *sum, void *moment) noexcept nogil
        void (*normalize_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, const void *scale,
                                   const void *shift, const void *p, const void *q, const void *r, int accumulate,
                                   void *dx) noexcept nogil
        void (*multiply)(ptrdiff_t rows, ptrdiff_t cols, const void *a, ptrdiff_t a_row, const void *b, ptrdiff_t b_row,
                         int b_column, int accumulate, void *y) noexcept nogil
        void (*multiply_columns)(ptrdiff_t rows, ptrdiff_t cols, const void *a, const void *b, ptrdiff_t b_row,
                                 int b_column, int accumulate, void *y) noexcept nogil
        void (*multiply_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *a, const void *b, ptrdiff_t b_row,
                              int accumulate, void *y) noexcept nogil
        void (*layer_norm)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, double epsilon, const void *gamma,
                           const void *beta, void *y, void *moments) noexcept nogil
        void (*layer_norm_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, ptrdiff_t ld,
                                    const void *moments, const void *gamma, int accumulate, void *dx) noexcept nogil
        void (*layer_norm_gradient)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, ptrdiff_t ld,
                                    const void *moments, void *sum) noexcept nogil
        void (*max_pool)(const nn_window *w, ptrdiff_t windows, const void *x, void *y, void *code) noexcept nogil
        void (*max_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, const void *code,
                                  void *dx) noexcept nogil
        void (*sum_pool)(const nn_window *w, ptrdiff_t windows, const void *x, double scale, void *y) noexcept nogil
        void (*sum_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, double scale,
                                  void *dx) noexcept nogil
        void (*depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x, const void *w,
                          const void *bias, void *y) noexcept nogil
        void (*depthwise_gradient)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x,
                                   const void *dy, void *dw) noexcept nogil
        void (*planes)(const nn_planes *op, ptrdiff_t n, const void *x, const void *w, const void *bias,
                       void *y) noexcept nogil
        void (*planes_gradient)(const nn_planes_gradient *op, ptrdiff_t n, const void *x, const void *dy,
                                void *sums) noexcept nogil
        void (*sum_lanes)(ptrdiff_t n, const void *x, void *y) noexcept nogil
        void (*winograd_input)(const nn_winograd *op, ptrdiff_t channels, const void *x, void *v,
                               ptrdiff_t step) noexcept nogil
        void (*winograd_output)(const nn_winograd *op, ptrdiff_t channels, const void *m, ptrdiff_t step,
                                const void *bias, void *y) noexcept nogil
        void (*winograd_output_backward)(const nn_winograd *op, ptrdiff_t channels, const void *dy, void *m,
                                         ptrdiff_t step) noexcept nogil
        void (*winograd_kernel)(const nn_winograd *op, ptrdiff_t n, const void *w, void *u, ptrdiff_t step) noexcept nogil
        void (*winograd_kernel_backward)(const nn_winograd *op, ptrdiff_t n, const void *u, ptrdiff_t step,
                                         void *w) noexcept nogil
        void (*exp)(ptrdiff_t n, const void *x, void *y) noexcept nogil
        void (*log)(ptrdiff_t n, const void *x, void *y) noexcept nogil
        void (*activation[NN_ACTIVATION_COUNT])(ptrdiff_t n, const void *z, void *y, double alpha) noexcept nogil
        void (*activation_backward[NN_ACTIVATION_COUNT])(ptrdiff_t n, const void *z, const void *y, const void *dy,
                                                         void *dz, double alpha) noexcept nogil
        void (*add)(ptrdiff_t n, const void *a, const void *b, void *y) noexcept nogil
        void (*affine)(ptrdiff_t n, const void *x, double scale, double offset, void *y) noexcept nogil
        double (*sum_squares)(ptrdiff_t n, const void *x) noexcept nogil
        double (*absolute_maximum)(ptrdiff_t n, const void *x) noexcept nogil
        double (*penalty)(ptrdiff_t n, const void *w, double l1, double l2) noexcept nogil
        void (*penalty_backward)(ptrdiff_t n, const void *w, void *g, double l1, double l2) noexcept nogil
        void (*gather[NN_SOURCE_COUNT])(ptrdiff_t n, const void *src, void *dst) noexcept nogil
        void (*dropout)(ptrdiff_t n, const void *x, void *y, double rate, const nn_random_key *key,
                        ptrdiff_t start) noexcept nogil
        void (*reverse)(ptrdiff_t items, ptrdiff_t n, void *x) noexcept nogil
        void (*noise)(ptrdiff_t n, void *x, double deviation, const nn_random_key *key) noexcept nogil
        void (*update[NN_OPTIMIZER_COUNT])(ptrdiff_t n, void *w, const void *g, void *s0, void *s1,
                                           const nn_update *u) noexcept nogil
        void (*softmax)(ptrdiff_t m, ptrdiff_t n, const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy) noexcept nogil
        void (*softmax_backward)(ptrdiff_t m, ptrdiff_t n, const void *y, ptrdiff_t ldy, const void *dy,
                                 ptrdiff_t ld_dy, void *dx, ptrdiff_t ldx) noexcept nogil
        void (*loss[NN_LOSS_COUNT])(ptrdiff_t m, ptrdiff_t n, const void *y, ptrdiff_t ldy, const void *t,
                                    ptrdiff_t ldt, const int32_t *labels, double scale, const double *weight,
                                    double delta, double *loss, void *p, ptrdiff_t ldp, void *dy,
                                    ptrdiff_t ld_dy) noexcept nogil


# The C objects are linked into this module alone; the others reach a table through these.

# The table of the level in use.
cdef const nn_kernels *kernels(int precision) noexcept nogil

# The same for arrays, by the bytes of an element.
cdef inline const nn_kernels *kernels_of(Py_ssize_t itemsize) noexcept nogil:
    return kernels(NN_FLOAT32 if itemsize == 4 else NN_FLOAT64)

# The table of a level by name, or NULL where this build or this CPU lacks it.
cdef const nn_kernels *kernels_at(const char *isa, int precision) noexcept nogil


cdef inline double get(const nn_kernels *k, const char *x, Py_ssize_t i) noexcept nogil:
    """A number in the table's precision."""
    return (<const float *>x)[i] if k.real_size == 4 else (<const double *>x)[i]


cdef inline void put(const nn_kernels *k, char *x, Py_ssize_t i, double value) noexcept nogil:
    if k.real_size == 4:
        (<float *>x)[i] = <float>value
    else:
        (<double *>x)[i] = value
