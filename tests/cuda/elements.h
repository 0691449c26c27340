/* elements.h - elements of the library calls: float or bfloat16 in memory, double in sums. */
#ifndef TESTS_CUDA_ELEMENTS_H
#define TESTS_CUDA_ELEMENTS_H

#include <cuda_bf16.h>

#include <vector>

namespace tg_emulator {

inline size_t element_bytes(bool is_bf16) {
  return is_bf16 ? 2 : 4;
}

inline float element_get(const void *p, bool is_bf16, size_t i) {
  return is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i])
                 : static_cast<const float *>(p)[i];
}

/* Rounds once, to what the memory holds. */
inline void element_set(void *p, bool is_bf16, size_t i, double value) {
  if (is_bf16)
    static_cast<__nv_bfloat16 *>(p)[i] = __double2bfloat16(value);
  else
    static_cast<float *>(p)[i] = float(value);
}

/* 10 bits of fraction, to nearest, ties away from zero: what a GPU makes of the factors. */
inline float to_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? __uint_as_float((bits + 0x1000u) & ~0x1fffu) : x;
}

inline std::vector<float> elements_read(const void *p, bool is_bf16, size_t n, bool tf32) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; i++) {
    float x = element_get(p, is_bf16, i);
    out[i] = tf32 ? to_tf32(x) : x;
  }
  return out;
}

} // namespace tg_emulator

#endif
