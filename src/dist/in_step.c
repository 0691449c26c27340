/* in_step.c - what loops share in which all ranks go in step. */
#include "dist/in_step.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t tg_in_step_samples(const tg_in_step *s) {
  return (uint64_t)s->gradients * s->o.batch;
}

double tg_in_step_epoch(const tg_in_step *s, uint64_t samples) {
  return (double)samples / (double)s->o.train_count;
}

bool tg_in_step_crosses(const tg_in_step *s, double every, uint64_t update) {
  uint64_t now = update * tg_in_step_samples(s), then = now - tg_in_step_samples(s);
  return tg_progress_boundaries(every, s->o.train_count, now) >
         tg_progress_boundaries(every, s->o.train_count, then);
}

double tg_in_step_lr(const tg_in_step *s, uint64_t update) {
  uint64_t before = update * tg_in_step_samples(s);
  return tg_schedule_lr(&s->o.schedule, tg_in_step_epoch(s, before),
                        tg_in_step_epoch(s, before + tg_in_step_samples(s)));
}

bool tg_in_step_computes(const tg_in_step *s, uint32_t worker) {
  return worker >= s->o.first && worker - s->o.first < s->o.count;
}

bool tg_in_step_shared(const tg_in_step *s) {
  return s->transport && s->transport->work;
}

tg_status tg_in_step_reduce(const tg_in_step *s, float *x, size_t n, double *scalars,
                            size_t count) {
  return s->transport ? s->transport->allreduce(s->comm, x, n, scalars, count) : TG_OK;
}

/* ---- what is told ---- */

tg_status tg_in_step_tell(tg_in_step *s, const tg_msg *in, const tg_server_event *event) {
  if (!s->observer || !s->observer->handled) return TG_OK;
  tg_status status = s->observer->handled(s->observer->self, in, event, &s->wanted);
  if (status != TG_EDIVERGED) return status;
  /* The others learn it with the next sums. */
  s->diverged = true;
  snprintf(s->why, sizeof s->why, "%s", tg_status_message());
  return TG_OK;
}

void tg_in_step_evaluated(const tg_in_step *s, bool last, tg_server_event *event) {
  event->counts = event->applied = event->nonfinite = false;
  event->evaluated = true;
  event->finished = last;
  event->update = s->update;
  event->epoch = tg_in_step_epoch(s, s->samples);
  event->checkpoint_due = last || tg_in_step_crosses(s, s->o.checkpoint_every, s->update);
}

tg_status tg_in_step_evaluate(tg_in_step *s, const float *w, const float *b, uint64_t step,
                              bool last, tg_msg *out, tg_server_event *event) {
  tg_msg in = {.kind = TG_MSG_EVALUATE, .version = s->update, .step = step};
  double began = tg_clock_s();
  *out = (tg_msg){.kind = TG_MSG_EVALUATED};
  bool mine = tg_in_step_computes(s, 0);
  if (mine) TG_TRY(tg_worker_step(s->o.compute, &s->o.worker, &in, w, b, out));
  double result[] = {out->loss_sum, (double)out->correct, out->samples,
                     mine ? tg_clock_s() - began : 0};
  TG_TRY(tg_in_step_reduce(s, NULL, 0, result, sizeof result / sizeof *result));
  out->version = in.version;
  out->step = in.step;
  out->loss_sum = result[0];
  out->correct = (uint64_t)result[1];
  out->samples = (uint32_t)result[2];
  out->compute_s = result[3];
  tg_in_step_evaluated(s, last, event);
  return TG_OK;
}

tg_status tg_in_step_cut(tg_in_step *s, tg_status why) {
  if (s->observer && s->observer->cut) TG_TRY(s->observer->cut(s->observer->self, why));
  if (s->diverged) TG_FAIL(why, "%s", s->why);
  if (why == TG_EDIVERGED)
    TG_FAIL(
        why,
        "diverged: %llu gradients were not finite (train.max_nonfinite = %llu); the last one at "
        "update %llu",
        (unsigned long long)s->nonfinite, (unsigned long long)s->o.max_nonfinite,
        (unsigned long long)s->update);
  TG_FAIL(why, "stopped on request after update %llu", (unsigned long long)s->update);
}

/* Of the bits; one after the other, so that it hangs on their places. */
static uint64_t print_of(const float *w, size_t n) {
  uint64_t h = 14695981039346656037u; /* FNV-1a, a float at a time */
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &w[i], sizeof bits);
    h = (h ^ bits) * 1099511628211u;
  }
  return h;
}

tg_status tg_in_step_alike(tg_in_step *s, const float *w, bool *out) {
  *out = true;
  if (!tg_in_step_shared(s)) return TG_OK;
  size_t count = 2 * ((size_t)s->o.workers + 1), mine = s->o.count == 0 ? 0 : s->o.first + 1;
  double *print = calloc(count, sizeof *print);
  if (!print) TG_FAIL(TG_ERUNTIME, "no memory to compare weights");
  uint64_t own = print_of(w, s->o.n);
  /* Each rank writes its own two, which 32 bits fill: sums are exact. */
  print[2 * mine] = (double)(own >> 32);
  print[2 * mine + 1] = (double)(own & UINT32_MAX);
  tg_status status = tg_in_step_reduce(s, NULL, 0, print, count);
  uint32_t m = 1;
  while (m <= s->o.workers && memcmp(print, print + 2 * (size_t)m, 2 * sizeof *print) == 0) m++;
  free(print);
  if (status != TG_OK || m > s->o.workers) return status;
  *out = false;
  s->diverged = true;
  snprintf(s->why, sizeof s->why,
           "diverged: at update %llu worker %u (rank %u) has other weights than rank 0: they make "
           "the same update differently (other processors, optimizer.name=shampoo?); resume=auto "
           "goes on from rank 0's",
           (unsigned long long)s->update, m - 1, m);
  return TG_OK;
}

void tg_in_step_apply(const tg_in_step *s, const tg_holdings *h, uint32_t i, float *w, double lr,
                      uint64_t update) {
  const tg_sync_options *o = &s->o;
  tg_update u = {.rule = o->rule, .optimizer = o->optimizer, .hyper = o->hyper, .w = w};
  tg_update_sums sums = {0};
  u.hyper.lr = (float)lr;
  u.hyper.update = update;
  for (size_t k = 0; k < h->slot_count; k++) u.slot[k] = h->slot[k][i];
  tg_update_apply(&u, (tg_span){0, h->n}, o->compute->g, &sums);
  tg_fold_apply(o->folds, o->fold_count, o->compute->s, h->bx[i]);
}

/* ---- beginning and end ---- */

tg_status tg_in_step_open(tg_in_step *s, const tg_sync_options *o, uint32_t gradients) {
  *s = (tg_in_step){.o = *o, .gradients = gradients};
  if (o->workers < 1 || o->count > o->workers || o->first > o->workers - o->count)
    TG_FAIL(TG_ECONFIG, "workers %u to %u cannot be computed here: there are %u", o->first,
            o->first + o->count, o->workers);
  TG_TRY(tg_kept_open(&s->kept, &s->o.folds, o->fold_count, &s->o.schedule, &s->o.layout,
                      &s->o.optimizer));
  s->total = tg_progress_updates(o->epochs, o->train_count, tg_in_step_samples(s));
  return TG_OK;
}

void tg_in_step_close(tg_in_step *s) {
  tg_kept_close(&s->kept);
}

tg_status tg_in_step_restored(tg_in_step *s, uint64_t update, uint64_t samples,
                              uint64_t nonfinite) {
  if (samples != update * tg_in_step_samples(s))
    TG_FAIL(TG_EDATA, "a checkpoint of %llu samples in %llu updates, %llu samples each expected",
            (unsigned long long)samples, (unsigned long long)update,
            (unsigned long long)tg_in_step_samples(s));
  s->update = update;
  s->samples = samples;
  s->nonfinite = nonfinite;
  return TG_OK;
}
