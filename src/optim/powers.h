/* powers.h - powers of decays, once an update: by IEEE operations in a fixed order, since the C
 * library's pow, log and exp differ in the last bit from version to version and processor to
 * processor. Double. */
#ifndef OPTIM_POWERS_H
#define OPTIM_POWERS_H

#include <math.h>
#include <stdint.h>

/* tg_power - x^t for 0 <= x <= 1, by squaring. Relative error: below t * 2^-53. */
static inline double tg_power(double x, uint64_t t) {
  double y = 1;
  for (; t > 0; t >>= 1, x *= x)
    if (t & 1) y *= x;
  return y;
}

/* tg_log - the natural logarithm of x > 0: x = m 2^e with m in [sqrt 1/2, sqrt 2), and
 * log m = 2 atanh((m - 1) / (m + 1)) as a series. Relative error: below 1e-14. */
static inline double tg_log(double x) {
  int e;
  double m = frexp(x, &e);
  if (m < 0.70710678118654752) m *= 2, e--;
  double z = (m - 1) / (m + 1), square = z * z, sum = 0;
  for (int k = 27; k > 0; k -= 2) sum = sum * square + 1.0 / k;
  return e * 0.69314718055994531 + 2 * z * sum;
}

/* tg_exp - e^x for |x| <= 700: x = k log 2 + r, and e^r as a series. Relative error: below 1e-13.
 */
static inline double tg_exp(double x) {
  double k = floor(x * 1.4426950408889634 + 0.5);
  double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33, sum = 1;
  for (int i = 16; i > 0; i--) sum = 1 + sum * r / i;
  return ldexp(sum, (int)k);
}

#endif
