/* Prints the vector width in float32 lanes and the float32 GFLOP/s of independent fused multiply-adds on one core.
 * Twelve accumulators hide the latency of two FMA units. Compiled at run time for the CPU it runs on (gcc or clang). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define ACCUMULATORS 12
#define ITERATIONS 1000000

typedef float vec __attribute__((vector_size(4 * LANES)));

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 0.2, best = 0.0, end = now() + seconds;
    volatile float factor = 0.5f, addend = 0.5f; /* volatile: the compiler must not fold the loop */
    vec a, b, acc[ACCUMULATORS];
    for (int i = 0; i < LANES; i++) a[i] = factor, b[i] = addend;
    for (int i = 0; i < ACCUMULATORS; i++) acc[i] = a;
    while (now() < end) { /* the best stretch of a few milliseconds: others may use the machine */
        double start = now();
        for (int n = 0; n < ITERATIONS; n++)
            for (int i = 0; i < ACCUMULATORS; i++) acc[i] = acc[i] * a + b;
        double rate = 2e-9 * ACCUMULATORS * LANES * ITERATIONS / (now() - start);
        if (rate > best) best = rate;
    }
    float sum = 0.0f;
    for (int i = 0; i < ACCUMULATORS; i++) sum += acc[i][0];
    printf("%d %.3f\n", LANES, best);
    return sum == 12345.0f; /* uses the accumulators */
}
