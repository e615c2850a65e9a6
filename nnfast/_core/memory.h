/* Zeroed, cache-line aligned memory. Blocks of many pages come straight from the system: those that are never touched
 * cost nothing. In large blocks huge pages spare the strided walks over weights their address translation misses. */
#ifndef NNFAST_MEMORY_H
#define NNFAST_MEMORY_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Have `size` bytes, whose use is near, brought into the caches. Any address will do. */
static inline void nn_prefetch(const void *p, size_t size)
{
#if defined(__GNUC__)
    for (size_t at = 0; at < size; at += 64) __builtin_prefetch((const char *)p + at, 0, 3);
#else
    (void)p;
    (void)size;
#endif
}

/* Make lines that other threads have read this core's own, before it writes there. A store to such a line waits for about
 * as long as the line would take to come from them, and so do all stores behind it. The stores here, of the values that are
 * there, wait while the core computes. A prefetch for writing does nothing for a line that is there to be read (Zen 4).
 * No other thread may write to these bytes. */
static inline void nn_take_over(void *p, size_t size)
{
    for (size_t at = 0; at < size; at += 64) {
        volatile char *line = (volatile char *)p + at;
        *line = *line;
    }
}

#define NN_PAGES ((size_t)256 << 10)
#define NN_LARGE ((size_t)4 << 20)
#define NN_ROUND(size) (((size) + 65535) / 65536 * 65536)    /* whole pages, whatever their size */

#if defined(_WIN32)
#include <malloc.h>
static inline void *nn_allocate(size_t size)
{
    void *p = _aligned_malloc(size ? size : 1, 64);
    if (p) memset(p, 0, size);
    return p;
}
static inline void nn_release(void *p, size_t size) { (void)size; _aligned_free(p); }
#else
#include <sys/mman.h>
#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif
static inline void *nn_allocate(size_t size)
{
    if (size >= NN_PAGES) {
        const size_t huge = size >= NN_LARGE ? (size_t)2 << 20 : 0, kept = NN_ROUND(size);
        char *p = (char *)mmap(NULL, kept + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == (char *)MAP_FAILED) return NULL;
        if (!huge) return p;
        /* Begin at a huge page's border; give back what lies before it and what is left over behind. */
        const size_t skip = (huge - (size_t)p % huge) % huge;
        if (skip) munmap(p, skip);
        munmap(p + skip + kept, huge - skip);
#ifdef MADV_HUGEPAGE
        madvise(p + skip, kept, MADV_HUGEPAGE);
#endif
        return p + skip;
    }
    void *p = NULL;
    if (posix_memalign(&p, 64, size ? size : 1)) return NULL;
    memset(p, 0, size);
    return p;
}
static inline void nn_release(void *p, size_t size)
{
    if (size >= NN_PAGES) munmap(p, NN_ROUND(size));
    else free(p);
}
#endif

#endif
