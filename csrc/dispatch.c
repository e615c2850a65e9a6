/* Which levels this build contains and which of them the CPU and the operating system run. */
#include "levels.h"

#include <string.h>

static int always(void) { return 1; }

#if defined(__x86_64__) || defined(_M_X64)

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

enum { EAX, EBX, ECX, EDX };

static void cpuid(unsigned leaf, unsigned r[4])
{
#if defined(_MSC_VER)
    __cpuidex((int *)r, (int)leaf, 0);
#else
    __cpuid_count(leaf, 0, r[EAX], r[EBX], r[ECX], r[EDX]);
#endif
}

/* The register states that the operating system saves for a thread. */
static unsigned saved_states(void)
{
#if defined(_MSC_VER)
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

static int has(unsigned reg, unsigned bits) { return (reg & bits) == bits; }

/* `leaf7`: feature bits wanted in EBX of leaf 7; `states`: bits wanted in XCR0. FMA is always wanted. */
static int x86_has(unsigned leaf7, unsigned states)
{
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;
    unsigned r[4];
    cpuid(0, r);
    if (r[EAX] < 7)
        return 0;
    cpuid(1, r);
    if (!has(r[ECX], fma | osxsave | avx) || !has(saved_states(), states))
        return 0;
    cpuid(7, r);
    return has(r[EBX], leaf7);
}

static const unsigned avx2_bit = 1u << 5;
static const unsigned avx512_bits = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;      /* F, DQ, BW, VL */
static const unsigned ymm_states = 0x06, zmm_states = 0xe6;

static int has_avx2(void) { return x86_has(avx2_bit, ymm_states); }
static int has_avx512(void) { return x86_has(avx2_bit | avx512_bits, zmm_states); }

#else

static int has_avx2(void) { return 0; }
static int has_avx512(void) { return 0; }

#endif

static const struct {
    const char *isa;
    const nn_kernels *(*table)(int precision);
    int (*usable)(void);
} levels[] = {
    {"baseline", nn_kernels_baseline, always},
    {"avx2", nn_kernels_avx2, has_avx2},
    {"avx512", nn_kernels_avx512, has_avx512},
    {"neon", nn_kernels_neon, always},
};

enum { LEVEL_COUNT = sizeof levels / sizeof levels[0] };

const nn_kernels *nn_kernels_at(const char *isa, int precision)
{
    if (precision < 0 || precision >= NN_PRECISION_COUNT)
        return NULL;
    for (int i = 0; i < LEVEL_COUNT; i++)
        if (strcmp(levels[i].isa, isa) == 0)
            return levels[i].usable() ? levels[i].table(precision) : NULL;
    return NULL;
}

const char *nn_level(int i, int *usable)
{
    for (int level = 0; level < LEVEL_COUNT; level++) {
        if (levels[level].table(NN_FLOAT32) == NULL)
            continue;
        if (i-- == 0) {
            *usable = levels[level].usable();
            return levels[level].isa;
        }
    }
    return NULL;
}
