/* update.c - the one place where weights change: rule, optimiser and the copy into w_bak, block by
 * block, so that each vector crosses the memory bus once. */
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "dist/server_private.h"

enum {
  PARALLEL_FROM = 64 * TG_BLOCK, /* floats: below, waking threads costs more than they save */
  MAX_THREADS = 256
};

/* How many threads share `count` floats. */
static int team_of(size_t count) {
  int threads = count < PARALLEL_FROM ? 1 : omp_get_max_threads();
  return threads < MAX_THREADS ? threads : MAX_THREADS;
}

static double square_sum(size_t n, const float *restrict x) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}

static double square_distance(size_t n, const float *restrict x, const float *restrict y) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum;
}

static void update_block(const tg_update *u, size_t at, size_t n, float *g, tg_update_sums *sums) {
  float *w = u->w + at;
  const float *w_bak = u->w_bak ? u->w_bak + at : w;
  if (u->rule->compensate)
    u->rule->compensate(&u->hyper, n, w, w_bak, u->rule_state ? u->rule_state + at : NULL, g,
                        &sums->correction_square, &sums->gradient_square);
  else
    sums->gradient_square += square_sum(n, g);
  if (u->w_bak) sums->gap_square += square_distance(n, w, w_bak);
  float *slot[TG_MAX_SLOTS];
  for (int i = 0; i < u->optimizer->slots; i++) slot[i] = u->slot[i] + at;
  u->optimizer->apply(&u->hyper, n, w, g, slot);
  if (u->bak_out) memcpy(u->bak_out + at, w, n * sizeof *w);
}

/* Blocks [first,last) of the span. */
static void update_blocks(const tg_update *u, tg_span span, float *g, size_t first, size_t last,
                          tg_update_sums *sums) {
  tg_update_sums own = {0};
  for (size_t i = first; i < last; i++) {
    size_t at = span.lo + i * TG_BLOCK;
    size_t n = span.hi - at < TG_BLOCK ? span.hi - at : TG_BLOCK;
    update_block(u, at, n, g + (at - span.lo), &own);
  }
  *sums = own;
}

void tg_update_apply(const tg_update *u, tg_span span, float *g, tg_update_sums *sums) {
  tg_update_sums part[MAX_THREADS];
  size_t count = span.hi - span.lo, blocks = (count + TG_BLOCK - 1) / TG_BLOCK;
  int threads = team_of(count);
  memset(part, 0, (size_t)threads * sizeof *part);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    size_t me = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
    update_blocks(u, span, g, blocks * me / team, blocks * (me + 1) / team, &part[me]);
  }
  /* In the threads' order, so that the sums repeat. */
  for (int i = 0; i < threads; i++) {
    sums->correction_square += part[i].correction_square;
    sums->gradient_square += part[i].gradient_square;
    sums->gap_square += part[i].gap_square;
  }
}

void tg_copy_span(float *to, const float *from, tg_span span) {
  size_t count = span.hi - span.lo;
  int threads = team_of(count);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    size_t me = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
    size_t first = span.lo + count * me / team, last = span.lo + count * (me + 1) / team;
    memcpy(to + first, from + first, (last - first) * sizeof *to);
  }
}
