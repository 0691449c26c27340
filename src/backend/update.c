/* update.c - the one place where weights change: rule, optimiser and what goes into w_bak, block by
 * block, so that each vector crosses the memory bus once. */
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "tardigrad/update.h"

enum {
  PARALLEL_FROM = 64 * TG_BLOCK, /* floats: below, waking threads costs more than they save */
  MAX_THREADS = 256
};

/* How many threads share `count` floats. */
static int team_of(size_t count) {
  int threads = count < PARALLEL_FROM ? 1 : omp_get_max_threads();
  return threads < MAX_THREADS ? threads : MAX_THREADS;
}

static double block_square_sum(size_t n, const float *restrict x) {
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

static void step_block(const tg_update *u, size_t at, size_t n, float *g, tg_update_sums *sums) {
  float *w = u->w + at, *state = u->rule_state ? u->rule_state + at : NULL;
  float *slot[TG_MAX_SLOTS], before[TG_BLOCK];
  const float *w_bak = u->w_bak ? u->w_bak + at : w;
  const tg_rule *rule = u->rule;
  bool in_paths = u->hyper.keys.path_compensate && u->optimizer->path_step;
  if (rule->compensate && !in_paths)
    rule->compensate(&u->hyper, n, w, w_bak, state, g, &sums->correction_square,
                     &sums->gradient_square);
  else if (!u->optimizer->path_step)
    sums->gradient_square += block_square_sum(n, g);
  if (u->w_bak) sums->gap_square += square_distance(n, w, w_bak);
  if (rule->step) {
    rule->step(&u->hyper, n, w, w_bak, state, g, &sums->correction_square);
    return;
  }
  if (u->optimizer->whole) {
    if (u->whole) memcpy(u->whole + at, g, n * sizeof *g);
    return;
  }
  if (rule->settle) memcpy(before, w, n * sizeof *w);
  for (int i = 0; i < u->optimizer->slots; i++) slot[i] = u->slot[i] + at;
  u->optimizer->apply(&u->hyper, n, w, g, slot);
  if (rule->settle) rule->settle(&u->hyper, n, before, w, state);
}

static void serve_block(const tg_update *u, size_t at, size_t n) {
  const float *w = u->w + at;
  if (u->rule->serve && !u->as_it_is)
    u->rule->serve(&u->hyper, n, w, u->rule_state ? u->rule_state + at : NULL, u->bak_out + at);
  else
    memcpy(u->bak_out + at, w, n * sizeof *w);
}

/* Blocks [first,last) of the span. */
static void update_blocks(const tg_update *u, tg_span span, float *g, size_t first, size_t last,
                          tg_update_sums *sums) {
  tg_update_sums own = {0};
  /* Optimisers of whole tensors have yet to make the weights. */
  bool serves = u->bak_out && !(g && u->optimizer->whole);
  for (size_t i = first; i < last; i++) {
    size_t at = span.lo + i * TG_BLOCK;
    size_t n = span.hi - at < TG_BLOCK ? span.hi - at : TG_BLOCK;
    if (g) step_block(u, at, n, g + (at - span.lo), &own);
    if (serves) serve_block(u, at, n);
  }
  *sums = own;
}

void tg_update_apply(const tg_update *given, tg_span span, float *g, tg_update_sums *sums) {
  tg_update prepared = *given;
  const tg_update *u = &prepared;
  tg_update_sums part[MAX_THREADS];
  size_t count = span.hi - span.lo, blocks = (count + TG_BLOCK - 1) / TG_BLOCK;
  int threads = team_of(count);
  memset(part, 0, (size_t)threads * sizeof *part);
  if (g) tg_optimizer_prepare(given->optimizer, &prepared.hyper);
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

tg_status tg_update_whole(const tg_update *given, const tg_layout *layout, size_t n, float *g,
                          tg_update_sums *sums) {
  tg_update prepared = *given;
  tg_optimizer_prepare(given->optimizer, &prepared.hyper);
  TG_TRY(given->optimizer->whole(&prepared, layout, g, sums));
  /* In path space weights are served row by row, as they are made. */
  if (given->bak_out && !given->optimizer->path_step)
    memcpy(given->bak_out, given->w, n * sizeof *g);
  return TG_OK;
}

/* ---- whole vectors ---- */

/* A fixed number of sums side by side: the compiler may use vectors, the order never changes. */
static double part_square_sum(const float *x, size_t n) {
  double lane[TG_SUM_LANES] = {0}, sum = 0;
  size_t i = 0;
  for (; i + TG_SUM_LANES <= n; i += TG_SUM_LANES)
    for (size_t j = 0; j < TG_SUM_LANES; j++) lane[j] += (double)x[i + j] * x[i + j];
  for (; i < n; i++) sum += (double)x[i] * x[i];
  for (size_t j = 0; j < TG_SUM_LANES; j++) sum += lane[j];
  return sum;
}

/* The parts depend on n alone, so that any number of threads gives the same sum. */
double tg_square_sum(size_t n, const float *x) {
  double part[TG_SUM_PARTS], sum = 0;
#pragma omp parallel for schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < TG_SUM_PARTS; i++) {
    size_t lo = n / TG_SUM_PARTS * i + n % TG_SUM_PARTS * i / TG_SUM_PARTS;
    size_t hi = n / TG_SUM_PARTS * (i + 1) + n % TG_SUM_PARTS * (i + 1) / TG_SUM_PARTS;
    part[i] = part_square_sum(x + lo, hi - lo);
  }
  for (size_t i = 0; i < TG_SUM_PARTS; i++) sum += part[i];
  return sum;
}

void tg_scale(size_t n, float *x, float factor) {
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < n; i++) x[i] *= factor;
}
