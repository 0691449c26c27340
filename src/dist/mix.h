/* mix.h - means and distances of weights, the same to the bit whatever the number of threads. */
#ifndef DIST_MIX_H
#define DIST_MIX_H

#include <stddef.h>

/* tg_mix_mean - out [n] = (x[0] + x[1] + ...) * (1 / count), in this order for every element; the
 * mean of one is that one, unchanged. out is none of them. */
void tg_mix_mean(size_t n, const float *const *x, size_t count, float *out);
/* tg_mix_part - x [n], a sum of count vectors, becomes their mean: the bits of tg_mix_mean. */
void tg_mix_part(size_t n, float *x, size_t count);
/* tg_mix_pair - a [n] and b [n] become their mean: a the nearest float, b what keeps their sum, so
 * that rounding moves no mass where both have the same exponent. They may then differ in the last
 * bit. */
void tg_mix_pair(size_t n, float *a, float *b);
/* tg_mix_distance - |x - z|^2. tg_mix_adopt - the same, and then x = z. */
double tg_mix_distance(size_t n, const float *x, const float *z);
double tg_mix_adopt(size_t n, float *x, const float *z);

#endif
