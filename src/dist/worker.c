/* worker.c - one request answered: a gradient, or an evaluation. */
#include "tardigrad/worker.h"

#include <math.h>

#include "tardigrad/optim.h"

enum { PARTS = 256, LANES = 16 };

/* A fixed number of sums side by side: the compiler may use vectors, the order never changes. */
static double part_square_sum(const float *x, size_t n) {
  double lane[LANES] = {0}, sum = 0;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * x[i + j];
  for (; i < n; i++) sum += (double)x[i] * x[i];
  for (size_t j = 0; j < LANES; j++) sum += lane[j];
  return sum;
}

/* The parts depend on n alone, so that any number of threads gives the same sum. */
static double square_sum(const float *x, size_t n) {
  double part[PARTS], sum = 0;
#pragma omp parallel for schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < PARTS; i++) {
    size_t lo = n / PARTS * i + n % PARTS * i / PARTS;
    size_t hi = n / PARTS * (i + 1) + n % PARTS * (i + 1) / PARTS;
    part[i] = part_square_sum(x + lo, hi - lo);
  }
  for (size_t i = 0; i < PARTS; i++) sum += part[i];
  return sum;
}

static void scale(float *x, size_t n, float factor) {
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < n; i++) x[i] *= factor;
}

static tg_status answer_weights(tg_compute *c, const tg_worker_options *o, const float *w,
                                tg_msg *out) {
  out->kind = TG_MSG_PUSH;
  out->samples = c->batch;
  TG_TRY(c->gradient(c, out->worker, out->step, w, &out->loss_sum, &out->correct));
  if (o->chaos_nan_at > 0 && out->step + 1 == o->chaos_nan_at) c->g[0] = NAN;
  /* Squares of floats cannot overflow a double: the sum is finite where every element is. */
  out->gradient_norm = sqrt(square_sum(c->g, c->n));
  if (!isfinite(out->gradient_norm) || !isfinite(out->loss_sum) ||
      !isfinite(square_sum(c->s, c->ks))) {
    out->flags |= TG_FLAG_NONFINITE;
    return TG_OK;
  }
  float factor = tg_clip_scale(out->gradient_norm, o->clip_norm);
  if (factor != 1.0f) scale(c->g, c->n, factor);
  return TG_OK;
}

static tg_status answer_evaluate(tg_compute *c, const tg_worker_options *o, const float *w,
                                 const float *b, tg_msg *out) {
  out->kind = TG_MSG_EVALUATED;
  if (o->skip_evaluation) return TG_OK;
  return c->evaluate(c, w, b, &out->loss_sum, &out->correct, &out->samples);
}

tg_status tg_worker_step(tg_compute *c, const tg_worker_options *o, const tg_msg *in,
                         const float *w, const float *b, tg_msg *out) {
  *out = (tg_msg){.worker = in->worker, .version = in->version, .step = in->step};
  switch (in->kind) {
  case TG_MSG_WEIGHTS:
    return answer_weights(c, o, w, out);
  case TG_MSG_EVALUATE:
    return answer_evaluate(c, o, w, b, out);
  default:
    TG_FAIL(TG_ERUNTIME, "worker %u: the server sent a message of unknown kind %u", in->worker,
            in->kind);
  }
}
