/* Random numbers as a function of their key: the same wherever, whenever and on whichever thread they are drawn. */
#ifndef NNFAST_RANDOM_H
#define NNFAST_RANDOM_H

#include "nnfast.h"

/* fmix64 of MurmurHash3 (A. Appleby), a bijection in which every input bit flips each output bit half of the time. */
static inline uint64_t nn_mix64(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

/* lowbias32 (C. Wellons, "Prospecting for Hash Functions", 2018): likewise for 32 bits, so that it vectorises. */
static inline uint32_t nn_mix32(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* 64 random bits, others for each block. The odd constant (2^64 over the golden ratio) keeps the all-zero key away from
 * the fixed point 0 of the mix. */
static inline uint64_t nn_mix_key(const nn_random_key *key, uint64_t block)
{
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    uint64_t h = nn_mix64(key->seed + golden);
    h = nn_mix64((h ^ key->step) + golden);
    h = nn_mix64((h ^ key->sample) + golden);
    h = nn_mix64((h ^ key->layer) + golden);
    return nn_mix64((h ^ block) + golden);
}

#endif
