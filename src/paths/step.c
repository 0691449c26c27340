/* step.c - one update in path space: gradients of weights become gradients of basis paths (inverse
 * chain rule), an optimiser moves the paths, and weights follow them (weight allocation). Source:
 * Meng et al., ICLR 2019, sections 4.1 to 4.3; in two passes over memory.
 *
 * With c(w) the product of the skeletons that a weight's path goes through, a_j a trained skeleton,
 * v_j the value of its path, and S_j the sum of w g over all weights whose path goes through it:
 *
 *   d(p) = g / c              p = w c, of a weight that is no skeleton
 *   d(v_j) = (a_j g(a_j) - S_j) / v_j
 *   p <- p - lr step(d(p)),   v_j <- v_j - lr step(d(v_j)) = R_j v_j
 *   a_j <- R_j a_j,           w <- (w - lr step / c) / R_j where its path goes through j
 *
 * Nothing here depends on how units are scaled, as long as that scale is the same before and after:
 * c is computed from the frozen skeletons, whatever they are, and only where they are all 1 or -1
 * is it v_j alone. A change of scale by powers of two changes no bit of any path's value. */
#include <math.h>
#include <string.h>

#include "paths/paths_private.h"

enum { KEPT_W, KEPT_STATE, KEPT_SLOT, PARALLEL_FROM = 1 << 15 };

typedef struct pass {
  const tg_update *u;
  const tg_path_block *b;
  tg_path_work *work;
  tg_path_scratch *k;
  float *g;          /* [n]; of skeletons 0 */
  const float *then; /* [n]: weights that the gradient was computed at */
  bool compensates;  /* the rule, here */
  tg_update_sums *sums;
} pass;

/* ---- elements ---- */

/* `n` weights from element `at` of the vectors. sums: correction, gradient. */
static void move(const pass *x, size_t at, size_t n, const tg_path_factors *f, double *sums) {
  const tg_update *u = x->u;
  const float *w = u->w + at, *then = x->then + at, *g = x->g + at;
  float d[TG_BLOCK], p[TG_BLOCK], bak[TG_BLOCK], step[TG_BLOCK], *slot[TG_MAX_SLOTS];
  for (size_t i = 0; i < n; i++) {
    d[i] = g[i] * (f->row_then_u * f->then_u[i]);
    p[i] = w[i] * (f->row_c * f->c[i]);
  }
  if (f->norm)
    for (size_t i = 0; i < n; i++) d[i] *= f->norm[(f->tap + i) % f->taps];
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

/* What belongs to no block: paths of one weight. */
static void move_outside(const pass *x, tg_span span) {
  const float *one = x->work->ones;
  const tg_path_factors f = {.c = one,
                             .u = one,
                             .r = one,
                             .then_c = one,
                             .then_u = one,
                             .row_c = 1,
                             .row_u = 1,
                             .row_r = 1,
                             .row_then_c = 1,
                             .row_then_u = 1};
  double sums[2] = {0};
  for (size_t at = span.lo; at < span.hi; at += TG_BLOCK)
    move(x, at, span.hi - at < TG_BLOCK ? span.hi - at : TG_BLOCK, &f, sums);
  x->sums->correction_square += sums[0];
  x->sums->gradient_square += sums[1];
}

/* ---- a block's factors ---- */

/* What is divided by: with a clamp not nearer to 0 than this. */
static float nonzero(const pass *x, float c) {
  const float least = x->u->hyper.keys.path_clamp > 0 ? 1e-6f : 0;
  if (!(fabsf(c) < least)) return c;
  x->work->clamped++;
  return c < 0 ? -least : least;
}

static float inverse(const pass *x, float c) {
  return 1 / nonzero(x, c);
}

/* Factors of a row's columns: unit i of `count`, `taps` times each. p of now and then; R where the
 * paths go through the unit that they leave. */
static void set_columns(const pass *x, size_t count, size_t taps, const float *now,
                        const float *then, const float *inverse_ratio, tg_path_factors *f) {
  float *const *column = x->work->column;
  for (size_t i = 0, e = 0; i < count; i++) {
    float u = inverse(x, now[i]), then_u = then == now ? u : inverse(x, then[i]);
    for (size_t tap = 0; tap < taps; tap++, e++) {
      column[0][e] = now[i];
      column[1][e] = u;
      column[2][e] = inverse_ratio ? inverse_ratio[i] : 1;
      column[3][e] = then[i];
      column[4][e] = then_u;
    }
  }
  *f = (tg_path_factors){.c = column[0],
                         .u = column[1],
                         .r = column[2],
                         .then_c = column[3],
                         .then_u = column[4],
                         .row_c = 1,
                         .row_u = 1,
                         .row_r = 1,
                         .row_then_c = 1,
                         .row_then_u = 1,
                         .taps = taps};
}

/* Norms of a layer's weights over input units, tap by tap: [out,taps]. */
static void set_norms(const pass *x, const tg_path_layer *y) {
  for (size_t o = 0; o < y->out; o++)
    for (size_t tap = 0; tap < y->taps; tap++) {
      const float *w = x->then + y->offset + o * y->in * y->taps + tap;
      double sum = 0;
      for (size_t i = 0; i < y->in; i++) sum += (double)w[i * y->taps] * w[i * y->taps];
      x->work->norm[o * y->taps + tap] = (float)sqrt(sum);
    }
}

static void move_row(const pass *x, const tg_path_layer *y, size_t o, tg_path_factors f) {
  size_t cols = y->in * y->taps;
  const tg_path_factors row = f;
  double *sums = x->work->sums + 2 * o;
  sums[0] = sums[1] = 0;
  for (size_t i = 0; i < cols; i += TG_BLOCK) {
    f.tap = i % y->taps;
    f.c = row.c + i, f.u = row.u + i, f.r = row.r + i;
    f.then_c = row.then_c + i, f.then_u = row.then_u + i;
    move(x, y->offset + o * cols + i, cols - i < TG_BLOCK ? cols - i : TG_BLOCK, &f, sums);
  }
}

static void move_weights(const pass *x, int l) {
  const tg_path_layer *y = &x->b->layer[l - 1];
  const float *q = x->k->now.q[l], *then_q = x->k->then.q[l];
  int s = x->b->special;
  tg_path_factors all;
  set_columns(x, y->in, y->taps, x->k->now.p[l - 1], x->k->then.p[l - 1],
              l > s ? x->k->inverse_ratio : NULL, &all);
  for (size_t o = 0; o < y->out; o++) {
    x->work->row[0][o] = inverse(x, q[o]);
    x->work->row[1][o] = then_q == q ? x->work->row[0][o] : inverse(x, then_q[o]);
  }
  if (x->u->hyper.keys.path_norm) set_norms(x, y);
#pragma omp parallel for schedule(static) if (y->out * y->in * y->taps > PARALLEL_FROM)
  for (size_t o = 0; o < y->out; o++) {
    tg_path_factors f = all;
    f.row_c = q[o];
    f.row_u = x->work->row[0][o];
    f.row_then_c = then_q[o];
    f.row_then_u = x->work->row[1][o];
    f.row_r = l < s ? x->k->inverse_ratio[o] : 1;
    if (x->u->hyper.keys.path_norm) f.norm = x->work->norm + o * y->taps;
    move_row(x, y, o, f);
  }
  for (size_t o = 0; o < y->out; o++) {
    x->sums->correction_square += x->work->sums[2 * o];
    x->sums->gradient_square += x->work->sums[2 * o + 1];
  }
}

/* A bias is a weight from a unit that is always 1: its path begins there. */
static void move_biases(const pass *x, int l) {
  const tg_path_layer *y = &x->b->layer[l - 1];
  double sums[2] = {0};
  tg_path_factors f;
  if (y->bias == TG_NOWHERE) return;
  set_columns(x, y->out, 1, x->k->now.q[l], x->k->then.q[l],
              l < x->b->special ? x->k->inverse_ratio : NULL, &f);
  const tg_path_factors all = f;
  for (size_t i = 0; i < y->out; i += TG_BLOCK) {
    f.c = all.c + i, f.u = all.u + i, f.r = all.r + i;
    f.then_c = all.then_c + i, f.then_u = all.then_u + i;
    move(x, y->bias + i, y->out - i < TG_BLOCK ? y->out - i : TG_BLOCK, &f, sums);
  }
  x->sums->correction_square += sums[0];
  x->sums->gradient_square += sums[1];
}

/* ---- skeletons ---- */

/* Element `e` of what skeletons keep, in the order of the layers. */
static float *kept(const tg_path_scratch *k, int what, size_t e) {
  return k->kept + (size_t)what * k->skeletons + e;
}

/* Out of every sum: they are no basis paths of their own. What they are now is kept. */
static void take_out(const pass *x) {
  const tg_path_block *b = x->b;
  size_t e = 0;
  for (int l = 1; l <= b->count; l++)
    for (size_t t = 0; t < tg_path_skeletons(b, l); t++, e++) {
      size_t at = tg_path_skeleton(b, l, t);
      if (l == b->special) x->k->g[t] = x->g[at];
      x->g[at] = 0;
      *kept(x->k, KEPT_W, e) = x->u->w[at];
      if (x->u->rule_state) *kept(x->k, KEPT_STATE, e) = x->u->rule_state[at];
      for (int i = 0; i < x->u->optimizer->slots; i++)
        *kept(x->k, KEPT_SLOT + i, e) = x->u->slot[i][at];
    }
}

static void put_back(const pass *x) {
  const tg_path_block *b = x->b;
  size_t e = 0;
  for (int l = 1; l <= b->count; l++)
    for (size_t t = 0; t < tg_path_skeletons(b, l); t++, e++) {
      size_t at = tg_path_skeleton(b, l, t);
      x->u->w[at] = *kept(x->k, KEPT_W, e);
      if (x->u->rule_state) x->u->rule_state[at] = *kept(x->k, KEPT_STATE, e);
      for (int i = 0; i < x->u->optimizer->slots; i++)
        x->u->slot[i][at] = *kept(x->k, KEPT_SLOT + i, e);
    }
}

/* R, in its limits. */
static float ratio_of(const pass *x, float v, float step) {
  double least = x->u->hyper.keys.path_clamp,
         ratio = 1 - (double)x->u->hyper.lr * step / nonzero(x, v);
  if (least > 0 && !(ratio >= least && ratio <= 1 / least)) {
    x->work->clamped++;
    ratio = ratio > 1 / least ? 1 / least : least;
  }
  return (float)ratio;
}

/* Path gradients of trained skeletons [lo,lo+n). */
static void skeleton_gradients(const pass *x, size_t lo, size_t n, float *d) {
  const tg_path_block *b = x->b;
  const tg_path_layer *y = &b->layer[b->special - 1];
  for (size_t i = 0; i < n; i++) {
    size_t at = tg_path_skeleton(b, b->special, lo + i);
    double a = y->hollow ? 1 : x->then[at];
    double by = nonzero(x, x->k->then.v[lo + i]);
    /* The published norm divides here, and multiplies everywhere else. */
    if (x->u->hyper.keys.path_norm) by *= x->work->norm[(lo + i) * y->taps + y->centre];
    d[i] = (float)((a * x->k->g[lo + i] - x->k->sum[lo + i]) / by);
  }
}

/* Trained skeletons: their new values are kept, and 1 / R is there for the others. */
static void move_skeletons(const pass *x, size_t first) {
  const tg_update *u = x->u;
  const size_t count = tg_path_width(x->b, x->b->special);
  tg_hyper free_of_decay = u->hyper;
  float d[TG_BLOCK], step[TG_BLOCK], *slot[TG_MAX_SLOTS];
  double sums[2] = {0};
  free_of_decay.weight_decay = free_of_decay.factors.couple = 0;
  for (size_t lo = 0; lo < count; lo += TG_BLOCK) {
    size_t n = count - lo < TG_BLOCK ? count - lo : TG_BLOCK;
    const float *v = x->k->now.v + lo;
    skeleton_gradients(x, lo, n, d);
    if (x->compensates)
      u->rule->compensate(&u->hyper, n, v, x->k->then.v + lo,
                          u->rule_state ? kept(x->k, KEPT_STATE, first + lo) : NULL, d, &sums[0],
                          &sums[1]);
    for (int i = 0; i < u->optimizer->slots; i++) slot[i] = kept(x->k, KEPT_SLOT + i, first + lo);
    u->optimizer->path_step(&free_of_decay, n, v, d, slot, step);
    for (size_t i = 0; i < n; i++) {
      float ratio = ratio_of(x, v[i], step[i]);
      *kept(x->k, KEPT_W, first + lo + i) *= ratio;
      x->k->inverse_ratio[lo + i] = 1 / ratio;
    }
  }
  x->sums->correction_square += sums[0];
  x->sums->gradient_square += sums[1];
}

/* ---- the update ---- */

static void move_block(const pass *x) {
  const tg_path_block *b = x->b;
  size_t first = 0;
  tg_gauge_read(b, x->u->w, &x->k->now);
  if (x->then != x->u->w) tg_gauge_read(b, x->then, &x->k->then);
  take_out(x);
  tg_path_sums(b, x->work, x->then, x->g, x->k->sum);
  if (x->u->hyper.keys.path_norm) set_norms(x, &b->layer[b->special - 1]);
  for (int l = 1; l < b->special; l++) first += tg_path_skeletons(b, l);
  move_skeletons(x, first);
  for (int l = 1; l <= b->count; l++) {
    move_weights(x, l);
    move_biases(x, l);
  }
  put_back(x);
}

tg_status tg_path_update(const tg_update *u, const tg_layout *layout, float *g,
                         tg_update_sums *sums) {
  const tg_paths *paths = layout->paths;
  tg_path_work *work = paths->work;
  bool in_paths = u->hyper.keys.path_compensate;
  pass x = {.u = u,
            .work = work,
            .g = g,
            .then = in_paths && u->w_bak ? u->w_bak : u->w,
            .compensates = in_paths && u->rule->compensate,
            .sums = sums};
  for (size_t i = 0; i < paths->count; i++) {
    tg_path_scratch k = work->block[i];
    if (x.then == u->w) k.then = k.now;
    x.b = &paths->block[i];
    x.k = &k;
    move_block(&x);
  }
  for (size_t i = 0; i < work->outside_count; i++) move_outside(&x, work->outside[i]);
  return TG_OK;
}
