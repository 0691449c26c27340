/* cuda_bf16.h - bfloat16 of the emulator (see cuda_runtime.h): storage and conversions. Arithmetic
 * on bfloat16 itself is left out on purpose: the kernels compute in float. */
#ifndef TESTS_CUDA_CUDA_BF16_H
#define TESTS_CUDA_CUDA_BF16_H

#include "cuda_runtime.h"

typedef struct __attribute__((aligned(2))) {
  unsigned short x;
} __nv_bfloat16_raw;

#ifdef __cplusplus

struct __attribute__((aligned(2))) __nv_bfloat16 {
  unsigned short __x;

  __nv_bfloat16() = default;
  __nv_bfloat16(float f); /* rounds to nearest even */
  __nv_bfloat16(const __nv_bfloat16_raw &raw) : __x(raw.x) {}
  operator float() const;
  operator __nv_bfloat16_raw() const { return __nv_bfloat16_raw{__x}; }
};

struct __attribute__((aligned(4))) __nv_bfloat162 {
  __nv_bfloat16 x, y;

  __nv_bfloat162() = default;
  __nv_bfloat162(const __nv_bfloat16 &a, const __nv_bfloat16 &b) : x(a), y(b) {}
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

/* Without these, a + b would quietly be a float here and a bfloat16 on a GPU. */
__nv_bfloat16 operator+(const __nv_bfloat16 &, const __nv_bfloat16 &) = delete;
__nv_bfloat16 operator-(const __nv_bfloat16 &, const __nv_bfloat16 &) = delete;
__nv_bfloat16 operator*(const __nv_bfloat16 &, const __nv_bfloat16 &) = delete;
__nv_bfloat16 operator/(const __nv_bfloat16 &, const __nv_bfloat16 &) = delete;

/* ---- bits ---- */

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) {
  return h.__x;
}
inline short __bfloat16_as_short(__nv_bfloat16 h) {
  return short(h.__x);
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 h;
  h.__x = bits;
  return h;
}
inline __nv_bfloat16 __short_as_bfloat16(short bits) {
  return __ushort_as_bfloat16((unsigned short)bits);
}

/* ---- float to bfloat16: the upper half of the float, rounded; any NaN becomes 0x7fff ---- */

inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  unsigned bits = __float_as_uint(f);
  if (f != f) return __ushort_as_bfloat16(0x7fff);
  return __ushort_as_bfloat16((unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16));
}
inline __nv_bfloat16 __float2bfloat16_rz(float f) {
  if (f != f) return __ushort_as_bfloat16(0x7fff);
  return __ushort_as_bfloat16((unsigned short)(__float_as_uint(f) >> 16));
}
inline __nv_bfloat16 __float2bfloat16(float f) {
  return __float2bfloat16_rn(f);
}
inline __nv_bfloat16 __double2bfloat16(double d) {
  float f = float(d); /* rounded to odd first, so that two roundings give what one gives */
  double back = double(f);
  unsigned bits = __float_as_uint(f);
  if (back != d && back == back && !(bits & 1u) && (bits & 0x7fffffffu) < 0x7f800000u)
    f = __uint_as_float((fabs(back) < fabs(d)) ? bits + 1u : bits - 1u);
  return __float2bfloat16_rn(f);
}
inline float __bfloat162float(__nv_bfloat16 h) {
  return __uint_as_float(unsigned(h.__x) << 16);
}

inline __nv_bfloat16::__nv_bfloat16(float f) : __x(__float2bfloat16_rn(f).__x) {}
inline __nv_bfloat16::operator float() const {
  return __bfloat162float(*this);
}

/* ---- pairs: x is the lower half ---- */

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
  return {a, b};
}
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
  return {a, b};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return {__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return __floats2bfloat162_rn(v.x, v.y);
}
inline __nv_bfloat162 __float2bfloat162_rn(float f) {
  return __floats2bfloat162_rn(f, f);
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) {
  return {h, h};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return make_float2(__bfloat162float(v.x), __bfloat162float(v.y));
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) {
  return v.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) {
  return v.y;
}
inline float __low2float(__nv_bfloat162 v) {
  return __bfloat162float(v.x);
}
inline float __high2float(__nv_bfloat162 v) {
  return __bfloat162float(v.y);
}

#endif
#endif
