"""The C functions of exported networks (c_source.py), one for each kind of operation.

NET_ stands for the network's prefix, REAL for float or double, and exp@ for expf or exp. Images are (H, W, C), kernels
(R, S, C / groups, K), of transposed convolutions (R, S, C, K), whose window is that of the convolution going back.
Products run over the outputs innermost: compilers make vector code of that without being allowed to change the order of
sums.
"""

WINDOW = """
typedef struct {
    ptrdiff_t height, width, out_height, out_width, rows, columns, down, right, top, left, dilation_h, dilation_w;
} NET_window;
"""

FUNCTIONS = {
    "dense": """
/* y[r][j] = b[j] + sum over i of x[r][i] * w[i][j] */
static void NET_dense(const REAL *x, REAL *restrict y, const REAL *w, const REAL *b, ptrdiff_t rows, ptrdiff_t n_in,
                      ptrdiff_t n_out)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += n_in, y += n_out) {
        for (ptrdiff_t j = 0; j < n_out; j++)
            y[j] = b ? b[j] : 0;
        for (ptrdiff_t i = 0; i < n_in; i++)
            for (ptrdiff_t j = 0; j < n_out; j++)
                y[j] += x[i] * w[i * n_out + j];
    }
}
""",
    "conv": """
/* y[i][j][k] = b[k] + sum over r, s, c of w[r][s][c][k] * x[i * down - top + r * dilation_h][...][c]; 0 outside of x */
static void NET_conv(const REAL *x, REAL *restrict y, const REAL *w, const REAL *b, const NET_window *at,
                     ptrdiff_t channels, ptrdiff_t outputs, ptrdiff_t groups)
{
    const ptrdiff_t own_c = channels / groups, own_k = outputs / groups;
    for (ptrdiff_t i = 0; i < at->out_height; i++)
        for (ptrdiff_t j = 0; j < at->out_width; j++, y += outputs) {
            for (ptrdiff_t k = 0; k < outputs; k++)
                y[k] = b ? b[k] : 0;
            for (ptrdiff_t r = 0; r < at->rows; r++)
                for (ptrdiff_t s = 0; s < at->columns; s++) {
                    const ptrdiff_t row = i * at->down - at->top + r * at->dilation_h;
                    const ptrdiff_t column = j * at->right - at->left + s * at->dilation_w;
                    if (row < 0 || row >= at->height || column < 0 || column >= at->width)
                        continue;
                    for (ptrdiff_t g = 0; g < groups; g++) {
                        const REAL *pixel = x + (row * at->width + column) * channels + g * own_c;
                        const REAL *kernel = w + (r * at->columns + s) * own_c * outputs + g * own_k;
                        for (ptrdiff_t c = 0; c < own_c; c++)
                            for (ptrdiff_t k = 0; k < own_k; k++)
                                y[g * own_k + k] += pixel[c] * kernel[c * outputs + k];
                    }
                }
        }
}
""",
    "conv_transpose": """
/* y[i * down - top + r * dilation_h][...][c] = b[c] + sum over i, r, ..., k of w[r][s][k][c] * x[i][j][k] */
static void NET_conv_transpose(const REAL *x, REAL *restrict y, const REAL *w, const REAL *b, const NET_window *at,
                               ptrdiff_t outputs, ptrdiff_t channels)
{
    for (ptrdiff_t i = 0; i < at->height * at->width; i++)
        for (ptrdiff_t c = 0; c < outputs; c++)
            y[i * outputs + c] = b ? b[c] : 0;
    for (ptrdiff_t i = 0; i < at->out_height; i++)
        for (ptrdiff_t j = 0; j < at->out_width; j++, x += channels)
            for (ptrdiff_t r = 0; r < at->rows; r++)
                for (ptrdiff_t s = 0; s < at->columns; s++) {
                    const ptrdiff_t row = i * at->down - at->top + r * at->dilation_h;
                    const ptrdiff_t column = j * at->right - at->left + s * at->dilation_w;
                    if (row < 0 || row >= at->height || column < 0 || column >= at->width)
                        continue;
                    REAL *pixel = y + (row * at->width + column) * outputs;
                    const REAL *kernel = w + (r * at->columns + s) * channels * outputs;
                    for (ptrdiff_t k = 0; k < channels; k++)
                        for (ptrdiff_t c = 0; c < outputs; c++)
                            pixel[c] += x[k] * kernel[k * outputs + c];
                }
}
""",
    "upsample": """
static void NET_upsample(const REAL *x, REAL *restrict y, const NET_window *at, ptrdiff_t channels)
{
    for (ptrdiff_t i = 0; i < at->height; i++)
        for (ptrdiff_t j = 0; j < at->width; j++, y += channels) {
            const REAL *pixel = x + (i / at->rows * at->out_width + j / at->columns) * channels;
            for (ptrdiff_t c = 0; c < channels; c++)
                y[c] = pixel[c];
        }
}
""",
    "max_pool": """
static void NET_max_pool(const REAL *x, REAL *restrict y, const NET_window *at, ptrdiff_t channels)
{
    for (ptrdiff_t i = 0; i < at->out_height; i++)
        for (ptrdiff_t j = 0; j < at->out_width; j++, y += channels) {
            for (ptrdiff_t c = 0; c < channels; c++)
                y[c] = -INFINITY;
            for (ptrdiff_t r = 0; r < at->rows; r++)
                for (ptrdiff_t s = 0; s < at->columns; s++) {
                    const ptrdiff_t row = i * at->down - at->top + r, column = j * at->right - at->left + s;
                    if (row < 0 || row >= at->height || column < 0 || column >= at->width)
                        continue;
                    const REAL *pixel = x + (row * at->width + column) * channels;
                    for (ptrdiff_t c = 0; c < channels; c++)
                        y[c] = pixel[c] > y[c] || pixel[c] != pixel[c] ? pixel[c] : y[c];
                }
        }
}
""",
    "average_pool": """
static void NET_average_pool(const REAL *x, REAL *restrict y, const NET_window *at, ptrdiff_t channels, int include_pad)
{
    for (ptrdiff_t i = 0; i < at->out_height; i++)
        for (ptrdiff_t j = 0; j < at->out_width; j++, y += channels) {
            ptrdiff_t count = 0;
            for (ptrdiff_t c = 0; c < channels; c++)
                y[c] = 0;
            for (ptrdiff_t r = 0; r < at->rows; r++)
                for (ptrdiff_t s = 0; s < at->columns; s++) {
                    const ptrdiff_t row = i * at->down - at->top + r, column = j * at->right - at->left + s;
                    if (row < 0 || row >= at->height || column < 0 || column >= at->width)
                        continue;
                    const REAL *pixel = x + (row * at->width + column) * channels;
                    for (ptrdiff_t c = 0; c < channels; c++)
                        y[c] += pixel[c];
                    count++;
                }
            if (include_pad)
                count = at->rows * at->columns;
            for (ptrdiff_t c = 0; c < channels; c++)
                y[c] /= (REAL)count;
        }
}
""",
    "pad": """
static void NET_pad(const REAL *x, REAL *restrict y, const NET_window *at, ptrdiff_t channels)
{
    for (ptrdiff_t i = 0; i < at->out_height; i++)
        for (ptrdiff_t j = 0; j < at->out_width; j++, y += channels) {
            const ptrdiff_t row = i - at->top, column = j - at->left;
            const int inside = row >= 0 && row < at->height && column >= 0 && column < at->width;
            for (ptrdiff_t c = 0; c < channels; c++)
                y[c] = inside ? x[(row * at->width + column) * channels + c] : 0;
        }
}
""",
    "batch_norm": """
static void NET_batch_norm(const REAL *x, REAL *y, const REAL *scale, const REAL *shift, ptrdiff_t rows,
                           ptrdiff_t channels)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += channels, y += channels)
        for (ptrdiff_t c = 0; c < channels; c++)
            y[c] = x[c] * scale[c] + shift[c];
}
""",
    "embedding": """
/* for each of n ids the row of the table that it chooses; for what is no id the first one */
static void NET_embedding(const REAL *x, REAL *y, const REAL *w, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t width)
{
    for (ptrdiff_t i = 0; i < n; i++, y += width) {
        const REAL *row = w + (x[i] >= 0 && x[i] < (REAL)rows ? (ptrdiff_t)x[i] * width : 0);
        for (ptrdiff_t j = 0; j < width; j++)
            y[j] = row[j];
    }
}
""",
    "layer_norm": """
/* rows of n numbers, each by its own mean and variance */
static void NET_layer_norm(const REAL *x, REAL *y, const REAL *gamma, const REAL *beta, ptrdiff_t rows, ptrdiff_t n,
                           REAL epsilon)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += n, y += n) {
        REAL mean = 0, squares = 0;
        for (ptrdiff_t i = 0; i < n; i++)
            mean += x[i];
        mean /= (REAL)n;
        for (ptrdiff_t i = 0; i < n; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        const REAL h = 1 / sqrt@(squares / (REAL)n + epsilon);
        for (ptrdiff_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * h * (gamma ? gamma[i] : 1) + (beta ? beta[i] : 0);
    }
}
""",
    "group_norm": """
static void NET_group_norm(const REAL *x, REAL *y, const REAL *gamma, const REAL *beta, ptrdiff_t pixels, ptrdiff_t n,
                           ptrdiff_t groups, REAL epsilon)
{
    const ptrdiff_t width = n / groups;
    for (ptrdiff_t first = 0; first < n; first += width) {
        REAL mean = 0, squares = 0;
        for (ptrdiff_t p = 0; p < pixels; p++) {
            REAL sum = 0;
            for (ptrdiff_t i = first; i < first + width; i++)
                sum += x[p * n + i];
            mean += sum / (REAL)(pixels * width);
        }
        for (ptrdiff_t p = 0; p < pixels; p++) {
            REAL sum = 0;
            for (ptrdiff_t i = first; i < first + width; i++)
                sum += (x[p * n + i] - mean) * (x[p * n + i] - mean);
            squares += sum / (REAL)(pixels * width);
        }
        const REAL h = 1 / sqrt@(squares + epsilon);
        for (ptrdiff_t p = 0; p < pixels; p++)
            for (ptrdiff_t i = first; i < first + width; i++)
                y[p * n + i] = (x[p * n + i] - mean) * h * (gamma ? gamma[i] : 1) + (beta ? beta[i] : 0);
    }
}
""",
    "rescale": """
static void NET_rescale(const REAL *x, REAL *y, ptrdiff_t n, REAL scale, REAL offset)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = x[i] * scale + offset;
}
""",
    "add": """
static void NET_add(const REAL *a, const REAL *b, REAL *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}
""",
    "multiply": """
/* rows of n numbers; (i, j) of a factor is at [i * row + j * column] */
static void NET_multiply(const REAL *a, ptrdiff_t a_row, ptrdiff_t a_column, const REAL *b, ptrdiff_t b_row,
                         ptrdiff_t b_column, REAL *y, ptrdiff_t rows, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < n; j++)
            y[i * n + j] = a[i * a_row + j * a_column] * b[i * b_row + j * b_column];
}
""",
    "concatenate": """
/* rows of n numbers into rows of `width` numbers */
static void NET_put(const REAL *x, REAL *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t width)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t i = 0; i < n; i++)
            y[r * width + i] = x[r * n + i];
}
""",
    "copy": """
static void NET_copy(const REAL *x, REAL *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = x[i];
}
""",
    "to_channels_last": """
static void NET_to_channels_last(const REAL *x, REAL *y, ptrdiff_t pixels, ptrdiff_t channels)
{
    for (ptrdiff_t p = 0; p < pixels; p++)
        for (ptrdiff_t c = 0; c < channels; c++)
            y[p * channels + c] = x[c * pixels + p];
}
""",
    "to_channels_first": """
static void NET_to_channels_first(const REAL *x, REAL *y, ptrdiff_t pixels, ptrdiff_t channels)
{
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t p = 0; p < pixels; p++)
            y[c * pixels + p] = x[p * channels + c];
}
""",
}


def _elementwise(name, expression, alpha=False):
    parameter = ", REAL alpha" if alpha else ""
    return f"""
static void NET_{name}(const REAL *x, REAL *y, ptrdiff_t n{parameter})
{{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = {expression};
}}
"""


ACTIVATIONS = {
    "sigmoid": _elementwise("sigmoid", "1 / (1 + exp@(-x[i]))"),
    "tanh": _elementwise("tanh", "tanh@(x[i])"),
    # The comparisons let NaN through, and keep an infinity from meeting a zero.
    "relu": _elementwise("relu", "x[i] <= 0 ? 0 : x[i]"),
    "leaky_relu": _elementwise("leaky_relu", "x[i] > 0 ? x[i] : alpha * x[i]", alpha=True),
    "elu": _elementwise("elu", "x[i] > 0 ? x[i] : alpha * expm1@(x[i])", alpha=True),
    # erfc, because 1 + erf loses all digits far below zero.
    "gelu": _elementwise("gelu", "x[i] < -1e30f ? 0 : (REAL)0.5 * x[i] * erfc@(x[i] * (REAL)-0.70710678118654752)"),
    "silu": _elementwise("silu", "x[i] < -1e30f ? 0 : x[i] / (1 + exp@(-x[i]))"),
    "softplus": _elementwise("softplus", "x[i] > 0 ? x[i] + log1p@(exp@(-x[i])) : log1p@(exp@(x[i]))"),
    "relu6": _elementwise("relu6", "x[i] <= 0 ? 0 : x[i] >= 6 ? 6 : x[i]"),
    "hard_sigmoid": _elementwise("hard_sigmoid", "x[i] <= -3 ? 0 : x[i] >= 3 ? 1 : (x[i] + 3) / 6"),
    "hard_swish": _elementwise("hard_swish", "x[i] <= -3 ? 0 : x[i] >= 3 ? x[i] : x[i] * (x[i] + 3) / 6"),
    "selu": _elementwise("selu", "(REAL)1.0507009873554805 * (x[i] > 0 ? x[i] : "
                         "(REAL)1.6732632423543772 * expm1@(x[i]))"),
    "mish": _elementwise("mish", "x[i] < -1e30f ? 0 : x[i] * tanh@(x[i] > 0 ? x[i] + log1p@(exp@(-x[i])) : "
                         "log1p@(exp@(x[i])))"),
    "softmax": """
static void NET_softmax(const REAL *x, REAL *y, ptrdiff_t rows, ptrdiff_t n)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += n, y += n) {
        REAL largest = x[0], sum = 0;
        for (ptrdiff_t i = 1; i < n; i++)
            largest = x[i] > largest ? x[i] : largest;
        for (ptrdiff_t i = 0; i < n; i++) {
            y[i] = exp@(x[i] - largest);
            sum += y[i];
        }
        for (ptrdiff_t i = 0; i < n; i++)
            y[i] /= sum;
    }
}
""",
}
