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

typedef tg_path_pass pass;

/* What goes into w_bak, while it is in the cache. (It is read before, row by row.) */
static void serve(const pass *x, size_t at, size_t n) {
  if (x->u->bak_out) memcpy(x->u->bak_out + at, x->u->w + at, n * sizeof(float));
}

/* ---- outside ---- */

/* Of `count` rows or pieces, in their order. */
static void add_sums(const pass *x, size_t count, tg_update_sums *to) {
  for (size_t k = 0; k < count && x->compensates; k++) {
    to->correction_square += x->work->sums[2 * k];
    to->gradient_square += x->work->sums[2 * k + 1];
  }
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
                             .row_then_u = 1,
                             .no_columns = true};
  size_t count = span.hi - span.lo, pieces = (count + TG_BLOCK - 1) / TG_BLOCK;
  double *sums = x->work->sums;
#pragma omp parallel for schedule(static) if (count > PARALLEL_FROM)
  for (size_t k = 0; k < pieces; k++) {
    size_t at = span.lo + k * TG_BLOCK, n = span.hi - at < TG_BLOCK ? span.hi - at : TG_BLOCK;
    sums[2 * k] = sums[2 * k + 1] = 0;
    tg_path_move(x, at, n, 0, 1, &f, &sums[2 * k]);
    serve(x, at, n);
  }
  tg_update_sums all = {0};
  add_sums(x, pieces, &all);
  x->sums->correction_square += all.correction_square;
  x->sums->gradient_square += all.gradient_square;
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

/* One unit's factors, as often as it has taps. */
static void repeat(float *to, size_t taps, float value) {
  for (size_t tap = 0; tap < taps; tap++) to[tap] = value;
}

/* Factors of a row's columns: unit i of `count`, `taps` times each. p of now and then; R where the
 * paths go through the unit that they leave. */
static void set_columns(const pass *x, size_t count, size_t taps, const float *now,
                        const float *then, const float *inverse_ratio, tg_path_factors *f) {
  float *const *column = x->work->column;
  bool same = then == now, ones = same && !inverse_ratio;
  for (size_t i = 0; i < count; i++) {
    float u = inverse(x, now[i]);
    repeat(column[0] + i * taps, taps, now[i]);
    repeat(column[1] + i * taps, taps, u);
    repeat(column[2] + i * taps, taps, inverse_ratio ? inverse_ratio[i] : 1);
    ones = ones && now[i] == 1;
    if (same) continue;
    repeat(column[3] + i * taps, taps, then[i]);
    repeat(column[4] + i * taps, taps, inverse(x, then[i]));
  }
  *f = (tg_path_factors){.c = column[0],
                         .u = column[1],
                         .r = column[2],
                         .then_c = column[same ? 0 : 3],
                         .then_u = column[same ? 1 : 4],
                         .row_c = 1,
                         .row_u = 1,
                         .row_r = 1,
                         .row_then_c = 1,
                         .row_then_u = 1,
                         .no_columns = ones};
}

/* Norms of a layer's weights over input units, tap by tap: [out,taps]. */
static void set_norms(const pass *x, const tg_path_layer *y) {
  size_t cols = y->in * y->taps;
#pragma omp parallel for schedule(static) if (y->out * cols > PARALLEL_FROM)
  for (size_t o = 0; o < y->out; o++)
    tg_path_norms(y, x->then + y->offset + o * cols, x->work->norm + o * y->taps);
}

/* A row's norms [taps], over and over. */
static void spread(float *to, size_t n, const float *norm, size_t taps, size_t from) {
  for (size_t i = 0; i < n; i++) {
    to[i] = norm[from];
    from = from + 1 < taps ? from + 1 : 0;
  }
}

/* `count` rows from row o on, 1 or 4; f: of each. */
static void move_pieces(const pass *x, const tg_path_layer *y, size_t o, size_t count,
                        const tg_path_factors *row) {
  const size_t cols = y->in * y->taps;
  tg_path_factors f[TG_PATH_ROWS];
  float norms[TG_PATH_ROWS][TG_BLOCK];
  double *sums = x->work->sums + 2 * o;
  size_t most = x->plain && !row->norm ? cols : TG_BLOCK;
  /* A multiple of the taps, so that norms begin anew with each piece. */
  bool anew = x->plain && y->taps < TG_BLOCK;
  if (anew && row->norm) most = TG_BLOCK / y->taps * y->taps;
  sums[0] = sums[1] = 0;
  for (size_t i = 0; i < cols; i += most) {
    size_t n = cols - i < most ? cols - i : most, at = y->offset + o * cols + i;
    for (size_t k = 0; k < count; k++) {
      f[k] = row[k];
      f[k].c += i, f[k].u += i, f[k].r += i, f[k].then_c += i, f[k].then_u += i;
      if (!row->norm) continue;
      if (i == 0 || !anew) spread(norms[k], n, row[k].norm, y->taps, i % y->taps);
      f[k].norm = norms[k];
    }
    tg_path_move(x, at, n, cols, count, f, sums);
  }
}

static tg_path_factors row_factors(const pass *x, int l, size_t o, const tg_path_factors *columns) {
  const tg_path_layer *y = &x->b->layer[l - 1];
  tg_path_factors f = *columns;
  f.row_c = x->k->now.q[l][o];
  f.row_u = x->work->row[0][o];
  f.row_then_c = x->k->then.q[l][o];
  f.row_then_u = x->work->row[1][o];
  f.row_r = l < x->b->special ? x->k->inverse_ratio[o] : 1;
  if (x->u->hyper.keys.path_norm) {
    float *norm = x->work->norm + o * y->taps;
    tg_path_norms(y, x->then + y->offset + o * y->in * y->taps, norm);
    f.norm = norm;
  }
  return f;
}

/* Rows [lo,hi), no more than TG_PATH_ROWS. */
static void move_group(const pass *x, int l, size_t lo, size_t hi, const tg_path_factors *columns) {
  const tg_path_layer *y = &x->b->layer[l - 1];
  tg_path_factors f[TG_PATH_ROWS];
  for (size_t o = lo; o < hi; o++) f[o - lo] = row_factors(x, l, o, columns);
  size_t together = x->plain && hi - lo == TG_PATH_ROWS ? TG_PATH_ROWS : 1;
  for (size_t o = lo; o < hi; o += together) move_pieces(x, y, o, together, &f[o - lo]);
  serve(x, y->offset + lo * y->in * y->taps, (hi - lo) * y->in * y->taps);
}

static void move_weights(const pass *x, int l) {
  const tg_path_layer *y = &x->b->layer[l - 1];
  const float *q = x->k->now.q[l], *then_q = x->k->then.q[l];
  tg_path_factors columns;
  set_columns(x, y->in, y->taps, x->k->now.p[l - 1], x->k->then.p[l - 1],
              l > x->b->special ? x->k->inverse_ratio : NULL, &columns);
  for (size_t o = 0; o < y->out; o++) {
    x->work->row[0][o] = inverse(x, q[o]);
    x->work->row[1][o] = then_q == q ? x->work->row[0][o] : inverse(x, then_q[o]);
  }
#pragma omp parallel for schedule(static) if (y->out * y->in * y->taps > PARALLEL_FROM)
  for (size_t o = 0; o < y->out; o += TG_PATH_ROWS)
    move_group(x, l, o, y->out - o < TG_PATH_ROWS ? y->out : o + TG_PATH_ROWS, &columns);
  add_sums(x, y->out, x->sums);
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
    size_t n = y->out - i < TG_BLOCK ? y->out - i : TG_BLOCK;
    tg_path_move(x, y->bias + i, n, 0, 1, &f, sums);
  }
  serve(x, y->bias, y->out);
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
      serve(x, at, 1);
      if (x->u->rule_state) x->u->rule_state[at] = *kept(x->k, KEPT_STATE, e);
      for (int i = 0; i < x->u->optimizer->slots; i++)
        x->u->slot[i][at] = *kept(x->k, KEPT_SLOT + i, e);
    }
}

/* R, in its limits. */
static float ratio_of(const pass *x, float v, float step) {
  double least = x->u->hyper.keys.path_clamp,
         ratio = 1 - (double)x->u->hyper.lr * step / nonzero(x, v);
  /* What is no number stays none, and is seen. */
  if (least > 0 && (ratio < least || ratio > 1 / least)) {
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
  /* The last first: they are those that the sums have left in the caches. But what a rule adds up
   * goes by the order of the layers. */
  for (int i = 1; i <= b->count; i++) {
    int l = x->compensates ? i : b->count + 1 - i;
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
            .plain = u->optimizer->path_plain && !(in_paths && (u->w_bak || u->rule->compensate)),
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
