/* The vector type of one (instruction set, precision) and its operations.
 *
 * Included twice by every isa_*.c, once per precision, with exactly one of NN_ISA_BASELINE, NN_ISA_AVX2,
 * NN_ISA_AVX512, NN_ISA_NEON defined and REAL_BITS set to 32 or 64. Kernels are written once against
 *
 *   real  vec  mask  VL                  element, vector of VL elements, VL truth values
 *   NAME(f)                              f_f32 or f_f64: the name of a function of this precision
 *   v_load v_store v_load_n v_store_n    no alignment asked; _n: the first n lanes (0 <= n <= VL), memory beyond
 *                                        them is neither read nor written, lanes beyond them load as 0
 *   v_set1 v_zero
 *   v_add v_sub v_mul v_div v_sqrt
 *   v_fma(a, b, c)  = a * b + c          one rounding, except in baseline
 *   v_fnma(a, b, c) = c - a * b
 *   v_max(a, b) = a > b ? a : b          so b comes back if either is NaN; v_max(floor, x) lets NaN through
 *   v_min(a, b) = a < b ? a : b
 *   v_abs v_neg v_copysign(magnitude, sign)
 *   v_round                              to the nearest integer, ties to even
 *   v_lt v_le v_eq v_isnan -> mask       false for NaN, except v_isnan
 *   mask_and mask_or  v_any(mask)  v_select(mask, a, b) = mask ? a : b
 *   v_pow2(n)                            2^n for integers n whose power is a normal number; 0 one below, inf one above
 *   v_exponent(x, &m)                    x = m * 2^e, m in [1, 2), for normal x > 0; returns e
 *   v_sum v_hmax                         over the lanes, in a fixed order; v_hmax is for vectors without NaN
 *
 * Every operation is a function (always inlined) whose short name is a macro for its suffixed one. simd_baseline.h,
 * simd_x86.h and simd_neon.h define them.
 */
#ifndef NNFAST_SIMD_H
#define NNFAST_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Keeps a vector in a register. gcc prefers to read memory anew for each of a few products, and a read that crosses a line
 * of L1 takes as long as two. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(NN_INTRINSICS) && (defined(NN_ISA_AVX2) || defined(NN_ISA_AVX512))
#define NN_IN_REGISTER(a) __asm__("" : "+v"(a))
#else
#define NN_IN_REGISTER(a) ((void)(a))
#endif

/* A test may substitute an emulation, to run code for instructions that its CPU lacks. */
#ifndef NN_INTRINSICS
#if defined(NN_ISA_NEON)
#define NN_INTRINSICS <arm_neon.h>
#elif !defined(NN_ISA_BASELINE)
#define NN_INTRINSICS <immintrin.h>
#endif
#endif
#ifdef NN_INTRINSICS
#include NN_INTRINSICS
#endif

/* Register tiles live in arrays that must end up in registers: a call would spill them all. */
#if defined(_MSC_VER) && !defined(__clang__)
#define nn_inline static __forceinline
#else
#define nn_inline static inline __attribute__((always_inline))
#endif

/* Before a loop of a few constant rounds whose arrays belong in registers. */
#if defined(__clang__)
#define NN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define NN_UNROLL _Pragma("GCC unroll 16")
#else
#define NN_UNROLL
#endif

#define NN_PASTE2(a, b) a##b
#define NN_PASTE(a, b) NN_PASTE2(a, b)
#define NAME(x) NN_PASTE(x, REAL_SUFFIX)

/* A macro is not expanded inside its own expansion, so these give v_add_f32 or v_add_f64 by the precision in force. */
#define real NAME(real)
#define vec NAME(vec)
#define mask NAME(mask)
#define v_load NAME(v_load)
#define v_store NAME(v_store)
#define v_load_n NAME(v_load_n)
#define v_store_n NAME(v_store_n)
#define v_set1 NAME(v_set1)
#define v_zero NAME(v_zero)
#define v_add NAME(v_add)
#define v_sub NAME(v_sub)
#define v_mul NAME(v_mul)
#define v_div NAME(v_div)
#define v_sqrt NAME(v_sqrt)
#define v_fma NAME(v_fma)
#define v_fnma NAME(v_fnma)
#define v_max NAME(v_max)
#define v_min NAME(v_min)
#define v_abs NAME(v_abs)
#define v_neg NAME(v_neg)
#define v_copysign NAME(v_copysign)
#define v_round NAME(v_round)
#define v_lt NAME(v_lt)
#define v_le NAME(v_le)
#define v_eq NAME(v_eq)
#define v_isnan NAME(v_isnan)
#define mask_and NAME(mask_and)
#define mask_or NAME(mask_or)
#define v_any NAME(v_any)
#define v_select NAME(v_select)
#define v_pow2 NAME(v_pow2)
#define v_exponent NAME(v_exponent)
#define v_sum NAME(v_sum)
#define v_hmax NAME(v_hmax)

#endif /* once per file; the rest is once per precision */

#undef REAL_SUFFIX
#undef REAL_MANTISSA_BITS
#undef REAL_BIAS
#undef REAL_TWO_MANTISSA
#undef VL

#if REAL_BITS == 32
#define REAL_SUFFIX _f32
#define REAL_MANTISSA_BITS 23
#define REAL_BIAS 127
#define REAL_TWO_MANTISSA 8388608.0f            /* 2^23: adding it moves an integer into the low mantissa bits */
typedef float real;
#else
#define REAL_SUFFIX _f64
#define REAL_MANTISSA_BITS 52
#define REAL_BIAS 1023
#define REAL_TWO_MANTISSA 4503599627370496.0
typedef double real;
#endif

#if defined(NN_ISA_BASELINE)
#include "simd_baseline.h"
#elif defined(NN_ISA_NEON)
#include "simd_neon.h"
#else
#include "simd_x86.h"
#endif
