/* turns.h - what the benchmarks of the CUDA backend share: a clock, medians over turns, their end.
 */
#ifndef BENCH_TURNS_H
#define BENCH_TURNS_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tardigrad/status.h"

static inline double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts x. count > 0. */
static inline double median(double *x, int count) {
  qsort(x, (size_t)count, sizeof *x, ascending);
  return count % 2 ? x[count / 2] : (x[count / 2 - 1] + x[count / 2]) / 2;
}

/* The median of theirs[i] / ours[i], both of one turn: what else happens then hits both. Overwrites
 * theirs. */
static inline double median_ratio(double *theirs, const double *ours, int count) {
  for (int i = 0; i < count; i++) theirs[i] /= ours[i];
  return median(theirs, count);
}

/* Repetitions that fill so many seconds, at `each` seconds a repetition. */
static inline int repetitions(double seconds, double each, int least, int most) {
  double wanted = each > 0 ? seconds / each : most;
  return wanted < least ? least : wanted > most ? most : (int)wanted;
}

/* One line, and the exit code of the failure: 69 where there is no device. */
static inline int failed(const char *program, tg_status status) {
  fprintf(stderr, "%s: %s\n", program, tg_status_message());
  return (int)status;
}

#endif
