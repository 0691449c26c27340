/* worker_local.c - steps that a worker makes by itself, between two exchanges with the server. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/worker_private.h"
#include "tardigrad/arena.h"
#include "tardigrad/update.h"

tg_status tg_worker_prepare(tg_compute *c, const tg_worker_options *o) {
  if (!o->local_steps || !c) return TG_OK;
  if (c->device) return c->device->backend->alloc(c->device, c->n * sizeof *c->x, (void **)&c->x);
  c->x = tg_alloc_aligned(c->n * sizeof *c->x);
  if (!c->x) TG_FAIL(TG_ERUNTIME, "no memory for a worker's own %zu weights", c->n);
  if (c->pin) c->pin(c, c->x);
  return TG_OK;
}

void tg_worker_release(tg_compute *c) {
  if (!c || !c->x) return;
  if (c->device) {
    c->device->backend->free(c->device, c->x);
  } else {
    if (c->unpin) c->unpin(c, c->x);
    free(c->x);
  }
  c->x = NULL;
}

static tg_status copy(tg_compute *c, float *to, const float *from) {
  size_t bytes = c->n * sizeof *to;
  if (c->device) return c->device->backend->copy(c->device, to, from, bytes);
  memcpy(to, from, bytes);
  return TG_OK;
}

static tg_status step(tg_compute *c, const tg_hyper *hyper) {
  tg_update u = {.hyper = *hyper, .w = c->x};
  tg_update_sums none = {0};
  tg_span all = {0, c->n};
  TG_TRY(tg_rule_find("sgd", &u.rule));
  TG_TRY(tg_optimizer_find("sgd", &u.optimizer));
  if (c->device) return c->device->backend->update(c->device, &u, all, c->g, NULL);
  tg_update_apply(&u, all, c->g, &none);
  return TG_OK;
}

/* Finite gradients may lead far away all the same. */
static tg_status check(tg_compute *c, tg_msg *out) {
  double square = 0;
  if (c->device)
    TG_TRY(c->device->backend->square_sum(c->device, c->n, c->x, &square));
  else
    square = tg_square_sum(c->n, c->x);
  if (!isfinite(square)) out->flags |= TG_FLAG_NONFINITE;
  return TG_OK;
}

tg_status tg_worker_local(tg_compute *c, const tg_worker_options *o, double lr, const float *w,
                          tg_msg *out) {
  const tg_hyper hyper = {.lr = (float)lr, .weight_decay = (float)o->weight_decay};
  tg_worker_options each = *o;
  tg_msg sum = *out;
  double squares = 0;
  TG_TRY(copy(c, c->x, w));
  for (uint32_t i = 0; i < o->local_steps; i++) {
    tg_msg one = {.worker = out->worker, .step = out->step * o->local_steps + i};
    each.chaos_nan_at = o->chaos_nan_at == out->step + 1 && i == 0 ? one.step + 1 : 0;
    TG_TRY(tg_worker_gradient(c, &each, c->x, &one));
    sum.kind = one.kind;
    sum.flags |= one.flags;
    sum.samples += one.samples;
    sum.correct += one.correct;
    sum.loss_sum += one.loss_sum;
    squares += one.gradient_norm * one.gradient_norm;
    if (sum.flags) break;
    TG_TRY(step(c, &hyper));
  }
  sum.gradient_norm = sqrt(squares / o->local_steps);
  *out = sum;
  if (sum.flags) return TG_OK;
  TG_TRY(check(c, out));
  return copy(c, c->g, c->x);
}
