/* report_chance.c - whether a difference is more than chance. */
#include <math.h>

#include "run/report_parts.h"

/* Student's t, two-sided, 5 %: by degrees of freedom. As in bench/scaling_table.py. */
static const double T_5_PERCENT[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                     2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                                     2.131,  2.120, 2.110, 2.101, 2.093, 2.086};
enum { TABLE = sizeof T_5_PERCENT / sizeof *T_5_PERCENT };

tg_paired tg_report_paired(const double *difference, size_t n) {
  tg_paired p = {.n = n, .mean = NAN, .half = NAN, .chance = TG_UNKNOWN};
  double sum = 0, square = 0;
  if (n == 0) return p;
  for (size_t i = 0; i < n; i++) sum += difference[i];
  p.mean = sum / (double)n;
  if (n == 1) return p;
  for (size_t i = 0; i < n; i++) square += (difference[i] - p.mean) * (difference[i] - p.mean);
  double t = T_5_PERCENT[n - 1 < TABLE ? n - 2 : TABLE - 1];
  p.half = t * sqrt(square / (double)(n - 1)) / sqrt((double)n);
  p.chance = fabs(p.mean) <= p.half ? TG_CHANCE : TG_NOT_CHANCE;
  return p;
}
