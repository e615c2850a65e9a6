/* What Cython cannot say itself about threads: OpenMP's limit with and without OpenMP, and a barrier.
 *
 * The barrier is our own because a step of a small network takes about as long as OpenMP's. Waiting spins for a bounded
 * number of rounds (tens of microseconds) and then yields the core: unbounded spinning costs milliseconds as soon as
 * another program wants one of our cores.
 */
#ifndef NNFAST_THREADS_H
#define NNFAST_THREADS_H

#include <stdint.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#define NN_OPENMP 1
static inline int nn_omp_limit(void) { return omp_get_max_threads(); }
static inline int nn_team_size(void) { return omp_get_num_threads(); }
#else
#define NN_OPENMP 0
static inline int nn_omp_limit(void) { return 1; }
static inline int nn_team_size(void) { return 1; }
#endif

#if defined(_MSC_VER)
#include <intrin.h>
#include <windows.h>
typedef volatile long nn_atomic;
static inline long nn_fetch_add(nn_atomic *x, long v) { return _InterlockedExchangeAdd(x, v); }
static inline long nn_read(nn_atomic *x) { return _InterlockedOr(x, 0); }
static inline void nn_write(nn_atomic *x, long v) { _InterlockedExchange(x, v); }
static inline void nn_yield(void) { SwitchToThread(); }
#else
#include <sched.h>
#include <stdatomic.h>
typedef atomic_long nn_atomic;
static inline long nn_fetch_add(nn_atomic *x, long v) { return atomic_fetch_add_explicit(x, v, memory_order_acq_rel); }
static inline long nn_read(nn_atomic *x) { return atomic_load_explicit(x, memory_order_acquire); }
static inline void nn_write(nn_atomic *x, long v) { atomic_store_explicit(x, v, memory_order_release); }
static inline void nn_yield(void) { sched_yield(); }
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define nn_relax() _mm_pause()
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define nn_relax() __asm__ volatile("yield")
#else
#define nn_relax() ((void)0)
#endif

/* Arrivals and departures live on cache lines of their own: the first is written by all, the second read by all. */
typedef struct nn_barrier {
    nn_atomic arrived;
    char pad0[64 - sizeof(nn_atomic)];
    nn_atomic round;
    char pad1[64 - sizeof(nn_atomic)];
} nn_barrier;

static inline void nn_barrier_wait(nn_barrier *barrier, int n_threads)
{
    if (n_threads == 1) return;
    const long round = nn_read(&barrier->round);
    if (nn_fetch_add(&barrier->arrived, 1) == n_threads - 1) {
        nn_write(&barrier->arrived, 0);
        nn_write(&barrier->round, round + 1);
        return;
    }
    for (int spin = 0; nn_read(&barrier->round) == round; spin++) {
        if (spin < 4000) nn_relax();
        else nn_yield();
    }
}

/* Seconds of a clock, for "every 5 ms" and the like. */
static inline double nn_clock(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Subnormal numbers count as zero while a plan runs: they cost a hundred cycles each and mean nothing to training. The
 * mode is the calling thread's; it is put back afterwards. */
static inline uint64_t nn_flush_subnormals(void)
{
#if defined(__x86_64__) || defined(_M_X64)
    const unsigned int old = _mm_getcsr();
    _mm_setcsr(old | 0x8040);
    return old;
#elif defined(__aarch64__) && !defined(_MSC_VER)
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(old | (UINT64_C(1) << 24)));
    return old;
#else
    return 0;
#endif
}

static inline void nn_restore_subnormals(uint64_t old)
{
#if defined(__x86_64__) || defined(_M_X64)
    _mm_setcsr((unsigned int)old);
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
    (void)old;
#endif
}

#endif
