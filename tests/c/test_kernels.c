/* Every entry of one level's kernel tables against scalar long double references.
 *
 * Built by tests/c/run once per level, LEVEL naming it. Each array ends at an inaccessible page and begins after a
 * filled one, so a read or write beyond it ends the program and a write before it is reported. Sizes run around the
 * vector length and the register tile. Besides values, checked are the promises of nnfast.h: the same bits however a
 * run or a tile is cut, in place as out of place, nothing written between the rows of a matrix.
 */
#define _DEFAULT_SOURCE
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "levels.h"
#include "random.h"

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define QUOTE2(a) #a
#define QUOTE(a) QUOTE2(a)

typedef long double wide;

int simd_ops(void);

static const nn_kernels *K;
static int f64;                     /* the precision under test */
static int failures, checks;
static char doing[128];             /* what a failure is about */

static void about(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(doing, sizeof doing, format, args);
    va_end(args);
}

static void expect(int good, const char *format, ...)
{
    checks++;
    if (good || failures++ >= 40)
        return;
    va_list args;
    va_start(args, format);
    printf("  FAILED %s float%d, %s: ", QUOTE(LEVEL), f64 ? 64 : 32, doing);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

enum { FILL = 0xff, MAX_REGIONS = 64 };     /* bytes of all ones are NaN in both precisions */

static struct { unsigned char *map, *first; size_t size; } regions[MAX_REGIONS];
static int n_regions;

static void *fenced(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + 2 * page - 1) / page * page;
    unsigned char *map = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || n_regions == MAX_REGIONS) {
        perror("tests/c: memory");
        exit(2);
    }
    memset(map, FILL, body);
    mprotect(map + body, page, PROT_NONE);
    regions[n_regions].map = map;
    regions[n_regions].first = map + body - bytes;
    regions[n_regions++].size = body + page;
    return map + body - bytes;
}

static int filled(const void *p, size_t bytes)
{
    for (const unsigned char *c = p; bytes--; c++)
        if (*c != FILL)
            return 0;
    return 1;
}

/* Ends a case: checks what lies before its arrays and frees them. */
static void release(void)
{
    while (n_regions) {
        n_regions--;
        expect(filled(regions[n_regions].map, (size_t)(regions[n_regions].first - regions[n_regions].map)),
               "wrote before an array");
        munmap(regions[n_regions].map, regions[n_regions].size);
    }
}

/* --- numbers of the precision under test ------------------------------------------------------------------------- */

static wide get(const void *p, ptrdiff_t i) { return f64 ? (wide)((const double *)p)[i] : (wide)((const float *)p)[i]; }

static void put(void *p, ptrdiff_t i, wide v)
{
    if (f64)
        ((double *)p)[i] = (double)v;
    else
        ((float *)p)[i] = (float)v;
}

static void *at(const void *p, ptrdiff_t i) { return (char *)(size_t)p + i * K->real_size; }
static wide epsilon(void) { return f64 ? DBL_EPSILON : FLT_EPSILON; }
static wide least(void) { return f64 ? DBL_MIN : FLT_MIN; }
static wide rounded(wide v) { return f64 ? (wide)(double)v : (wide)(float)v; }

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

static wide between(double lo, double hi) { return lo + (hi - lo) * uniform(); }

static void *array(ptrdiff_t n) { return fenced((size_t)(n * K->real_size)); }

static void *random_array(ptrdiff_t n, double lo, double hi)
{
    void *p = array(n);
    for (ptrdiff_t i = 0; i < n; i++)
        put(p, i, between(lo, hi));
    return p;
}

static void *copy(const void *p, ptrdiff_t n)
{
    void *q = array(n);
    memcpy(q, p, (size_t)(n * K->real_size));
    return q;
}

/* rows x cols with `ld` between rows; what lies between stays filled. */
static ptrdiff_t span(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t ld) { return (rows - 1) * ld + cols; }

static void *random_matrix(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t ld, double lo, double hi)
{
    void *p = array(span(rows, cols, ld));
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < cols; j++)
            put(p, i * ld + j, between(lo, hi));
    return p;
}

static void expect_gaps(const void *p, ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t ld)
{
    for (ptrdiff_t i = 0; i + 1 < rows; i++)
        expect(filled(at(p, i * ld + cols), (size_t)((ld - cols) * K->real_size)), "wrote between rows");
}

/* Any NaN equals any other: compilers swap the operands of a sum, and the first NaN's sign comes back. */
static int same_bits(const void *a, const void *b, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        if (memcmp(at(a, i), at(b, i), (size_t)K->real_size) && !(isnan(get(a, i)) && isnan(get(b, i))))
            return 0;
    return 1;
}

static void expect_near(const void *p, ptrdiff_t i, wide expected, wide error)
{
    const wide got = get(p, i);
    expect(fabsl(got - expected) <= error || got == expected || (isnan(got) && isnan(expected)),
           "[%ld] is %.17Lg, expected %.17Lg, off by %.3Lg > %.3Lg", (long)i, got, expected, fabsl(got - expected),
           error);
}

/* Distance in units of the last place of the expected number; numbers below `zero` count as zero. */
static wide ulps(wide got, wide expected, wide zero)
{
    int e;
    if (got == rounded(expected) || (isnan(got) && isnan(expected)))
        return 0;
    if (fabsl(expected) < zero)
        return fabsl(got - expected) <= zero ? 0 : INFINITY;
    if (isinf(rounded(expected)) && got > 0.999L * (f64 ? (wide)DBL_MAX : (wide)FLT_MAX))
        return 1;
    frexpl(expected, &e);
    return fabsl(got - expected) / ldexpl(epsilon(), e - 1);
}

/* Of an array of n, nothing from number m on was written. */
static void expect_filled(const void *p, ptrdiff_t m, ptrdiff_t n)
{
    expect(filled(at(p, m), (size_t)((n - m) * K->real_size)), "wrote beyond a run of %ld", (long)m);
}

static const ptrdiff_t some[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 100, 131, 257};
enum { N_SOME = sizeof some / sizeof some[0] };

/* --- functions of one number ------------------------------------------------------------------------------------- */

static const char *const names[] = {
    "linear", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "relu6",
    "hard_sigmoid", "hard_swish", "selu", "mish",
};
static const double alpha = 0.3;

static wide sigmoid(wide z) { return z >= 0 ? 1 / (1 + expl(-z)) : expl(z) / (1 + expl(z)); }
static wide phi(wide z) { return 0.5L * erfcl(-z / sqrtl(2)); }

static wide cut(wide z, wide low, wide high) { return z <= low ? low : z >= high ? high : z; }
static wide gate(wide z) { return tanhl(z > 0 ? z + log1pl(expl(-z)) : log1pl(expl(z))); }
static const wide selu_scale = 1.0507009873554804934193L, selu_alpha = 1.6732632423543772848170L;

static wide value(int f, wide z)
{
    const wide a = rounded(alpha);
    switch (f) {
    case NN_SIGMOID: return sigmoid(z);
    case NN_TANH: return tanhl(z);
    case NN_RELU: return z > 0 || isnan(z) ? z : 0;
    case NN_LEAKY_RELU: return z > 0 ? z : a * z;
    case NN_ELU: return z > 0 ? z : a * expm1l(z);
    case NN_GELU: return isinf(z) && z < 0 ? 0 : z * phi(z);
    case NN_SILU: return isinf(z) && z < 0 ? 0 : z * sigmoid(z);
    case NN_SOFTPLUS: return z > 0 ? z + log1pl(expl(-z)) : log1pl(expl(z));
    case NN_RELU6: return cut(z, 0, 6);
    case NN_HARD_SIGMOID: return cut(z + 3, 0, 6) / 6;
    case NN_HARD_SWISH: return z <= -3 ? 0 : z * cut(z + 3, 0, 6) / 6;
    case NN_SELU: return selu_scale * (z > 0 ? z : selu_alpha * expm1l(z));
    case NN_MISH: return isinf(z) && z < 0 ? 0 : z * gate(z);
    default: return z;
    }
}

static wide slope(int f, wide z)
{
    const wide a = rounded(alpha), s = sigmoid(z), root_2pi = sqrtl(2 * 3.141592653589793238462643383279503L);
    switch (f) {
    case NN_SIGMOID: return s * (1 - s);
    case NN_TANH: return 1 - tanhl(z) * tanhl(z);
    case NN_RELU: return z > 0;
    case NN_LEAKY_RELU: return z > 0 ? 1 : a;
    case NN_ELU: return z > 0 ? 1 : a * expl(z);
    case NN_GELU: return isinf(z) ? z > 0 : phi(z) + z * expl(-0.5L * z * z) / root_2pi;
    case NN_SILU: return isinf(z) ? z > 0 : s + z * s * (1 - s);
    case NN_SOFTPLUS: return s;
    case NN_RELU6: return z > 0 && z < 6;
    case NN_HARD_SIGMOID: return z > -3 && z < 3 ? 1 / 6.0L : 0;
    case NN_HARD_SWISH: return z <= -3 ? 0 : z >= 3 ? 1 : z / 3 + 0.5L;
    case NN_SELU: return selu_scale * (z > 0 ? 1 : selu_alpha * expl(z));
    case NN_MISH: return isinf(z) ? z > 0 : gate(z) + z * s * (1 - gate(z) * gate(z));
    default: return 1;
    }
}

typedef void (*run)(ptrdiff_t, const void *, void *, double);
static void run_exp(ptrdiff_t n, const void *x, void *y, double a) { (void)a; K->exp(n, x, y); }
static void run_log(ptrdiff_t n, const void *x, void *y, double a) { (void)a; K->log(n, x, y); }

/* Any split, any position and in place: the same bits. */
static void check_run(run f, const void *x, ptrdiff_t n)
{
    void *y = array(n);
    f(n, x, y, alpha);
    void *z = copy(x, n);
    f(n, z, z, alpha);
    expect(same_bits(y, z, n), "other bits in place");
    for (int s = 0; s < N_SOME && some[s] <= n; s++) {
        memset(z, FILL, (size_t)(n * K->real_size));
        f(some[s], x, z, alpha);
        expect_filled(z, some[s], n);
        f(n - some[s], at(x, some[s]), at(z, some[s]), alpha);
        expect(same_bits(y, z, n), "other bits when cut at %ld", (long)some[s]);
    }
}

/* The worst error over `n` numbers x in units of the last place, which may not pass `limit`. */
static void check_ulps(run f, wide (*expected)(int, wide), int which, const void *x, ptrdiff_t n, double limit)
{
    void *y = array(n);
    wide worst = 0, where = 0, got = 0;
    /* Results below the least normal number are zero; silu's already where its sigmoid is, mish's where exp is. */
    const wide zero = (f == K->activation[NN_SILU] || f == K->activation[NN_MISH] ? 1024 : 2) * least();
    f(n, x, y, alpha);
    for (ptrdiff_t i = 0; i < n; i++) {
        const wide error = ulps(get(y, i), expected(which, get(x, i)), zero);
        if (error > worst || isnan(error)) {
            worst = error;
            where = get(x, i);
            got = get(y, i);
        }
    }
    expect(worst <= limit, "%.2Lf ulps at %.17Lg: %.17Lg, expected %.17Lg", worst, where, got, expected(which, where));
}

static wide exp_of(int unused, wide x) { (void)unused; return expl(x); }
static wide log_of(int unused, wide x) { (void)unused; return x < 0 ? (wide)NAN : logl(x); }

/* Numbers of all magnitudes from 10^-6 to `top`, both signs, with the special ones at the end. */
static void *spread(ptrdiff_t n, double top)
{
    void *x = array(n);
    const wide special[] = {0, -0.0L, INFINITY, -INFINITY, NAN, 1, -1, top, -top, least(), -least()};
    const ptrdiff_t tail = sizeof special / sizeof special[0];
    for (ptrdiff_t i = 0; i < n; i++)
        put(x, i, i < n - tail ? (i % 2 ? -1 : 1) * powl(10, between(-6, log10(top))) : special[i - n + tail]);
    return x;
}

enum { MANY = 4000 };

static void test_functions(void)
{
    const double top = f64 ? 750 : 106;
    about("exp");
    void *x = spread(MANY, top);
    check_ulps(run_exp, exp_of, 0, x, MANY, 4);
    check_run(run_exp, x, MANY);
    release();
    about("exp");
    x = random_array(MANY, -top, top);
    check_ulps(run_exp, exp_of, 0, x, MANY, 4);
    release();

    about("log");
    x = array(MANY);
    for (ptrdiff_t i = 0; i < MANY; i++)
        put(x, i, i % 2 ? ldexpl(between(1, 2), (int)between(f64 ? -1022 : -126, f64 ? 1023 : 127)) : between(0.5, 2));
    put(x, 0, 0);
    put(x, 2, INFINITY);
    put(x, 4, -1);
    put(x, 6, NAN);
    put(x, 8, 1);
    put(x, 10, -INFINITY);
    check_ulps(run_log, log_of, 0, x, MANY, 4);
    check_run(run_log, x, MANY);
    release();

    for (int f = 0; f < NN_ACTIVATION_COUNT; f++) {
        /* gelu is a product of a quotient of polynomials and a density, each with an error of its own. */
        const double limit = f == NN_GELU ? 8 : 4;
        about("%s", names[f]);
        x = spread(MANY, top);
        check_ulps(K->activation[f], value, f, x, MANY, limit);
        check_run(K->activation[f], x, MANY);
        release();
        x = random_array(MANY, -12, 12);
        check_ulps(K->activation[f], value, f, x, MANY, limit);
        release();
    }
}

static void test_backward(void)
{
    for (int f = 0; f < NN_ACTIVATION_COUNT; f++) {
        const int needs_z = f == NN_GELU || f == NN_SILU || f == NN_SOFTPLUS || f == NN_HARD_SWISH || f == NN_MISH;
        const ptrdiff_t n = 1003;
        void *z = spread(n, 90), *y = array(n), *dy = random_array(n, -1, 1), *dz = array(n);
        const void *given = needs_z ? z : NULL;
        about("%s backward", names[f]);
        put(z, n - 7, 0.75);                    /* spread's NaN */
        K->activation[f](n, z, y, alpha);
        K->activation_backward[f](n, given, y, dy, dz, alpha);
        /* silu's has z (1 - s) in it, whose error grows with z until 1 - s is 0. */
        const wide limit = (f == NN_SILU ? 24 : 8) * epsilon();
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(dz, i, get(dy, i) * slope(f, get(z, i)), limit * fabsl(get(dy, i)));
        void *in_place = copy(dy, n), *cut = array(n);
        K->activation_backward[f](n, given, y, in_place, in_place, alpha);
        expect(same_bits(dz, in_place, n), "other bits in place");
        for (int s = 0; s < N_SOME; s++) {
            const ptrdiff_t m = some[s];
            memset(cut, FILL, (size_t)(n * K->real_size));
            K->activation_backward[f](m, given, y, dy, cut, alpha);
            expect_filled(cut, m, n);
            K->activation_backward[f](n - m, needs_z ? at(z, m) : NULL, at(y, m), at(dy, m), at(cut, m), alpha);
            expect(same_bits(dz, cut, n), "other bits when cut at %ld", (long)m);
        }
        put(dy, 0, NAN);
        K->activation_backward[f](1, given, y, dy, dz, alpha);
        expect(isnan(get(dz, 0)) || slope(f, get(z, 0)) == 0, "hides a NaN gradient");
        release();
    }
}

/* --- runs -------------------------------------------------------------------------------------------------------- */

static void test_sums(void)
{
    for (int s = 0; s < N_SOME; s++) {
        const ptrdiff_t n = some[s];
        void *a = random_array(n, -3, 3), *b = random_array(n, -3, 3), *y = array(n), *c = copy(a, n);
        wide squares = 0, absolutes = 0, top = 0;
        about("run of %ld", (long)n);
        for (ptrdiff_t i = 0; i < n; i++) {
            squares += get(a, i) * get(a, i);
            absolutes += fabsl(get(a, i));
            top = fmaxl(top, fabsl(get(a, i)));
        }
        K->add(n, a, b, y);
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(y, i, rounded(get(a, i) + get(b, i)), 0);
        K->add(n, c, b, c);
        expect(same_bits(c, y, n), "add: other bits in a");
        memcpy(c, b, (size_t)(n * K->real_size));
        K->add(n, a, c, c);
        expect(same_bits(c, y, n), "add: other bits in b");

        expect(fabsl(K->sum_squares(n, a) - squares) <= 1e-14L * squares, "sum_squares");
        expect(K->absolute_maximum(n, a) == top, "absolute_maximum is %g", K->absolute_maximum(n, a));
        for (ptrdiff_t i = 0; i < n; i += n > 40 ? 13 : 1) {
            const wide was = get(a, i), bad[] = {NAN, INFINITY, -INFINITY};
            for (int k = 0; k < 3; k++) {
                put(a, i, bad[k]);
                expect(isinf(K->absolute_maximum(n, a)), "absolute_maximum misses %Lg at %ld", bad[k], (long)i);
            }
            put(a, i, was);
        }

        const double l1 = 0.25, l2 = 0.7;
        if (n > 2)
            put(a, 2, 0);
        squares = absolutes = 0;
        for (ptrdiff_t i = 0; i < n; i++) {
            squares += get(a, i) * get(a, i);
            absolutes += fabsl(get(a, i));
        }
        const wide due = 0.5L * l2 * squares + l1 * absolutes;
        expect(fabsl(K->penalty(n, a, l1, l2) - due) <= 1e-13L * due, "penalty");
        memcpy(c, b, (size_t)(n * K->real_size));
        K->penalty_backward(n, a, c, l1, l2);
        for (ptrdiff_t i = 0; i < n; i++) {
            const wide w = get(a, i);
            expect_near(c, i, get(b, i) + l2 * w + l1 * ((w > 0) - (w < 0)), 8 * epsilon());
        }
        release();
    }
}

static void test_gather(void)
{
    for (int s = 0; s < N_SOME; s++) {
        const ptrdiff_t n = some[s];
        float *f = fenced((size_t)n * sizeof *f);
        double *d = fenced((size_t)n * sizeof *d);
        uint8_t *u = fenced((size_t)n);
        void *y = array(n);
        about("gather %ld", (long)n);
        for (ptrdiff_t i = 0; i < n; i++) {
            f[i] = (float)between(-5, 5);
            d[i] = (double)between(-5, 5);
            u[i] = (uint8_t)(i * 37 + 255);
        }
        K->gather[NN_FROM_FLOAT32](n, f, y);
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(y, i, f[i], 0);
        K->gather[NN_FROM_FLOAT64](n, d, y);
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(y, i, rounded(d[i]), 0);
        K->gather[NN_FROM_UINT8](n, u, y);
        for (ptrdiff_t i = 0; i < n; i++)
            expect_near(y, i, u[i], 0);
        release();
    }
}

static void test_dropout(void)
{
    enum { N = 20000 };
    const nn_random_key key = {7, 11, 13, 17};
    const double rates[] = {0, 0.1, 0.5, 0.9};
    for (int r = 0; r < 4; r++) {
        const double rate = rates[r];
        void *x = random_array(N, 0.5, 1), *y = array(N), *z = copy(x, N);
        ptrdiff_t kept = 0;
        about("dropout %g", rate);
        K->dropout(N, x, y, rate, &key, 5);
        for (ptrdiff_t i = 0; i < N; i++)
            if (get(y, i) != 0) {
                kept++;
                expect_near(y, i, get(x, i) / (1 - rate), 2 * epsilon() / (1 - rate));
            }
        expect(fabs((double)kept - N * (1 - rate)) <= 5 * sqrt(N * rate * (1 - rate)), "%ld of %d kept", (long)kept, N);
        if (rate == 0)
            expect(same_bits(x, y, N), "changes a number at rate 0");
        K->dropout(N, z, z, rate, &key, 5);
        expect(same_bits(y, z, N), "other bits in place");
        for (int s = 0; s < N_SOME; s++) {
            const ptrdiff_t m = some[s];
            memset(z, FILL, N * (size_t)K->real_size);
            K->dropout(m, x, z, rate, &key, 5);
            expect_filled(z, m, N);
            K->dropout(N - m, at(x, m), at(z, m), rate, &key, 5 + m);
            expect(same_bits(y, z, N), "other bits when cut at %ld", (long)m);
        }
        /* Another key, any part of it one off: about as many elements agree as two independent draws would. */
        for (int part = 0; part < 4 && rate > 0; part++) {
            nn_random_key other = key;
            uint64_t *parts[] = {&other.seed, &other.step, &other.sample, &other.layer};
            const double share = rate * rate + (1 - rate) * (1 - rate);
            ptrdiff_t agree = 0;
            *parts[part] += 1;
            K->dropout(N, x, z, rate, &other, 5);
            for (ptrdiff_t i = 0; i < N; i++)
                agree += (get(y, i) == 0) == (get(z, i) == 0);
            expect(fabs((double)agree - N * share) <= 5 * sqrt(N * share * (1 - share)), "key part %d: %ld agree", part,
                   (long)agree);
        }
        /* Across the point where the element's index leaves 32 bits. */
        const ptrdiff_t edge = (ptrdiff_t)((INT64_C(1) << 32) - 100);
        K->dropout(300, x, y, rate, &key, edge);
        K->dropout(90, x, z, rate, &key, edge);
        K->dropout(210, at(x, 90), at(z, 90), rate, &key, edge + 90);
        expect(same_bits(y, z, 300), "other bits across 2^32");
        release();
    }
}

static void test_augment(void)
{
    const nn_random_key key = {7, 11, 13, 17};
    const uint64_t mixed = nn_mix_key(&key, 0);
    for (int s = 0; s < N_SOME; s++) {
        const ptrdiff_t n = some[s];
        void *x = random_array(n, -1, 1), *y = copy(x, n);
        about("noise %ld", (long)n);
        K->noise(n, y, 0.75, &key);
        for (ptrdiff_t i = 0; i < n; i++) {
            const uint32_t first = (uint32_t)(i / 128 * 128 + i % 64);
            const uint32_t u = nn_mix32(nn_mix32(first ^ (uint32_t)mixed) + (uint32_t)(mixed >> 32));
            const uint32_t v = nn_mix32(nn_mix32((first + 64) ^ (uint32_t)mixed) + (uint32_t)(mixed >> 32));
            const wide radius = sqrtl(-2 * logl(((u >> 1) + 0.5L) / 2147483648));
            const wide angle = 3.14159265358979323846L * ((v >> 1) / 1073741824.0L - 1);
            expect_near(y, i, get(x, i) + 0.75L * radius * (i % 128 < 64 ? cosl(angle) : sinl(angle)), 3e-6L);
        }
        release();
    }
    for (int s = 0; s < N_SOME; s++)
        for (ptrdiff_t items = 0; items < 5; items++) {
            const ptrdiff_t n = some[s];
            void *x = random_array(items * n, -1, 1), *y = copy(x, items * n);
            about("reverse %ld x %ld", (long)items, (long)n);
            K->reverse(items, n, y);
            for (ptrdiff_t i = 0; i < items; i++)
                for (ptrdiff_t j = 0; j < n; j++)
                    expect_near(y, i * n + j, get(x, (items - 1 - i) * n + j), 0);
            release();
        }
}

/* --- optimizers -------------------------------------------------------------------------------------------------- */

static void reference_update(int kind, const nn_update *u, wide g, wide *w, wide *s0, wide *s1)
{
    g *= u->scale;
    if (u->clip > 0)
        g = fminl(fmaxl(g, -u->clip), u->clip);
    switch (kind) {
    case NN_SGD:
        if (u->momentum == 0) {
            *w -= u->lr * g;
            return;
        }
        *s0 = u->momentum * *s0 + g;
        *w -= u->lr * (u->nesterov ? g + u->momentum * *s0 : *s0);
        return;
    case NN_ADAMW:
        *w *= 1 - (wide)u->lr * u->weight_decay;
        /* fall through */
    case NN_ADAM:
        *s0 = u->beta1 * *s0 + (1 - (wide)u->beta1) * g;
        *s1 = u->beta2 * *s1 + (1 - (wide)u->beta2) * g * g;
        *w -= u->lr / (wide)u->correction1 * *s0 / (sqrtl(*s1) / sqrtl(u->correction2) + u->eps);
        return;
    case NN_RMSPROP:
        *s0 = u->rho * *s0 + (1 - (wide)u->rho) * g * g;
        g /= sqrtl(*s0) + u->eps;
        if (u->momentum != 0)
            g = *s1 = u->momentum * *s1 + g;
        *w -= u->lr * g;
        return;
    default:
        *s0 += g * g;
        *w -= u->lr * g / (sqrtl(*s0) + u->eps);
    }
}

static void check_update(int kind, const nn_update *u, ptrdiff_t n)
{
    const int has_s0 = kind != NN_SGD || u->momentum != 0;
    const int has_s1 = kind == NN_ADAM || kind == NN_ADAMW || (kind == NN_RMSPROP && u->momentum != 0);
    void *w = random_array(n, -1, 1), *g = random_array(n, -1, 1);
    void *s0 = random_array(n, 0.1, 1), *s1 = random_array(n, 0.1, 1);
    void *w1 = copy(w, n), *a = copy(s0, n), *b = copy(s1, n);
    K->update[kind](n, w1, g, has_s0 ? a : NULL, has_s1 ? b : NULL, u);
    for (ptrdiff_t i = 0; i < n; i++) {
        wide x = get(w, i), p = get(s0, i), q = get(s1, i);
        reference_update(kind, u, get(g, i), &x, &p, &q);
        expect_near(w1, i, x, 8 * epsilon() * (1 + fabsl(x - get(w, i))));
        expect_near(a, i, p, 8 * epsilon() * fmaxl(1, fabsl(p)));
        expect_near(b, i, q, 8 * epsilon() * fmaxl(1, fabsl(q)));
    }
    for (int s = 0; s < N_SOME && some[s] <= n; s++) {
        const ptrdiff_t m = some[s];
        void *w2 = copy(w, n), *c = copy(s0, n), *d = copy(s1, n);
        K->update[kind](m, w2, g, has_s0 ? c : NULL, has_s1 ? d : NULL, u);
        expect(same_bits(at(w2, m), at(w, m), n - m), "wrote beyond a run of %ld", (long)m);
        K->update[kind](n - m, at(w2, m), at(g, m), has_s0 ? at(c, m) : NULL, has_s1 ? at(d, m) : NULL, u);
        expect(same_bits(w1, w2, n) && same_bits(a, c, n) && same_bits(b, d, n), "other bits when cut at %ld", (long)m);
    }
    put(g, 0, NAN);
    K->update[kind](n, w1, g, has_s0 ? a : NULL, has_s1 ? b : NULL, u);
    expect(isnan(get(w1, 0)), "hides a NaN gradient");
    release();
}

static void test_update(void)
{
    static const char *const kinds[] = {"sgd", "adam", "adamw", "rmsprop", "adagrad"};
    for (int kind = 0; kind < NN_OPTIMIZER_COUNT; kind++)
        for (int mode = 0; mode < 16; mode++)
            for (ptrdiff_t n = 1; n <= 71; n += 35) {
                nn_update u = {
                    .lr = 0.1, .scale = mode & 4 ? 0.37 : 1, .clip = mode & 8 ? 0.2 : 0, .beta1 = 0.9, .beta2 = 0.999,
                    .correction1 = 0.271, .correction2 = 0.003, .rho = 0.99, .eps = 1e-8, .weight_decay = 0.05,
                };
                u.momentum = mode & 3 ? 0.9 : 0;
                u.nesterov = (mode & 3) == 2;
                about("%s mode %d n %ld", kinds[kind], mode, (long)n);
                check_update(kind, &u, n);
            }
}

#include "test_tiles.h"
#include "test_rows.h"
#include "test_images.h"

static void test_precision(int precision)
{
    K = PASTE(nn_kernels_, LEVEL)(precision);
    f64 = precision == NN_FLOAT64;
    about("table");
    expect(K->real_size == (f64 ? 8 : 4) && strcmp(K->isa, QUOTE(LEVEL)) == 0 && K->nr >= 2 * K->vl, "wrong constants");
    test_brgemm();
    test_brgemm_few();
    test_nonzeros();
    test_transpose();
    test_column_sum();
    test_products();
    test_functions();
    test_backward();
    test_sums();
    test_gather();
    test_dropout();
    test_augment();
    test_update();
    test_softmax();
    test_losses();
    test_copy();
    test_take_rows();
    test_affine();
    test_normalization();
    test_normalization_of_a_band();
    test_layer_normalization();
    test_joined_moments();
    test_pools();
    test_depthwise();
    test_planes();
    test_winograd();
}

int main(void)
{
    failures += simd_ops();
    test_precision(NN_FLOAT32);
    test_precision(NN_FLOAT64);
    printf("%s: %d checks, %d failed\n", QUOTE(LEVEL), checks, failures);
    return failures != 0;
}
