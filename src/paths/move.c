/* move.c - weights follow the paths, element by element: any optimiser and rule in pieces that stay
 * in the caches, the plain step in one loop. */
#include "paths/paths_private.h"

/* Loops that are made for constant arguments. */
#define INLINE static inline __attribute__((always_inline))

/* A weight after the plain step d + decay p. c, u, r: of its column, `row` of its row; where
 * columns or row are false those factors are 1, and without them no bit is another. */
INLINE float moved(const tg_hyper *h, const tg_path_factors *row, float c, float u, float r,
                   float m, float w, float g, bool by_column, bool by_row, bool by_norm) {
  float scale = !by_column ? row->row_u : by_row ? row->row_u * u : u;
  float value = !by_column ? row->row_c : by_row ? row->row_c * c : c;
  float ratio = !by_column ? row->row_r : by_row ? row->row_r * r : r;
  bool scaled = by_column || by_row;
  float d = scaled ? g * scale : g;
  if (by_norm) d *= m;
  float step = d + h->weight_decay * (scaled ? w * value : w);
  return scaled ? (w - h->lr * step * scale) * ratio : w - h->lr * step;
}

/* `n` weights of one row, or of four that are `stride` apart: factors of columns are read once. */
INLINE void move_plain(const tg_hyper *hyper, size_t n, size_t stride, float *restrict w,
                       const float *restrict g, const tg_path_factors *f, bool four, bool by_column,
                       bool by_row, bool by_norm) {
  const float *restrict c = f->c, *restrict u = f->u, *restrict r = f->r;
  const tg_hyper h = {.lr = hyper->lr, .weight_decay = hyper->weight_decay};
  const tg_path_factors f0 = f[0], f1 = f[four ? 1 : 0], f2 = f[four ? 2 : 0], f3 = f[four ? 3 : 0];
#define MOVE(k)                                                                                    \
  w[i + k * stride] = moved(&h, &f##k, by_column ? c[i] : 1, by_column ? u[i] : 1,                 \
                            by_column ? r[i] : 1, by_norm ? f##k.norm[i] : 1, w[i + k * stride],   \
                            g[i + k * stride], by_column, by_row, by_norm)
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    MOVE(0);
    if (!four) continue;
    MOVE(1);
    MOVE(2);
    MOVE(3);
  }
#undef MOVE
}

/* Which of them. f: of each row. */
INLINE void move_rows(const tg_path_pass *x, size_t at, size_t n, size_t stride,
                      const tg_path_factors *f, bool four) {
  const tg_hyper *h = &x->u->hyper;
  bool row = false;
  for (int k = 0; k < (four ? 4 : 1); k++) row = row || f[k].row_c != 1 || f[k].row_r != 1;
  float *w = x->u->w + at;
  const float *g = x->g + at;
  switch ((f->no_columns ? 0 : 4) + (row ? 2 : 0) + (f->norm ? 1 : 0)) {
  case 0:
    move_plain(h, n, stride, w, g, f, four, false, false, false);
    break;
  case 1:
    move_plain(h, n, stride, w, g, f, four, false, false, true);
    break;
  case 2:
    move_plain(h, n, stride, w, g, f, four, false, true, false);
    break;
  case 3:
    move_plain(h, n, stride, w, g, f, four, false, true, true);
    break;
  case 4:
    move_plain(h, n, stride, w, g, f, four, true, false, false);
    break;
  case 5:
    move_plain(h, n, stride, w, g, f, four, true, false, true);
    break;
  case 6:
    move_plain(h, n, stride, w, g, f, four, true, true, false);
    break;
  default:
    move_plain(h, n, stride, w, g, f, four, true, true, true);
  }
}

/* `n` <= TG_BLOCK weights from element `at` of the vectors. sums: correction, gradient. */
static void move(const tg_path_pass *x, size_t at, size_t n, const tg_path_factors *f,
                 double *sums) {
  const tg_update *u = x->u;
  const float *w = u->w + at, *then = x->then + at, *g = x->g + at;
  float d[TG_BLOCK], p[TG_BLOCK], bak[TG_BLOCK], step[TG_BLOCK], *slot[TG_MAX_SLOTS];
  for (size_t i = 0; i < n; i++) {
    d[i] = g[i] * (f->row_then_u * f->then_u[i]);
    p[i] = w[i] * (f->row_c * f->c[i]);
  }
  if (f->norm)
    for (size_t i = 0; i < n; i++) d[i] *= f->norm[i];
  if (x->compensates) {
    for (size_t i = 0; i < n; i++) bak[i] = then[i] * (f->row_then_c * f->then_c[i]);
    u->rule->compensate(&u->hyper, n, p, bak, u->rule_state ? u->rule_state + at : NULL, d,
                        &sums[0], &sums[1]);
  }
  for (int i = 0; i < u->optimizer->slots; i++) slot[i] = u->slot[i] + at;
  u->optimizer->path_step(&u->hyper, n, p, d, slot, step);
  float *out = u->w + at;
  for (size_t i = 0; i < n; i++)
    out[i] = (out[i] - u->hyper.lr * step[i] * (f->row_u * f->u[i])) * (f->row_r * f->r[i]);
}

void tg_path_move(const tg_path_pass *x, size_t at, size_t n, size_t stride, size_t rows,
                  const tg_path_factors *f, double *sums) {
  if (!x->plain)
    move(x, at, n, f, sums);
  else if (rows == TG_PATH_ROWS)
    move_rows(x, at, n, stride, f, true);
  else
    move_rows(x, at, n, 0, f, false);
}
