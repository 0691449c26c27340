/* fidelity.c - corrections of one late gradient, measured against the gradient at the new weights.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"
#include "tardigrad/probe.h"
#include "tardigrad/rng.h"
#include "tardigrad/server.h"

/* Central differences: a tenth of the way between the two weights, and a thousandth of the weights'
 * own size for random directions. Shorter ones drown in the rounding of gradients. */
static const double WAY_PART = 0.1, WEIGHT_PART = 1e-3;

typedef struct measuring {
  const tg_fidelity_options *o;
  uint32_t worker;
  uint64_t step;
  const float *w_bak, *g, *mean_square;
  float *gap, *change;          /* w - w_bak, g' - g */
  float *moved, *before, *unit; /* of a difference: weights, the gradient on one side, direction */
  float *correction;
  double gradient_square, change_square;
} measuring;

const char *tg_curve_name(tg_curve curve) {
  static const char *const names[TG_CURVES] = {
      [TG_CURVE_DIAGONAL] = "diag(g g)",
      [TG_CURVE_ADAPTIVE] = "diag(g g / root mean square)",
      [TG_CURVE_MEAN] = "diag(E[g g])",
      [TG_CURVE_OUTER] = "G = E[g g^T]",
      [TG_CURVE_HUTCHINSON] = "diag(H), Hutchinson",
      [TG_CURVE_HESSIAN] = "H, exact",
  };
  return names[curve];
}

static double dot(size_t n, const float *x, const float *y) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * y[i];
  return sum;
}

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w) {
  double loss_sum;
  uint64_t correct;
  return c->gradient(c, worker, step, w, &loss_sum, &correct);
}

/* out = H direction at w, `length` of the direction to either side; out may be the direction. */
static tg_status hessian_times(measuring *s, const float *w, const float *direction, double length,
                               float *out) {
  tg_compute *c = s->o->compute;
  float part = (float)length;
  for (size_t i = 0; i < c->n; i++) s->moved[i] = w[i] + part * direction[i];
  TG_TRY(gradient(c, s->worker, s->step, s->moved));
  memcpy(s->before, c->g, c->n * sizeof *c->g);
  for (size_t i = 0; i < c->n; i++) s->moved[i] = w[i] - part * direction[i];
  TG_TRY(gradient(c, s->worker, s->step, s->moved));
  for (size_t i = 0; i < c->n; i++)
    out[i] = (float)(((double)s->before[i] - c->g[i]) / (2 * length));
  return TG_OK;
}

/* How far to go along a direction of this norm so that the weights move by WEIGHT_PART. */
static double length_for(const measuring *s, const float *w, double norm) {
  size_t n = s->o->compute->n;
  double size = sqrt(dot(n, w, w));
  return WEIGHT_PART * (size > 0 ? size : sqrt((double)n)) / norm;
}

/* ---- corrections: C (w - w_bak) ---- */

static tg_status diagonal(measuring *s) {
  for (size_t i = 0; i < s->o->compute->n; i++) s->correction[i] = s->g[i] * s->g[i] * s->gap[i];
  return TG_OK;
}

static tg_status adaptive(measuring *s) {
  for (size_t i = 0; i < s->o->compute->n; i++)
    s->correction[i] = (float)((double)s->g[i] * s->g[i] * s->gap[i] /
                               sqrt((double)s->mean_square[i] + s->o->epsilon));
  return TG_OK;
}

/* Small batches' gradients g: correction = mean of g (g^T gap), or of g g gap. */
static tg_status expectation(measuring *s, bool outer) {
  tg_compute *c = s->o->small;
  const float part = 1.0f / (float)s->o->samples;
  memset(s->correction, 0, c->n * sizeof *s->correction);
  for (uint32_t k = 0; k < s->o->samples; k++) {
    TG_TRY(gradient(c, 0, s->step * s->o->samples + k, s->w_bak));
    float along = outer ? (float)dot(c->n, c->g, s->gap) * part : 0;
    for (size_t i = 0; i < c->n; i++)
      s->correction[i] += outer ? along * c->g[i] : part * c->g[i] * c->g[i] * s->gap[i];
  }
  return TG_OK;
}

static tg_status mean_diagonal(measuring *s) {
  return expectation(s, false);
}

static tg_status outer(measuring *s) {
  return expectation(s, true);
}

/* diag(H) = E[z (H z)] for z of random signs. */
static tg_status hutchinson(measuring *s) {
  size_t n = s->o->compute->n;
  const float part = 1.0f / (float)s->o->vectors;
  float *z = s->unit, *product = tg_alloc_aligned(n * sizeof *product);
  tg_status status = TG_OK;
  if (!product) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", n);
  memset(s->correction, 0, n * sizeof *s->correction);
  for (uint32_t k = 0; k < s->o->vectors; k++) {
    tg_rng r = tg_rng_open(s->o->seed, TG_RNG_PROBE, s->step, k);
    for (size_t i = 0; i < n; i++) z[i] = tg_rng_u32(&r) & 1 ? 1.0f : -1.0f;
    TG_DO(hessian_times(s, s->w_bak, z, length_for(s, s->w_bak, sqrt((double)n)), product));
    for (size_t i = 0; i < n; i++) s->correction[i] += part * z[i] * product[i] * s->gap[i];
  }
done:
  free(product);
  return status;
}

static tg_status hessian(measuring *s) {
  return hessian_times(s, s->w_bak, s->gap, WAY_PART, s->correction);
}

/* ---- one measurement ---- */

static double scale_of(const tg_fidelity_options *o, tg_curve curve) {
  if (curve == TG_CURVE_DIAGONAL) return o->lambda;
  return curve == TG_CURVE_ADAPTIVE ? o->adaptive_lambda : 1;
}

/* |s c - d|^2 = s^2 c.c - 2 s c.d + d.d, smallest at s = c.d / c.c. */
static void judge(measuring *s, tg_curve curve, tg_fidelity *out) {
  size_t n = s->o->compute->n;
  double scale = scale_of(s->o, curve), cc = dot(n, s->correction, s->correction);
  double cd = dot(n, s->correction, s->change), dd = s->change_square;
  double best = cc > 0 ? cd / cc : 0;
  out->of[curve].scale = scale;
  out->of[curve].best_scale = best;
  out->of[curve].ratio = scale * sqrt(cc / s->gradient_square);
  out->of[curve].residual = sqrt(fmax(0, (scale * scale * cc - 2 * scale * cd + dd) / dd));
  out->of[curve].best_residual = sqrt(fmax(0, 1 - best * cd / dd));
}

static tg_status measure(measuring *s, const float *w, tg_fidelity *out) {
  static tg_status (*const corrections[TG_CURVES])(measuring *) = {
      [TG_CURVE_DIAGONAL] = diagonal,     [TG_CURVE_ADAPTIVE] = adaptive,
      [TG_CURVE_MEAN] = mean_diagonal,    [TG_CURVE_OUTER] = outer,
      [TG_CURVE_HUTCHINSON] = hutchinson, [TG_CURVE_HESSIAN] = hessian,
  };
  tg_compute *c = s->o->compute;
  TG_TRY(gradient(c, s->worker, s->step, w));
  for (size_t i = 0; i < c->n; i++) {
    s->gap[i] = w[i] - s->w_bak[i];
    s->change[i] = c->g[i] - s->g[i];
  }
  s->gradient_square = dot(c->n, s->g, s->g);
  s->change_square = dot(c->n, s->change, s->change);
  *out = (tg_fidelity){.distance = sqrt(dot(c->n, s->gap, s->gap)),
                       .gradient = sqrt(s->gradient_square),
                       .change = sqrt(s->change_square)};
  if (!isfinite(out->change)) TG_FAIL(TG_EDIVERGED, "probe: a gradient is not finite");
  if (!(out->change > 0)) return TG_OK; /* nothing was late: nothing to be told */
  for (tg_curve curve = 0; curve < TG_CURVES; curve++) {
    TG_TRY(corrections[curve](s));
    judge(s, curve, out);
  }
  return TG_OK;
}

static void release(measuring *s) {
  free(s->gap);
  free(s->change);
  free(s->moved);
  free(s->before);
  free(s->unit);
  free(s->correction);
}

static tg_status allocate(measuring *s) {
  size_t bytes = s->o->compute->n * sizeof(float);
  bool enough = (s->gap = tg_alloc_aligned(bytes)) && (s->change = tg_alloc_aligned(bytes)) &&
                (s->moved = tg_alloc_aligned(bytes)) && (s->before = tg_alloc_aligned(bytes)) &&
                (s->unit = tg_alloc_aligned(bytes)) && (s->correction = tg_alloc_aligned(bytes));
  if (!enough) TG_FAIL(TG_ERUNTIME, "no memory to probe %zu parameters", s->o->compute->n);
  return TG_OK;
}

tg_status tg_fidelity_measure(const tg_fidelity_options *o, uint32_t worker, uint64_t step,
                              const float *w_bak, const float *w, const float *g,
                              const float *mean_square, tg_fidelity *out) {
  measuring s = {
      .o = o, .worker = worker, .step = step, .w_bak = w_bak, .g = g, .mean_square = mean_square};
  tg_status status = allocate(&s);
  if (status == TG_OK) status = measure(&s, w, out);
  release(&s);
  return status;
}

/* ---- sharpness ---- */

tg_status tg_fidelity_sharpness(const tg_fidelity_options *o, uint32_t worker, uint64_t step,
                                const float *w, int iterations, double *out) {
  measuring s = {.o = o, .worker = worker, .step = step};
  tg_status status = TG_OK;
  size_t n = o->compute->n;
  tg_rng r = tg_rng_open(o->seed, TG_RNG_PROBE, step, UINT32_MAX);
  *out = 0;
  TG_DO(allocate(&s));
  for (size_t i = 0; i < n; i++) s.unit[i] = (float)tg_rng_normal(&r);
  for (int i = 0; i < iterations; i++) {
    double norm = sqrt(dot(n, s.unit, s.unit));
    if (!(norm > 0)) break; /* a flat loss */
    for (size_t j = 0; j < n; j++) s.unit[j] = (float)(s.unit[j] / norm);
    TG_DO(hessian_times(&s, w, s.unit, length_for(&s, w, 1), s.correction));
    *out = dot(n, s.unit, s.correction);
    memcpy(s.unit, s.correction, n * sizeof *s.unit);
  }
done:
  release(&s);
  return status;
}

/* ---- the largest stable rate ---- */

double tg_stable_rate(uint64_t tau, bool compensated) {
  return compensated ? 2 : 2 * sin(acos(-1) / (2 * (2 * (double)tau + 1)));
}

/* Whether f(w) = w^2 / 2 shrinks: workers in turn, gradients of delay tau. The correction is the
 * Hessian's, exactly: the gradient at the new weight. */
static tg_status shrinks(uint64_t tau, bool compensated, double rate, bool *out) {
  enum { ROUNDS = 4000 };
  const tg_rule *rule;
  const tg_optimizer *optimizer;
  tg_server *server;
  TG_TRY(tg_rule_find("asgd", &rule));
  TG_TRY(tg_optimizer_find("sgd", &optimizer));
  uint32_t workers = (uint32_t)tau + 1;
  tg_server_options o = {.rule = rule,
                         .optimizer = optimizer,
                         .schedule = {.lr = rate},
                         .workers = workers,
                         .n = 1,
                         .batch = 1,
                         .train_count = 1,
                         .epochs = 1e9};
  float w0 = 1, largest = 0;
  TG_TRY(tg_server_create(&o, &w0, NULL, &server));
  tg_status status = TG_OK;
  for (uint32_t i = 0; i < ROUNDS * workers; i++) {
    tg_server_state now = tg_server_state_of(server);
    uint32_t m = i % workers;
    float g = compensated ? now.w[0] : now.bak[m][0];
    tg_msg in = {.kind = TG_MSG_PUSH,
                 .worker = m,
                 .samples = 1,
                 .version = now.version[m],
                 .step = now.step[m] - 1};
    tg_msg reply;
    tg_server_event event;
    TG_DO(tg_server_step(server, &in, &g, NULL, &reply, &event));
    float size = fabsf(tg_server_state_of(server).w[0]);
    if (i >= (ROUNDS - 1) * workers && size > largest) largest = size;
    if (size > 1e6f) break;
  }
done:
  *out = status == TG_OK && fabsf(tg_server_state_of(server).w[0]) < 1 && largest < 1;
  tg_server_destroy(server);
  return status;
}

tg_status tg_stable_rate_found(uint64_t tau, bool compensated, double *out) {
  double low = 0, high = 2.5;
  while (high - low > 1e-4) {
    double middle = (low + high) / 2;
    bool stable;
    TG_TRY(shrinks(tau, compensated, middle, &stable));
    *(stable ? &low : &high) = middle;
  }
  *out = (low + high) / 2;
  return TG_OK;
}
