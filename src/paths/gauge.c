/* gauge.c - products of skeletons along their routes, and sums over the weights that share one. */
#include <math.h>
#include <string.h>

#include "paths/paths_private.h"

enum { PARALLEL_FROM = 1 << 15 };

static float skeleton(const tg_path_block *b, int l, size_t t, const float *w) {
  return b->layer[l - 1].hollow ? 1.0f : w[tg_path_skeleton(b, l, t)];
}

/* From unit i towards the input the route is i mod h_{n-1} up to s, and keeps i behind it; towards
 * the output it keeps i before s, and is i mod h_{n+1} from there on. The skeleton of that step is
 * number i of its layer in every case. (p of the output and q of the input belong to no layer.) */
void tg_gauge_read(const tg_path_block *b, const float *w, tg_gauge *out) {
  int last = b->count, s = b->special;
  for (size_t i = 0; i < tg_path_width(b, 0); i++) out->p[0][i] = 1;
  for (int n = 1; n < last; n++)
    for (size_t i = 0; i < tg_path_width(b, n); i++)
      out->p[n][i] = out->p[n - 1][n <= s ? i % tg_path_width(b, n - 1) : i] * skeleton(b, n, i, w);
  for (size_t i = 0; i < tg_path_width(b, last); i++) out->q[last][i] = 1;
  for (int n = last - 1; n >= 1; n--)
    for (size_t i = 0; i < tg_path_width(b, n); i++)
      out->q[n][i] =
          out->q[n + 1][n < s ? i : i % tg_path_width(b, n + 1)] * skeleton(b, n + 1, i, w);
  for (size_t j = 0; j < tg_path_width(b, s); j++) out->v[j] = out->p[s][j] * out->q[s][j];
}

/* ---- sums ---- */

/* Rows [lo,hi) of a layer behind s, column by column: sums pass through the cache once for four. */
static void add_rows(const tg_path_layer *y, size_t lo, size_t hi, const float *w, const float *g,
                     float *restrict sum) {
  const size_t cols = y->in * y->taps;
  size_t o = lo;
  memset(sum, 0, cols * sizeof *sum);
  for (; o + 4 <= hi; o += 4) {
    const float *restrict a = w + y->offset + o * cols, *restrict b = g + y->offset + o * cols;
#pragma omp simd
    for (size_t i = 0; i < cols; i++) {
      float s = sum[i] + a[i] * b[i];
      s += a[i + cols] * b[i + cols];
      s += a[i + 2 * cols] * b[i + 2 * cols];
      sum[i] = s + a[i + 3 * cols] * b[i + 3 * cols];
    }
  }
  for (; o < hi; o++) {
    const float *restrict a = w + y->offset + o * cols, *restrict b = g + y->offset + o * cols;
#pragma omp simd
    for (size_t i = 0; i < cols; i++) sum[i] += a[i] * b[i];
  }
}

/* Column by column, and of each column part by part. */
static double add_parts(const float *part, size_t cols, size_t lo, size_t hi, double sum) {
  for (size_t i = lo; i < hi; i++)
    for (size_t k = 0; k < TG_PATH_PARTS; k++) sum += part[k * cols + i];
  return sum;
}

static void sum_columns(const tg_path_layer *y, tg_path_work *work, const float *w, const float *g,
                        double *sum) {
  size_t cols = y->in * y->taps;
#pragma omp parallel if (cols * y->out > PARALLEL_FROM)
  {
#pragma omp for schedule(static)
    for (size_t k = 0; k < TG_PATH_PARTS; k++)
      add_rows(y, y->out * k / TG_PATH_PARTS, y->out * (k + 1) / TG_PATH_PARTS, w, g,
               work->part + k * cols);
#pragma omp for schedule(static)
    for (size_t j = 0; j < y->in; j++)
      sum[j] = add_parts(work->part, cols, j * y->taps, (j + 1) * y->taps, sum[j]);
  }
}

/* A layer before s: row by row, in lanes, so that the order is fixed. */
static void sum_rows(const tg_path_layer *y, const float *w, const float *g, double *sum) {
  size_t cols = y->in * y->taps;
#pragma omp parallel for schedule(static) if (cols * y->out > PARALLEL_FROM)
  for (size_t o = 0; o < y->out; o++) {
    const float *restrict a = w + y->offset + o * cols, *restrict b = g + y->offset + o * cols;
    float lane[TG_SUM_LANES] = {0};
    size_t i = 0;
    for (; i + TG_SUM_LANES <= cols; i += TG_SUM_LANES)
      for (size_t j = 0; j < TG_SUM_LANES; j++) lane[j] += a[i + j] * b[i + j];
    for (; i < cols; i++) sum[o] += (double)a[i] * b[i];
    for (size_t j = 0; j < TG_SUM_LANES; j++) sum[o] += lane[j];
    if (y->bias != TG_NOWHERE) sum[o] += (double)w[y->bias + o] * g[y->bias + o];
  }
}

void tg_path_sums(const tg_path_block *b, tg_path_work *work, const float *w, const float *g,
                  double *sum) {
  memset(sum, 0, tg_path_width(b, b->special) * sizeof *sum);
  for (int l = 1; l <= b->count; l++) {
    if (l > b->special) sum_columns(&b->layer[l - 1], work, w, g, sum);
    if (l < b->special) sum_rows(&b->layer[l - 1], w, g, sum);
  }
}

/* ---- norms ---- */

static inline __attribute__((always_inline)) void
add_squares(const float *row, size_t in, size_t taps, size_t from, size_t to, float *norm) {
  double sum[9] = {0};
  for (size_t i = 0; i < in; i++)
    for (size_t tap = from; tap < to; tap++)
      sum[tap - from] += (double)row[i * taps + tap] * row[i * taps + tap];
  for (size_t tap = from; tap < to; tap++) norm[tap] = (float)sqrt(sum[tap - from]);
}

void tg_path_norms(const tg_path_layer *y, const float *row, float *norm) {
  if (y->taps == 9) {
    add_squares(row, y->in, 9, 0, 9, norm);
    return;
  }
  for (size_t tap = 0; tap < y->taps; tap++) add_squares(row, y->in, y->taps, tap, tap + 1, norm);
}
