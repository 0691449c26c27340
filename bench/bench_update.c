/* bench_update.c - the fused update of server.h against a triad over as many bytes.
 *
 * For some rules and optimisers: one update of 25.6 M parameters, in memory far larger than the
 * caches, in turns with a triad a[i] = b[i] + s c[i]. Counted as STREAM counts, each vector once
 * per direction: the triad moves 12 bytes per element; the update reads g, w, w_bak and writes w
 * and w_bak (20), and reads and writes a mean square and each of the optimiser's vectors (8 each).
 * The triad is as long as makes both move as many bytes. Its stores fetch the lines they overwrite,
 * which nobody counts; a[i] += s b[i] ("axpy") has no such hidden traffic, so it is the stricter
 * neighbour.
 *
 * One JSON object a line. Ratios are of bandwidths, ours over theirs: medians over turns, so that
 * what else the machine does meanwhile hits both.
 *
 *   bench_update [parameters [turns]] */
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tardigrad/arena.h"
#include "tardigrad/server.h"

typedef struct bench_case {
  const char *rule, *optimizer;
  size_t bytes; /* per parameter */
} bench_case;

static const bench_case cases[] = {
    {"asgd", "sgd", 20},           {"dc-asgd-c", "sgd", 20}, {"dc-asgd-a", "sgd", 28},
    {"dc-asgd-a", "momentum", 36}, {"asgd", "adam", 36},     {"dc-asgd-a", "ademamix", 52},
};

enum { W, BAK, G, STATE, SLOT0, SLOT1, SLOT2, TRIAD_A, TRIAD_B, TRIAD_C, VECTORS };

typedef struct bench {
  size_t n;
  int turns;
  float *v[VECTORS];
  double *update, *triad, *axpy; /* [turns] seconds */
} bench;

static double triad(size_t n, float *restrict a, const float *restrict b, const float *restrict c) {
  double start = omp_get_wtime();
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; i++) a[i] = b[i] + 0.5f * c[i];
  return omp_get_wtime() - start;
}

static double axpy(size_t n, float *restrict a, const float *restrict b) {
  double start = omp_get_wtime();
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; i++) a[i] += 1e-6f * b[i];
  return omp_get_wtime() - start;
}

static double update(const tg_update *u, size_t n, float *g) {
  tg_update_sums sums = {0};
  double start = omp_get_wtime();
  tg_update_apply(u, (tg_span){0, n}, g, &sums);
  return omp_get_wtime() - start;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double best(const double *x, int count) {
  double least = x[0];
  for (int i = 1; i < count; i++) least = x[i] < least ? x[i] : least;
  return least;
}

/* The median of theirs[i] / ours[i]; overwrites theirs. */
static double median_ratio(double *theirs, const double *ours, int count) {
  for (int i = 0; i < count; i++) theirs[i] /= ours[i];
  qsort(theirs, (size_t)count, sizeof *theirs, ascending);
  return theirs[count / 2];
}

static bool measure(bench *b, const bench_case *c) {
  tg_update u = {
      .hyper = {.lr = 1e-6f,
                .lambda = 2,
                .mean_square_decay = 0.95f,
                .epsilon = 1e-7f,
                .momentum = 0.9f,
                .keys = {.beta1 = 0.9, .beta2 = 0.999, .beta3 = 0.9999, .epsilon = 1e-8}},
      .w = b->v[W],
      .w_bak = b->v[BAK],
      .bak_out = b->v[BAK],
      .slot = {b->v[SLOT0], b->v[SLOT1], b->v[SLOT2]}};
  if (tg_rule_find(c->rule, &u.rule) || tg_optimizer_find(c->optimizer, &u.optimizer)) return false;
  if (u.rule->has_state) u.rule_state = b->v[STATE];
  size_t elements = c->bytes * b->n / 12;
  for (int i = -1; i < b->turns; i++) { /* the first turn warms up */
    int at = i < 0 ? 0 : i;
    b->update[at] = update(&u, b->n, b->v[G]);
    b->triad[at] = triad(elements, b->v[TRIAD_A], b->v[TRIAD_B], b->v[TRIAD_C]);
    b->axpy[at] = axpy(elements, b->v[TRIAD_A], b->v[TRIAD_B]);
  }
  double gb = (double)(c->bytes * b->n) / 1e9, ours = best(b->update, b->turns);
  printf("{\"bench\":\"update\",\"rule\":\"%s\",\"optimizer\":\"%s\",\"parameters\":%zu,"
         "\"threads\":%d,\"bytes_per_parameter\":%zu,\"update_s\":%.6f,\"gb_per_s\":%.2f,"
         "\"triad_gb_per_s\":%.2f,\"axpy_gb_per_s\":%.2f,",
         c->rule, c->optimizer, b->n, omp_get_max_threads(), c->bytes, ours, gb / ours,
         gb / best(b->triad, b->turns), gb / best(b->axpy, b->turns));
  printf("\"ratio\":%.3f,\"axpy_ratio\":%.3f}\n", median_ratio(b->triad, b->update, b->turns),
         median_ratio(b->axpy, b->update, b->turns));
  return true;
}

static bool setup(bench *b) {
  for (int i = 0; i < VECTORS; i++) {
    size_t n = i >= TRIAD_A ? 5 * b->n : b->n;
    b->v[i] = tg_alloc_aligned(n * sizeof(float));
    if (!b->v[i]) return false;
    for (size_t k = 0; k < n; k++) b->v[i][k] = 1e-3f * (float)(1 + k % 7);
  }
  b->update = calloc((size_t)b->turns, sizeof *b->update);
  b->triad = calloc((size_t)b->turns, sizeof *b->triad);
  b->axpy = calloc((size_t)b->turns, sizeof *b->axpy);
  return b->update && b->triad && b->axpy;
}

int main(int argc, char **argv) {
  bench b = {.n = argc > 1 ? strtoull(argv[1], NULL, 10) : 25600000,
             .turns = argc > 2 ? atoi(argv[2]) : 21};
  if (b.n < 1 || b.turns < 1) {
    fputs("usage: bench_update [parameters [turns]]\n", stderr);
    return 2;
  }
  bool good = setup(&b);
  for (size_t i = 0; good && i < sizeof cases / sizeof cases[0]; i++) good = measure(&b, &cases[i]);
  if (!good) fprintf(stderr, "bench_update: %s\n", tg_status_message());
  for (int i = 0; i < VECTORS; i++) free(b.v[i]);
  free(b.update);
  free(b.triad);
  free(b.axpy);
  return good ? 0 : 1;
}
