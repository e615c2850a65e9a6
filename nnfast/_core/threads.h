/* What Cython cannot say itself about threads: OpenMP's limit with and without OpenMP, and a barrier.
 *
 * The barrier is our own because a step of a small network takes about as long as OpenMP's. Waiting spins for a bounded
 * number of rounds (tens of microseconds) and then sleeps: when another program wants one of our cores, the thread that
 * we wait for may be the one that lost it, and only an idle core can be given to it.
 */
#ifndef NNFAST_THREADS_H
#define NNFAST_THREADS_H

#include <stdint.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#define NN_OPENMP 1
static inline int nn_omp_limit(void) { return omp_get_max_threads(); }
static inline int nn_omp_procs(void) { return omp_get_num_procs(); }
static inline int nn_team_size(void) { return omp_get_num_threads(); }
#else
#define NN_OPENMP 0
static inline int nn_omp_limit(void) { return 1; }
static inline int nn_omp_procs(void) { return 1; }
static inline int nn_team_size(void) { return 1; }
#endif

#if defined(_MSC_VER)
#include <intrin.h>
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN     /* otherwise it defines small, interface and more */
#endif
#ifndef NOMINMAX
#define NOMINMAX                /* and min, max */
#endif
#include <windows.h>
typedef volatile long nn_atomic;
static inline long nn_fetch_add(nn_atomic *x, long v) { return _InterlockedExchangeAdd(x, v); }
static inline long nn_read(nn_atomic *x) { return _InterlockedOr(x, 0); }
static inline void nn_write(nn_atomic *x, long v) { _InterlockedExchange(x, v); }
#else
#include <stdatomic.h>
typedef atomic_int nn_atomic;
static inline int nn_fetch_add(nn_atomic *x, int v) { return atomic_fetch_add(x, v); }
static inline int nn_read(nn_atomic *x) { return atomic_load(x); }
static inline void nn_write(nn_atomic *x, int v) { atomic_store(x, v); }
#endif

/* nn_sleep: until x is no longer `old`, or for no reason; nn_wake: everyone who sleeps on x. */
#if defined(__linux__)
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(SYS_futex)
enum { NN_FUTEX_WAIT = 0, NN_FUTEX_WAKE = 1, NN_FUTEX_PRIVATE = 128 };     /* as in linux/futex.h, which may be missing */
static inline void nn_sleep(nn_atomic *x, int old) { syscall(SYS_futex, x, NN_FUTEX_WAIT | NN_FUTEX_PRIVATE, old, NULL); }
static inline void nn_wake(nn_atomic *x) { syscall(SYS_futex, x, NN_FUTEX_WAKE | NN_FUTEX_PRIVATE, INT_MAX); }
#else
#if defined(_MSC_VER)
static inline void nn_sleep(nn_atomic *x, int old) { (void)x; (void)old; SwitchToThread(); }
#else
#include <sched.h>
static inline void nn_sleep(nn_atomic *x, int old) { (void)x; (void)old; sched_yield(); }
#endif
static inline void nn_wake(nn_atomic *x) { (void)x; }
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define nn_relax() _mm_pause()
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define nn_relax() __asm__ volatile("yield")
#else
#define nn_relax() ((void)0)
#endif

#define NN_SPIN 4000    /* rounds of waiting at full speed */

/* Arrivals and departures live on cache lines of their own: the first is written by all, the second read by all. */
typedef struct nn_barrier {
    nn_atomic arrived;
    char pad0[64 - sizeof(nn_atomic)];
    nn_atomic round;
    nn_atomic sleepers;
    char pad1[64 - 2 * sizeof(nn_atomic)];
} nn_barrier;

/* Seconds of a clock, for "every 50 ms" and the like. */
static inline double nn_clock(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void nn_barrier_wait(nn_barrier *barrier, int n_threads)
{
    if (n_threads == 1) return;
    const int round = nn_read(&barrier->round);
    if (nn_fetch_add(&barrier->arrived, 1) == n_threads - 1) {
        nn_write(&barrier->arrived, 0);
        nn_fetch_add(&barrier->round, 1);
        if (nn_read(&barrier->sleepers) > 0) nn_wake(&barrier->round);
        return;
    }
    for (int spin = 0; spin < NN_SPIN; spin++) {
        if (nn_read(&barrier->round) != round) return;
        nn_relax();
    }
    nn_fetch_add(&barrier->sleepers, 1);    /* before the next look at the round: the last to arrive sees one of both */
    while (nn_read(&barrier->round) == round) nn_sleep(&barrier->round, round);
    nn_fetch_add(&barrier->sleepers, -1);
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
