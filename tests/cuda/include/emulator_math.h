/* emulator_math.h - the arithmetic intrinsics of device code as host functions.
 * Part of cuda_runtime.h, C++ only. Approximate intrinsics (__expf) are the C library's. */
#ifndef TESTS_CUDA_EMULATOR_MATH_H
#define TESTS_CUDA_EMULATOR_MATH_H

#include <math.h>

#include <cstdint>
#include <cstring>

namespace tg_emulator {

/* Hides how a value was made, so that the compiler cannot fuse the operation with the next one:
 * __fmul_rn and its like are never part of a fused multiply-add. */
template <typename T> inline T rounded(T x) {
#if defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#else
  volatile T kept = x;
  x = kept;
#endif
  return x;
}

template <typename To, typename From> inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

/* Conversions to integers saturate, and NaN becomes 0. */
template <typename To, typename From> inline To saturated(From x, To least, To most) {
  if (x != x) return To(0);
  if (x <= From(least)) return least;
  if (x >= From(most)) return most;
  return To(x);
}

} // namespace tg_emulator

/* ---- one rounding each ---- */

inline float __fadd_rn(float a, float b) {
  return tg_emulator::rounded(a + b);
}
inline float __fsub_rn(float a, float b) {
  return tg_emulator::rounded(a - b);
}
inline float __fmul_rn(float a, float b) {
  return tg_emulator::rounded(a * b);
}
inline float __fdiv_rn(float a, float b) {
  return tg_emulator::rounded(a / b);
}
inline float __frcp_rn(float a) {
  return tg_emulator::rounded(1.0f / a);
}
inline float __fsqrt_rn(float a) {
  return tg_emulator::rounded(sqrtf(a));
}
inline float __frsqrt_rn(float a) {
  return float(1.0 / sqrt(double(a)));
}
inline float __fmaf_rn(float a, float b, float c) {
  return tg_emulator::rounded(fmaf(a, b, c));
}
inline double __dadd_rn(double a, double b) {
  return tg_emulator::rounded(a + b);
}
inline double __dsub_rn(double a, double b) {
  return tg_emulator::rounded(a - b);
}
inline double __dmul_rn(double a, double b) {
  return tg_emulator::rounded(a * b);
}
inline double __ddiv_rn(double a, double b) {
  return tg_emulator::rounded(a / b);
}
inline double __drcp_rn(double a) {
  return tg_emulator::rounded(1.0 / a);
}
inline double __dsqrt_rn(double a) {
  return tg_emulator::rounded(sqrt(a));
}
inline double __fma_rn(double a, double b, double c) {
  return tg_emulator::rounded(fma(a, b, c));
}

/* ---- approximate on a GPU ---- */

inline float __expf(float x) {
  return expf(x);
}
inline float __exp10f(float x) {
  return powf(10.0f, x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __log2f(float x) {
  return log2f(x);
}
inline float __log10f(float x) {
  return log10f(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __sinf(float x) {
  return sinf(x);
}
inline float __cosf(float x) {
  return cosf(x);
}
inline float __tanf(float x) {
  return tanf(x);
}
inline void __sincosf(float x, float *s, float *c) {
  *s = sinf(x), *c = cosf(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __saturatef(float x) {
  return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1.0 / sqrt(x);
}
inline float fdividef(float a, float b) {
  return a / b;
}

/* ---- bits ---- */

inline int __float_as_int(float x) {
  return tg_emulator::bits_as<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return tg_emulator::bits_as<unsigned>(x);
}
inline float __int_as_float(int x) {
  return tg_emulator::bits_as<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return tg_emulator::bits_as<float>(x);
}
inline long long __double_as_longlong(double x) {
  return tg_emulator::bits_as<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return tg_emulator::bits_as<double>(x);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz(unsigned(x)) : 32;
}
inline int __clzll(long long x) {
  return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned((uint64_t(a) * b) >> 32);
}
inline int __mulhi(int a, int b) {
  return int((int64_t(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

/* ---- conversions ---- */

inline int __float2int_rn(float x) {
  return tg_emulator::saturated<int>(rintf(x), INT32_MIN, INT32_MAX);
}
inline int __float2int_rz(float x) {
  return tg_emulator::saturated<int>(truncf(x), INT32_MIN, INT32_MAX);
}
inline int __float2int_rd(float x) {
  return tg_emulator::saturated<int>(floorf(x), INT32_MIN, INT32_MAX);
}
inline int __float2int_ru(float x) {
  return tg_emulator::saturated<int>(ceilf(x), INT32_MIN, INT32_MAX);
}
inline unsigned __float2uint_rn(float x) {
  return tg_emulator::saturated<unsigned>(rintf(x), 0, UINT32_MAX);
}
inline unsigned __float2uint_rz(float x) {
  return tg_emulator::saturated<unsigned>(truncf(x), 0, UINT32_MAX);
}
inline float __int2float_rn(int x) {
  return float(x);
}
inline float __uint2float_rn(unsigned x) {
  return float(x);
}
inline float __ll2float_rn(long long x) {
  return float(x);
}
inline float __ull2float_rn(unsigned long long x) {
  return float(x);
}
inline float __double2float_rn(double x) {
  return float(x);
}
inline double __uint2double_rn(unsigned x) {
  return double(x);
}

/* ---- min and max, which device code has for numbers of one type ---- */

#define TG_EMULATED_MIN_MAX(T)                                                                     \
  inline T min(T a, T b) {                                                                         \
    return b < a ? b : a;                                                                          \
  }                                                                                                \
  inline T max(T a, T b) {                                                                         \
    return a < b ? b : a;                                                                          \
  }
TG_EMULATED_MIN_MAX(int)
TG_EMULATED_MIN_MAX(unsigned)
TG_EMULATED_MIN_MAX(long)
TG_EMULATED_MIN_MAX(unsigned long)
TG_EMULATED_MIN_MAX(long long)
TG_EMULATED_MIN_MAX(unsigned long long)
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}

#endif
