/* Every kernel in the precision that REAL_BITS names, and the table of them. Included twice by each isa_*.c. */

#include "simd.h"

#include "random.h"
#include "vector_math.h"

#include "brgemm.c"
#include "few_columns.c"
#include "nonzeros.c"
#include "transpose.c"
#include "columns.c"
#include "multiply.c"
#include "layer_norm.c"
#include "pool.c"
#include "depthwise.c"
#include "planes.c"
#include "winograd.c"
#include "elementwise.c"
#include "augment.c"
#include "activation.c"
#include "softmax.c"
#include "loss.c"
#include "optimizer.c"

static const nn_kernels NAME(table) = {
    .isa = NN_ISA_NAME,
    .real_size = sizeof(real),
    .vl = VL,
    .mr = MR,
    .nr = NR,
    .mr_narrow = MR_NARROW,
    .few_by_row = FEW_BY_ROW,
    .few_by_column = FEW_BY_COLUMN,

    .brgemm = NAME(brgemm),
    .brgemm_scattered = NAME(brgemm_scattered),
#if FEW_BY_ROW
    .brgemm_few = NAME(brgemm_few),
#endif
    .nonzero_columns = NONZERO_VECTORS * VL,
    .list_nonzeros = NAME(list_nonzeros),
    .multiply_nonzeros = NAME(multiply_nonzeros),
    .transpose = NAME(transpose),
    .copy = NAME(copy),
    .take_rows = NAME(take_rows),
    .column_sum = NAME(column_sum),
    .column_squares = NAME(column_squares),
    .join_moments = NAME(join_moments),
    .join_sums = NAME(join_sums),
    .normalize = NAME(normalize),
    .normalize_sums = NAME(normalize_sums),
    .normalize_backward = NAME(normalize_backward),
    .multiply = NAME(multiply),
    .multiply_columns = NAME(multiply_columns),
    .multiply_rows = NAME(multiply_rows),
    .layer_norm = NAME(layer_norm),
    .layer_norm_backward = NAME(layer_norm_backward),
    .layer_norm_gradient = NAME(layer_norm_gradient),

    .max_pool = NAME(max_pool),
    .max_pool_backward = NAME(max_pool_backward),
    .sum_pool = NAME(sum_pool),
    .sum_pool_backward = NAME(sum_pool_backward),
    .depthwise = NAME(depthwise),
    .depthwise_gradient = NAME(depthwise_gradient),
    .planes = NAME(planes),
    .planes_gradient = NAME(planes_gradient),
    .sum_lanes = NAME(sum_lanes),
    .winograd_input = NAME(winograd_input),
    .winograd_output = NAME(winograd_output),
    .winograd_output_backward = NAME(winograd_output_backward),
    .winograd_kernel = NAME(winograd_kernel),
    .winograd_kernel_backward = NAME(winograd_kernel_backward),

    .exp = NAME(exp_run),
    .log = NAME(log_run),
    .activation = {
        [NN_LINEAR] = NAME(activation_linear),
        [NN_SIGMOID] = NAME(activation_sigmoid),
        [NN_TANH] = NAME(activation_tanh),
        [NN_RELU] = NAME(activation_relu),
        [NN_LEAKY_RELU] = NAME(activation_leaky_relu),
        [NN_ELU] = NAME(activation_elu),
        [NN_GELU] = NAME(activation_gelu),
        [NN_SILU] = NAME(activation_silu),
        [NN_SOFTPLUS] = NAME(activation_softplus),
        [NN_RELU6] = NAME(activation_relu6),
        [NN_HARD_SIGMOID] = NAME(activation_hard_sigmoid),
        [NN_HARD_SWISH] = NAME(activation_hard_swish),
        [NN_SELU] = NAME(activation_selu),
        [NN_MISH] = NAME(activation_mish),
    },
    .activation_backward = {
        [NN_LINEAR] = NAME(activation_linear_backward),
        [NN_SIGMOID] = NAME(activation_sigmoid_backward),
        [NN_TANH] = NAME(activation_tanh_backward),
        [NN_RELU] = NAME(activation_relu_backward),
        [NN_LEAKY_RELU] = NAME(activation_leaky_relu_backward),
        [NN_ELU] = NAME(activation_elu_backward),
        [NN_GELU] = NAME(activation_gelu_backward),
        [NN_SILU] = NAME(activation_silu_backward),
        [NN_SOFTPLUS] = NAME(activation_softplus_backward),
        [NN_RELU6] = NAME(activation_relu6_backward),
        [NN_HARD_SIGMOID] = NAME(activation_hard_sigmoid_backward),
        [NN_HARD_SWISH] = NAME(activation_hard_swish_backward),
        [NN_SELU] = NAME(activation_selu_backward),
        [NN_MISH] = NAME(activation_mish_backward),
    },
    .add = NAME(add),
    .affine = NAME(affine),
    .sum_squares = NAME(sum_squares),
    .absolute_maximum = NAME(absolute_maximum),
    .penalty = NAME(penalty),
    .penalty_backward = NAME(penalty_backward),
    .gather = {
        [NN_FROM_FLOAT32] = NAME(gather_float32),
        [NN_FROM_FLOAT64] = NAME(gather_float64),
        [NN_FROM_UINT8] = NAME(gather_uint8),
    },
    .dropout = NAME(dropout),
    .reverse = NAME(reverse),
    .noise = NAME(noise),
    .update = {
        [NN_SGD] = NAME(update_sgd),
        [NN_ADAM] = NAME(update_adam),
        [NN_ADAMW] = NAME(update_adamw),
        [NN_RMSPROP] = NAME(update_rmsprop),
        [NN_ADAGRAD] = NAME(update_adagrad),
    },

    .softmax = NAME(softmax),
    .softmax_backward = NAME(softmax_backward),
    .loss = {
        [NN_SOFTMAX_CROSS_ENTROPY] = NAME(loss_softmax_cross_entropy),
        [NN_SIGMOID_CROSS_ENTROPY] = NAME(loss_sigmoid_cross_entropy),
        [NN_BINARY_CROSS_ENTROPY] = NAME(loss_binary_cross_entropy),
        [NN_SQUARED_ERROR] = NAME(loss_squared_error),
        [NN_ABSOLUTE_ERROR] = NAME(loss_absolute_error),
        [NN_HUBER] = NAME(loss_huber),
    },
};
