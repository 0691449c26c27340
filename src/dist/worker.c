/* worker.c - one request answered: a gradient, or an evaluation. */
#include <math.h>

#include "dist/worker_private.h"
#include "tardigrad/optim.h"

/* Sum of squares of the gradient. */
static double measure(const tg_compute *c) {
  return c->device ? c->square_sum : tg_square_sum(c->n, c->g);
}

static tg_status shrink(const tg_compute *c, float factor) {
  if (c->device) return c->device->backend->scale(c->device, c->n, c->g, factor);
  tg_scale(c->n, c->g, factor);
  return TG_OK;
}

static tg_status spoil(tg_compute *c) {
  const float nan = NAN;
  c->square_sum = NAN;
  if (c->device) return c->device->backend->to_device(c->device, c->g, &nan, sizeof nan);
  c->g[0] = nan;
  return TG_OK;
}

tg_status tg_worker_gradient(tg_compute *c, const tg_worker_options *o, const float *w,
                             tg_msg *out) {
  out->kind = TG_MSG_PUSH;
  out->samples = c->batch;
  TG_TRY(c->gradient(c, out->worker, out->step, w, &out->loss_sum, &out->correct));
  if (o->chaos_nan_at > 0 && out->step + 1 == o->chaos_nan_at) TG_TRY(spoil(c));
  /* Squares of floats cannot overflow a double: the sum is finite where every element is. */
  out->gradient_norm = sqrt(measure(c));
  if (!isfinite(out->gradient_norm) || !isfinite(out->loss_sum) ||
      !isfinite(tg_square_sum(c->ks, c->s))) {
    out->flags |= TG_FLAG_NONFINITE;
    return TG_OK;
  }
  float factor = tg_clip_scale(out->gradient_norm, o->clip_norm);
  return factor == 1.0f ? TG_OK : shrink(c, factor);
}

/* What is not finite is not sent, and leaves no trace in the codec's state. */
static tg_status encode(const tg_compute *c, const tg_worker_options *o, tg_msg *out) {
  if (!o->coder || out->flags & TG_FLAG_NONFINITE) return TG_OK;
  if (c->device || o->local_steps)
    TG_FAIL(TG_ECONFIG, "codec %s: encodes gradients in host memory, not %s", o->coder->codec->name,
            c->device ? "in a device's" : "weights");
  tg_coder_encode(o->coder, (tg_codec_origin){out->worker, out->step}, c->g);
  out->bytes = o->coder->bytes;
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
    TG_TRY(o->local_steps ? tg_worker_local(c, o, in->lr, w, out)
                          : tg_worker_gradient(c, o, w, out));
    return encode(c, o, out);
  case TG_MSG_EVALUATE:
    return answer_evaluate(c, o, w, b, out);
  default:
    TG_FAIL(TG_ERUNTIME, "worker %u: the server sent a message of unknown kind %u", in->worker,
            in->kind);
  }
}
