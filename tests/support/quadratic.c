#include "quadratic.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tardigrad/rng.h"

static float unit(tg_rng *r) {
  return 2 * tg_rng_float(r) - 1;
}

static float curvature(size_t i) {
  return 0.5f + (float)(i * 7919 % 1000) / 1000;
}

static float minimum(size_t i) {
  return (float)(i * 104729 % 2000) / 1000 - 1;
}

static void rest(double seconds) {
  struct timespec t = {.tv_sec = (time_t)seconds};
  t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
  if (seconds > 0) nanosleep(&t, NULL);
}

typedef struct quadratic {
  quadratic_options options; /* first: gradient() looks only at them */
  float *own_g;
  float *w;     /* weights that were taken, as a device would keep them */
  size_t taken; /* so many of them, for the next request */
  uint64_t requests;
} quadratic;

static tg_status take(tg_compute *c, const float *w, tg_span span) {
  quadratic *q = c->self;
  if (span.lo != q->taken) TG_FAIL(TG_ERUNTIME, "weights from %zu on, %zu came", span.lo, q->taken);
  memcpy(q->w + span.lo, w + span.lo, (span.hi - span.lo) * sizeof *w);
  q->taken = span.hi;
  q->requests += span.hi == c->n;
  return TG_OK;
}

/* The weights of the request: those that came piece by piece, if any did. */
static tg_status weights_of(tg_compute *c, const float **w) {
  quadratic *q = c->self;
  if (q->taken > 0 && q->taken < c->n) TG_FAIL(TG_ERUNTIME, "only %zu weights came", q->taken);
  if (q->taken > 0) *w = q->w;
  q->taken = 0;
  return TG_OK;
}

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  const quadratic_options *o = c->self;
  TG_TRY(weights_of(c, &w));
  if (o->die_at > 0 && step + 1 == o->die_at) raise(SIGKILL);
  rest(o->slow == worker + 1 ? o->slow_busy_s : o->busy_s);
  tg_rng r = tg_rng_open(17, TG_RNG_TEST, worker, step);
  for (size_t i = 0; i < c->n; i++)
    c->g[i] = curvature(i) * (w[i] - minimum(i)) + o->noise * unit(&r);
  for (size_t i = 0; i < c->ks; i++) c->s[i] = w[i % c->n] + unit(&r);
  *loss_sum = c->batch * quadratic_loss(c->n, w);
  *correct = (worker + step) % (c->batch + 1);
  return TG_OK;
}

static tg_status evaluate(tg_compute *c, const float *w, const float *b, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  TG_TRY(weights_of(c, &w));
  *samples = 1000;
  *loss_sum = *samples * quadratic_loss(c->n, w);
  for (size_t i = 0; i < c->k; i++) *loss_sum += b[i];
  *correct = 1;
  return TG_OK;
}

static tg_status place_gradient(tg_compute *c, float *g) {
  quadratic *q = c->self;
  free(q->own_g);
  q->own_g = NULL;
  c->g = g;
  return TG_OK;
}

void quadratic_gradient(size_t n, uint32_t worker, uint64_t step, float noise, const double *w,
                        double *g) {
  tg_rng r = tg_rng_open(17, TG_RNG_TEST, worker, step);
  for (size_t i = 0; i < n; i++)
    g[i] = curvature(i) * (w[i] - minimum(i)) + (double)(noise * unit(&r));
}

double quadratic_loss(size_t n, const float *w) {
  double loss = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)w[i] - minimum(i);
    loss += 0.5 * curvature(i) * d * d;
  }
  return loss;
}

uint64_t quadratic_taken(const tg_compute *c) {
  return ((const quadratic *)c->self)->requests;
}

void quadratic_initial(size_t n, float *w) {
  for (size_t i = 0; i < n; i++) w[i] = (float)(i * 15485863 % 4001) / 1000 - 2;
}

void quadratic_destroy(tg_compute *c) {
  if (!c) return;
  if (c->self) free(((quadratic *)c->self)->own_g);
  if (c->self) free(((quadratic *)c->self)->w);
  free(c->s);
  free(c->self);
  free(c);
}

tg_compute *quadratic_create(const quadratic_options *options) {
  tg_compute *c = calloc(1, sizeof *c);
  quadratic *q = calloc(1, sizeof *q);
  if (c && q) {
    q->options = *options;
    c->self = q;
    c->n = options->n;
    c->k = c->ks = options->k;
    c->batch = options->batch;
    c->g = q->own_g = calloc(c->n + 1, sizeof *c->g);
    c->s = calloc(c->ks + 1, sizeof *c->s);
    q->w = calloc(c->n + 1, sizeof *q->w);
    c->take = take;
    c->place_gradient = place_gradient;
    c->gradient = gradient;
    c->evaluate = evaluate;
  }
  if (c && q && c->g && c->s && q->w) return c;
  if (!c) free(q);
  quadratic_destroy(c);
  return NULL;
}
