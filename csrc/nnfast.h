/* The interface between the C kernels (storey 1) and the Cython loops (storey 2).
 *
 * Every kernel works on one tile, one row or one flat run of numbers on the calling thread: no threads, no
 * allocation, no Python. One table of function pointers exists per (instruction set, precision); its functions take
 * `void *` to elements of that precision, and every stride is counted in elements, never in bytes.
 *
 * Arithmetic is the same for any tile height m and any split of a run into rows, so the loops above may cut the work
 * as they like: an element's bits depend only on its operands, the instruction set and the precision.
 */
#ifndef NNFAST_H
#define NNFAST_H

#include <stddef.h>
#include <stdint.h>

enum { NN_FLOAT32, NN_FLOAT64, NN_PRECISION_COUNT };

/* Elementwise activations, in the order of `activations` in nnfast/_core/activation.pyx. `alpha` is the slope of
 * leaky_relu below zero and the depth of elu; the others ignore it. */
enum {
    NN_LINEAR, NN_SIGMOID, NN_TANH, NN_RELU, NN_LEAKY_RELU, NN_ELU, NN_GELU, NN_SILU, NN_SOFTPLUS,
    NN_RELU6, NN_HARD_SIGMOID, NN_HARD_SWISH, NN_SELU, NN_MISH,
    NN_ACTIVATION_COUNT
};

enum {
    NN_SOFTMAX_CROSS_ENTROPY,       /* y: logits */
    NN_SIGMOID_CROSS_ENTROPY,       /* y: logits */
    NN_BINARY_CROSS_ENTROPY,        /* y: probabilities; log is cut off at -100 as in PyTorch's BCELoss */
    NN_SQUARED_ERROR, NN_ABSOLUTE_ERROR, NN_HUBER,
    NN_LOSS_COUNT
};

enum { NN_SGD, NN_ADAM, NN_ADAMW, NN_RMSPROP, NN_ADAGRAD, NN_OPTIMIZER_COUNT };

/* Types a batch row may be gathered from. */
enum { NN_FROM_FLOAT32, NN_FROM_FLOAT64, NN_FROM_UINT8, NN_SOURCE_COUNT };

/* What does not change between the tiles of one batch-reduce GEMM: C[m x n] (+)= sum_i A_i[m x k] B_i[k x n]. */
typedef struct nn_brgemm {
    ptrdiff_t k;                /* inner length of one product */
    ptrdiff_t count;            /* number of products summed */
    const ptrdiff_t *a_offset;  /* A_i begins at a + a_offset[i]; NULL when count is 1 */
    ptrdiff_t b_step;           /* B_i begins at b + i * b_step */
    ptrdiff_t a_row, a_col;     /* A[i, p] = a[i * a_row + p * a_col]; one of the two is 1 or m is 1 */
    ptrdiff_t ldb;              /* B[p, j] = b[p * ldb + j]; a row is readable up to the next multiple of vl */
    ptrdiff_t ldc;              /* C[i, j] = c[i * ldc + j]; nothing beyond column n is touched */
    int accumulate;             /* C += instead of C = */
    int relu;                   /* max(0, .) after the bias */
} nn_brgemm;

/* A row of C[n] (+)= A[k] B[k x n] from the numbers of A that are not 0 (csrc/nonzeros.c). */
typedef struct nn_nonzeros {
    ptrdiff_t ldb, panel_step;  /* B[p, j] = b[j / nr * panel_step + p * ldb + j % nr]; whole vectors are read */
    ptrdiff_t ahead;            /* from b: a row of B that is to be in L2 soon; 0: none */
    int begins;                 /* the sums start at 0, otherwise from what was left of them */
    int ends;                   /* they go to C, otherwise they are left */
    int accumulate;             /* C += instead of C = */
    int relu;                   /* max(0, .) after the bias */
} nn_nonzeros;

/* A row of windows over pixels of `channels` numbers, all of one shape (csrc/pool.c). */
typedef struct nn_window {
    ptrdiff_t rows, columns;    /* taps of a window */
    ptrdiff_t row_pitch, column_pitch;  /* from tap to tap in x */
    ptrdiff_t step;             /* from window to window in x; in y windows follow each other */
    ptrdiff_t channels;
    int accumulate;             /* backward adds to dx instead of setting it */
} nn_window;

/* Convolution channel by channel (csrc/depthwise.c). */
typedef struct nn_depthwise {
    ptrdiff_t rows;             /* of w and dw, one for each tap of the kernel */
    ptrdiff_t taps;             /* of which these many count here */
    const ptrdiff_t *row;       /* the row of each in w */
    const ptrdiff_t *x_offset;  /* and where it is in x */
    ptrdiff_t x_step, y_step;   /* from pixel to pixel */
    ptrdiff_t lines;            /* of pixels */
    ptrdiff_t x_line, y_line;   /* from line to line */
    ptrdiff_t columns;          /* of x, beyond which taps are left out, in rows of `run` neighbours; 0: all lie inside */
    ptrdiff_t column;           /* where the first pixel's first tap lies then */
    int run;                    /* 3 or 5, and x_step is 1 or 2 of them */
    int accumulate;             /* y += instead of y = */
    int relu;                   /* max(0, .) after the bias */
    int ahead;                  /* the gradient of stride 1 reads a line ahead: x is not in L2 */
} nn_depthwise;

/* Convolution of planes, each with one channel of an image (csrc/planes.c). */
typedef struct nn_planes {
    ptrdiff_t rows;             /* channels of y: up to vl / 2 */
    ptrdiff_t taps;
    const ptrdiff_t *x_offset;  /* where each tap's pixels begin in the first plane of x */
    ptrdiff_t channels;         /* of x */
    ptrdiff_t x_step, y_step;   /* from plane to plane */
    ptrdiff_t w_step;           /* from row to row of w: a row for every tap and channel of x */
    int relu;                   /* max(0, .) after the bias */
} nn_planes;

/* And its kernel's gradient. */
typedef struct nn_planes_gradient {
    ptrdiff_t rows;             /* channels of dy: up to vl / 2 */
    ptrdiff_t taps;
    const ptrdiff_t *x_offset;  /* where the pixels of each begin in x: of every tap and channel */
    ptrdiff_t y_step;           /* from plane to plane */
    ptrdiff_t samples, x_sample, y_sample;
} nn_planes_gradient;

/* A tile of y, 7 - taps rows and columns, a 6 x 6 tile of x, or a kernel (csrc/winograd.c). */
typedef struct nn_winograd {
    ptrdiff_t taps;             /* each way: 2 to 5; x's tile is the same for all */
    int line;                   /* one row of taps: tiles have one row, and 6 positions */
    ptrdiff_t first_row, first_column;  /* of x's tile, that lies inside the image; y's tiles begin inside */
    ptrdiff_t rows, columns;    /* the first that no longer does, or that the kernel does not have */
    ptrdiff_t row_pitch, pixel_pitch;   /* from row to row, from pixel to pixel or tap to tap */
    int accumulate;             /* y += instead of y = */
    int relu;                   /* max(0, .) after the bias */
} nn_winograd;

/* One optimizer step on a run of parameters. Formulas as PyTorch's; see csrc/optimizer.c. */
typedef struct nn_update {
    double lr;
    double scale;               /* the gradient is multiplied by this first (clipping by global norm) */
    double clip;                /* then cut to [-clip, clip]; 0: not */
    double momentum;            /* sgd, rmsprop */
    int nesterov;               /* sgd */
    double beta1, beta2;        /* adam, adamw */
    double correction1;         /* 1 - beta1^t */
    double correction2;         /* 1 - beta2^t */
    double rho;                 /* rmsprop's alpha */
    double eps;
    double weight_decay;        /* adamw, decoupled */
} nn_update;

/* Elements of one sample keep their random numbers wherever they run: the generator is a function of these. */
typedef struct nn_random_key {
    uint64_t seed, step, sample, layer;
} nn_random_key;

typedef struct nn_kernels {
    const char *isa;            /* "baseline", "avx2", "avx512", "neon" */
    int real_size;              /* bytes of an element: 4 or 8 */
    int vl;                     /* lanes of a vector */
    int mr, nr;                 /* register tile; nr is 2 * vl or more */
    int mr_narrow;              /* tile height where n <= vl */
    int few_by_row, few_by_column;  /* columns that brgemm_few takes at most; 0: there is none */
    int nonzero_columns;        /* that multiply_nonzeros takes at most */

    /* matrix tiles */

    /* c: m x n, m <= mr (mr_narrow if n <= vl), n <= nr. bias: n values padded to vl, or NULL. */
    void (*brgemm)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                   void *c);
    /* The same for n > vl, with row i of A at a + a_rows[i] and of C at c + c_rows[i] instead of a_row and ldc. */
    void (*brgemm_scattered)(const nn_brgemm *op, const ptrdiff_t *a_rows, const ptrdiff_t *c_rows, ptrdiff_t m,
                             ptrdiff_t n, const void *a, const void *b, const void *bias, void *c);
    /* The same as brgemm, with the same bits, for any m, where a_row is 1 and n <= few_by_column, or a_col is 1 and
     * n <= few_by_row. */
    void (*brgemm_few)(const nn_brgemm *op, ptrdiff_t m, ptrdiff_t n, const void *a, const void *b, const void *bias,
                       void *c);
    /* Which of n <= 65536 numbers are not 0, and where; how many. Both lists have room for n rounded up to vl. */
    ptrdiff_t (*list_nonzeros)(ptrdiff_t n, const void *x, void *values, uint16_t *places);
    /* n <= nonzero_columns; sums: room for n rounded up to vl; bias as brgemm's. */
    void (*multiply_nonzeros)(const nn_nonzeros *op, ptrdiff_t n, ptrdiff_t count, const uint16_t *places,
                              const void *values, const void *b, const void *bias, void *sums, void *c);
    /* dst[j, i] = src[i, j] for src: rows x cols. */
    void (*transpose)(ptrdiff_t rows, ptrdiff_t cols, const void *src, ptrdiff_t src_ld, void *dst, ptrdiff_t dst_ld);
    /* dst[i, j] = src[i, j]. */
    void (*copy)(ptrdiff_t rows, ptrdiff_t cols, const void *src, ptrdiff_t src_ld, void *dst, ptrdiff_t dst_ld);
    /* dst[i, j] = src[index[i], j] for a src of `cols` columns; behind them zeros, up to a whole vector where dst_ld has
     * room for it. */
    void (*take_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *src, const ptrdiff_t *index, void *dst,
                      ptrdiff_t dst_ld);
    /* y[j] = sum_i x[i, j] for x: rows x cols. */
    void (*column_sum)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, void *y);

    /* batch normalization; rows >= 1, ld = cols where none is given */

    /* y[j] = sum_i (x[i, j] - mean[j])^2 */
    void (*column_squares)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, const void *mean, void *y);
    /* The moments of rows that come to others (Chan, Golub and LeVeque 1979, eq. 2.1): with delta[j] = mean[j] -
     * joint_mean[j], joint_mean[j] += delta[j] * share, joint_squares[j] += squares[j] + delta[j]^2 * weight. */
    void (*join_moments)(ptrdiff_t n, const void *mean, const void *squares, double share, double weight,
                         double *joint_mean, double *joint_squares);
    /* sum[j] += x[j] */
    void (*join_sums)(ptrdiff_t n, const void *x, double *sum);
    /* y[i, j] = x[i, j] * scale[j] + shift[j], then relu or not. y may be x. */
    void (*normalize)(ptrdiff_t rows, ptrdiff_t cols, const void *x, const void *scale, const void *shift, int relu,
                      void *y);
    /* In both, dz is dy, or, with scale and shift, the gradient before a relu: 0 where x * scale + shift <= 0. That is
     * computed again; so y is not read, and dz never written. */
    /* sum[j] = sum_i dz[i, j], moment[j] = sum_i dz[i, j] * (x[i, j] - mean[j]) */
    void (*normalize_sums)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, const void *scale,
                           const void *shift, const void *mean, const void *dy, void *sum, void *moment);
    /* dx[i, j] (+)= dz[i, j] * p[j] + x[i, j] * q[j] + r[j] */
    void (*normalize_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, const void *scale,
                               const void *shift, const void *p, const void *q, const void *r, int accumulate, void *dx);

    /* products b(i, j) = b[i * b_row + j * b_column], b_column 0 or 1 */

    /* y[i, j] (+)= a[i * a_row + j] b(i, j) */
    void (*multiply)(ptrdiff_t rows, ptrdiff_t cols, const void *a, ptrdiff_t a_row, const void *b, ptrdiff_t b_row,
                     int b_column, int accumulate, void *y);
    /* y[j] (+)= sum_i a[i, j] b(i, j) */
    void (*multiply_columns)(ptrdiff_t rows, ptrdiff_t cols, const void *a, const void *b, ptrdiff_t b_row, int b_column,
                             int accumulate, void *y);
    /* y[i] (+)= sum_j a[i, j] b(i, j), b_column being 1 */
    void (*multiply_rows)(ptrdiff_t rows, ptrdiff_t cols, const void *a, const void *b, ptrdiff_t b_row, int accumulate,
                          void *y);

    /* layer normalization, of rows ld numbers apart; gamma, beta and moments may be NULL */

    /* y[i] = (x[i] - mean) * h * gamma + beta; moments[i] = mean, h = 1 / sqrt(variance + epsilon). */
    void (*layer_norm)(ptrdiff_t rows, ptrdiff_t cols, const void *x, ptrdiff_t ld, double epsilon, const void *gamma,
                       const void *beta, void *y, void *moments);
    /* With g = dy * gamma and n = (x - mean) * h: dx[i] (+)= h * (g - the mean of g - n * the mean of g * n). */
    void (*layer_norm_backward)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, ptrdiff_t ld,
                                const void *moments, const void *gamma, int accumulate, void *dx);
    /* sum[j] = sum_i dy[i, j] * (x[i, j] - mean_i) * h_i, gamma's gradient. */
    void (*layer_norm_gradient)(ptrdiff_t rows, ptrdiff_t cols, const void *dy, const void *x, ptrdiff_t ld,
                                const void *moments, void *sum);

    /* pixels of an image */

    /* Each window's maximum; NaN counts as the greatest, the first of equals wins. code: which tap that was, or NULL. */
    void (*max_pool)(const nn_window *w, ptrdiff_t windows, const void *x, void *y, void *code);
    void (*max_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, const void *code, void *dx);
    /* y = scale * sum of the window, y may be x; backward: every tap of dx gets scale * dy. */
    void (*sum_pool)(const nn_window *w, ptrdiff_t windows, const void *x, double scale, void *y);
    void (*sum_pool_backward)(const nn_window *w, ptrdiff_t windows, const void *dy, double scale, void *dx);
    /* y[l, i, c] (+)= sum_t x[x_offset[t] + l * x_line + i * x_step + c] w[row[t], c] + bias[c] for pixels i of lines l,
     * without the taps that lie beyond x's columns.
     * w: packed in panels of nr channels (the last of vl or nr), each [rows][width]. bias: padded to vl, or NULL. */
    void (*depthwise)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x, const void *w,
                      const void *bias, void *y);
    /* dw[row[t], c] += sum_{l, i} x[x_offset[t] + l * x_line + i * x_step + c] dy[l * y_line + i * y_step + c]. dw: as w. */
    void (*depthwise_gradient)(const nn_depthwise *op, ptrdiff_t pixels, ptrdiff_t channels, const void *x,
                               const void *dy, void *dw);
    /* y[i * y_step + j] = bias[i] + sum_t sum_c x[x_offset[t] + c * x_step + j] w[(t * channels + c) * w_step + i] for n
     * pixels j, rounded up to whole vectors. bias: or NULL. */
    void (*planes)(const nn_planes *op, ptrdiff_t n, const void *x, const void *w, const void *bias, void *y);
    /* sums[t * rows + i] += over n pixels of every sample, whole vectors, x[x_offset[t] + j] dy[i * y_step + j], where each
     * of the sums is a vector; and what is in such vectors as numbers. */
    void (*planes_gradient)(const nn_planes_gradient *op, ptrdiff_t n, const void *x, const void *dy, void *sums);
    void (*sum_lanes)(ptrdiff_t n, const void *x, void *y);

    /* Winograd's transforms. v, m and bias have room for whole vectors of channels; n is a multiple of vl. */

    /* The 36 positions of a 6 x 6 tile of x, v[p * step + c]; zeros where it reaches beyond the image. */
    void (*winograd_input)(const nn_winograd *op, ptrdiff_t channels, const void *x, void *v, ptrdiff_t step);
    /* A tile of y from m[p * step + c], with bias or NULL; and of m from dy. */
    void (*winograd_output)(const nn_winograd *op, ptrdiff_t channels, const void *m, ptrdiff_t step, const void *bias,
                            void *y);
    void (*winograd_output_backward)(const nn_winograd *op, ptrdiff_t channels, const void *dy, void *m, ptrdiff_t step);
    /* u[p * step + i] from n numbers of every tap of w; and the gradient of w from that of u. */
    void (*winograd_kernel)(const nn_winograd *op, ptrdiff_t n, const void *w, void *u, ptrdiff_t step);
    void (*winograd_kernel_backward)(const nn_winograd *op, ptrdiff_t n, const void *u, ptrdiff_t step, void *w);

    /* runs of n numbers, n >= 0 */

    void (*exp)(ptrdiff_t n, const void *x, void *y);
    void (*log)(ptrdiff_t n, const void *x, void *y);
    void (*activation[NN_ACTIVATION_COUNT])(ptrdiff_t n, const void *z, void *y, double alpha);
    /* dz = dy * act'(z), from y where it is enough and from z where it is not (gelu, silu, softplus, hard_swish,
     * mish); z may be NULL for the others. dz may be dy. */
    void (*activation_backward[NN_ACTIVATION_COUNT])(ptrdiff_t n, const void *z, const void *y, const void *dy, void *dz,
                                                     double alpha);
    void (*add)(ptrdiff_t n, const void *a, const void *b, void *y);          /* y may be a or b */
    void (*affine)(ptrdiff_t n, const void *x, double scale, double offset, void *y);  /* x * scale + offset; y may be x */
    double (*sum_squares)(ptrdiff_t n, const void *x);
    double (*absolute_maximum)(ptrdiff_t n, const void *x);                   /* inf if any is nan or inf */
    /* l2/2 * sum w^2 + l1 * sum |w|; and g += l2 * w + l1 * sign(w). */
    double (*penalty)(ptrdiff_t n, const void *w, double l1, double l2);
    void (*penalty_backward)(ptrdiff_t n, const void *w, void *g, double l1, double l2);
    void (*gather[NN_SOURCE_COUNT])(ptrdiff_t n, const void *src, void *dst); /* convert to this precision */
    /* y[i] = x[i] * keep_i / (1 - rate), 0 <= rate < 1; keep_i from key and `start` + i alone. x may be y. */
    void (*dropout)(ptrdiff_t n, const void *x, void *y, double rate, const nn_random_key *key, ptrdiff_t start);
    /* x becomes its `items` runs of n numbers in the opposite order. */
    void (*reverse)(ptrdiff_t items, ptrdiff_t n, void *x);
    /* x[i] += deviation * a normal number, from key and the low 32 bits of i alone. */
    void (*noise)(ptrdiff_t n, void *x, double deviation, const nn_random_key *key);
    /* s0, s1: state of the optimizer or NULL where it keeps none (csrc/optimizer.c says which). */
    void (*update[NN_OPTIMIZER_COUNT])(ptrdiff_t n, void *w, const void *g, void *s0, void *s1, const nn_update *u);

    /* m rows of n > 0 numbers; row i begins at x + i * ld */

    void (*softmax)(ptrdiff_t m, ptrdiff_t n, const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy);  /* y may be x */
    /* dx = (dy - sum_j dy_j y_j) * y; dx may be dy. */
    void (*softmax_backward)(ptrdiff_t m, ptrdiff_t n, const void *y, ptrdiff_t ldy, const void *dy, ptrdiff_t ld_dy,
                             void *dx, ptrdiff_t ldx);
    /* Loss and gradient of m rows in one pass. Targets: `labels` (one class a row, already checked) or `t`.
     * loss[i]: the row's loss, not scaled. dy = scale_i * d loss_i / d y, scale_i = scale * (weight ? weight[i] : 1), and 0
     * where scale_i is 0; dy may be NULL. p: probabilities of the two logit losses, may be y itself or NULL. delta: huber's.
     * dy may not overlap y. */
    void (*loss[NN_LOSS_COUNT])(ptrdiff_t m, ptrdiff_t n, const void *y, ptrdiff_t ldy, const void *t, ptrdiff_t ldt,
                                const int32_t *labels, double scale, const double *weight, double delta,
                                double *loss, void *p, ptrdiff_t ldp, void *dy, ptrdiff_t ld_dy);
} nn_kernels;

/* The table of a level ("baseline", "avx2", ...), or NULL where this build or this CPU lacks it. */
const nn_kernels *nn_kernels_at(const char *isa, int precision);
/* Name of the i-th level this build contains, lowest first, or NULL beyond the last; `usable`: the CPU and OS run it. */
const char *nn_level(int i, int *usable);

#endif
