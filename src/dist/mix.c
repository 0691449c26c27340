/* mix.c - means and distances of weights. */
#include "dist/mix.h"

#include <string.h>

#include "tardigrad/update.h"

enum { PARALLEL_FROM = 1 << 16 }; /* floats */

void tg_mix_mean(size_t n, const float *const *x, size_t count, float *out) {
  const float part = 1.0f / (float)count;
  size_t blocks = (n + TG_BLOCK - 1) / TG_BLOCK;
#pragma omp parallel for schedule(static) if (n > PARALLEL_FROM)
  for (size_t i = 0; i < blocks; i++) {
    float sum[TG_BLOCK];
    size_t at = i * TG_BLOCK, some = n - at < TG_BLOCK ? n - at : TG_BLOCK;
    memcpy(sum, x[0] + at, some * sizeof *sum);
    for (size_t m = 1; m < count; m++)
      for (size_t j = 0; j < some; j++) sum[j] += x[m][at + j];
    for (size_t j = 0; count > 1 && j < some; j++) sum[j] *= part;
    memcpy(out + at, sum, some * sizeof *sum);
  }
}

void tg_mix_part(size_t n, float *x, size_t count) {
  const float part = 1.0f / (float)count;
  if (count == 1) return;
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_FROM)
  for (size_t i = 0; i < n; i++) x[i] *= part;
}

void tg_mix_pair(size_t n, float *restrict a, float *restrict b) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_FROM)
  for (size_t i = 0; i < n; i++) {
    double sum = (double)a[i] + (double)b[i];
    a[i] = (float)(sum / 2);
    b[i] = (float)(sum - (double)a[i]);
  }
}

/* Of elements [lo,hi). */
static double part_of(const float *x, const float *z, size_t lo, size_t hi) {
  double sum = 0;
  for (size_t i = lo; i < hi; i++) {
    double d = (double)x[i] - (double)z[i];
    sum += d * d;
  }
  return sum;
}

/* In parts that depend on n alone. */
static double distance(size_t n, const float *x, const float *z, float *adopts) {
  double part[TG_SUM_PARTS], sum = 0;
#pragma omp parallel for schedule(static) if (n > PARALLEL_FROM)
  for (size_t i = 0; i < TG_SUM_PARTS; i++) {
    size_t lo = n * i / TG_SUM_PARTS, hi = n * (i + 1) / TG_SUM_PARTS;
    part[i] = part_of(x, z, lo, hi);
    if (adopts) memcpy(adopts + lo, z + lo, (hi - lo) * sizeof *z);
  }
  for (size_t i = 0; i < TG_SUM_PARTS; i++) sum += part[i];
  return sum;
}

double tg_mix_distance(size_t n, const float *x, const float *z) {
  return distance(n, x, z, NULL);
}

double tg_mix_adopt(size_t n, float *x, const float *z) {
  return distance(n, x, z, x);
}
