/* negative_exp.h - e^-x in float32 by IEEE operations alone, so that a loop over it can use vectors
 * and a GPU gets the same bits (kernels/update.cu has the same lines). */
#ifndef OPTIM_NEGATIVE_EXP_H
#define OPTIM_NEGATIVE_EXP_H

#include <stdint.h>

/* tg_negative_exp - e^-x for x >= 0; beyond 87, where float32 nearly ends, e^-87. Relative error:
 * below 2e-7. x = k log 2 + r with |r| <= log(2) / 2 (Cody and Waite: log 2 in two parts, the first
 * so short that k times it is exact), e^-r by its series to the seventh power, 2^-k as bits. */
static inline float tg_negative_exp(float x) {
  union {
    float number;
    int32_t bits;
  } y = {x}, scale;
  const int32_t most = 0x42ae0000; /* the bits of 87: those of numbers above 0 are in their order */
  y.bits = y.bits < most ? y.bits : most;
  int32_t k = (int32_t)(y.number * 1.44269504f + 0.5f);
  float r = (float)k * 0.693359375f - y.number;
  r = r - (float)k * 2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1;
  p = p * r + 1;
  scale.bits = (127 - k) * (1 << 23);
  return p * scale.number;
}

#endif
