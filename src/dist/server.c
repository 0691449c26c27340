/* server.c - the parameter server as a state machine: what each message means, and what is
 * answered.
 *
 * A worker owes at most one answer, `pending[m]`. Gradients are issued only while fewer than the
 * run's total are applied or outstanding, so that every gradient in flight is applied (unless the
 * rule drops it) and the run ends at exactly ceil(epochs * train_count / batch) updates. */
#include <math.h>
#include <string.h>

#include "dist/server_private.h"
#include "tardigrad/arena.h"

static double epoch_at(const tg_server *s, uint64_t samples) {
  return (double)samples / (double)s->options.train_count;
}

static uint64_t boundaries(const tg_server *s, double every, uint64_t samples) {
  return tg_progress_boundaries(every, s->options.train_count, samples);
}

static uint64_t samples_per_update(const tg_server *s) {
  return (uint64_t)s->gathers * s->options.batch;
}

static bool crosses(const tg_server *s, double every, uint64_t samples) {
  return boundaries(s, every, samples) > boundaries(s, every, samples - samples_per_update(s));
}

/* What m's own steps are made at: known from the version alone, so that a resumed run repeats it.
 */
static double local_lr(const tg_server *s, uint32_t m) {
  uint64_t samples = s->state.version[m] * s->options.batch;
  return tg_schedule_lr(&s->options.schedule, epoch_at(s, samples),
                        epoch_at(s, samples + s->options.batch));
}

tg_msg tg_server_message(const tg_server *s, uint32_t worker, uint64_t kind) {
  tg_msg msg = {.kind = kind ? (uint32_t)kind : TG_MSG_STOP, .worker = worker};
  if (kind == TG_SERVER_HELD) return (tg_msg){0};
  if (!kind) return msg;
  msg.version = s->state.version[worker];
  msg.step = s->state.step[worker] - (kind == TG_MSG_WEIGHTS);
  if (kind == TG_MSG_WEIGHTS && s->options.rule->local_steps) msg.lr = local_lr(s, worker);
  return msg;
}

/* ---- what a message may say ---- */

static const char *kind_name(uint64_t kind) {
  switch (kind) {
  case TG_MSG_PUSH:
    return "a gradient";
  case TG_MSG_EVALUATED:
    return "an evaluation";
  default:
    return "a message of no known kind";
  }
}

static tg_status check(const tg_server *s, const tg_msg *in) {
  const tg_server_state *t = &s->state;
  uint32_t m = in->worker;
  if (m >= s->options.workers)
    TG_FAIL(TG_ERUNTIME, "server: a message from worker %u, there are %u workers", m,
            s->options.workers);
  if (in->kind != TG_MSG_PUSH && in->kind != TG_MSG_EVALUATED)
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent a message of kind %u, which no worker may send", m,
            in->kind);
  if (in->flags & ~(uint32_t)(TG_FLAG_NONFINITE | TG_FLAG_PREEMPT))
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent unknown flags 0x%x", m, in->flags);
  if (s->told_to_stop[m] ||
      t->pending[m] != (in->kind == TG_MSG_PUSH ? TG_MSG_WEIGHTS : TG_MSG_EVALUATE))
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent %s that it was not asked for", m,
            kind_name(in->kind));
  if (in->version != t->version[m])
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent %s for weights of version %llu, it has %llu", m,
            kind_name(in->kind), (unsigned long long)in->version,
            (unsigned long long)t->version[m]);
  if (in->kind == TG_MSG_PUSH && in->step + 1 != t->step[m])
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent the gradient of step %llu, its step is %llu", m,
            (unsigned long long)in->step, (unsigned long long)(t->step[m] - 1));
  if (in->kind == TG_MSG_PUSH && !(in->flags & TG_FLAG_NONFINITE) &&
      in->samples != s->options.batch)
    TG_FAIL(TG_ERUNTIME, "server: worker %u sent a gradient of %u samples, a batch has %u", m,
            in->samples, s->options.batch);
  return TG_OK;
}

/* ---- what it means ---- */

/* Where it is one too many the worker's next gradient is issued all the same, and its weights are
 * there: the message is in the trace, so whoever goes on from here must not ask for it again. */
static tg_status drop(tg_server *s, const tg_msg *in, tg_server_event *event) {
  tg_server_state *t = &s->state;
  uint32_t m = in->worker;
  event->nonfinite = true;
  t->nonfinite++;
  uint64_t late_by = t->update - t->version[m];
  t->issued--;
  tg_server_go_on(s, m, false);
  if (t->nonfinite <= s->options.max_nonfinite) return TG_OK;
  if (t->pending[m] == TG_MSG_WEIGHTS) TG_TRY(tg_server_serve(s, m));
  TG_FAIL(TG_EDIVERGED,
          "diverged: %llu gradients were not finite (train.max_nonfinite = %llu); the last one "
          "from worker %u at update %llu, staleness %llu (mean %.2f)",
          (unsigned long long)t->nonfinite, (unsigned long long)s->options.max_nonfinite, m,
          (unsigned long long)t->update, (unsigned long long)late_by,
          s->counted ? (double)s->staleness_sum / (double)s->counted : 0.0);
}

/* It came too late: its worker goes on with the current weights. */
static void refuse(tg_server *s, uint32_t m, tg_server_event *event) {
  event->late = true;
  event->staleness = s->state.update - s->state.version[m];
  s->state.late++;
  s->state.issued--;
  tg_server_go_on(s, m, false);
}

static void accept(tg_server *s, uint32_t m, tg_server_event *event) {
  tg_server_state *t = &s->state;
  uint64_t after = t->samples + samples_per_update(s);
  event->counts = true;
  event->staleness = t->update - t->version[m];
  event->lr = tg_schedule_lr(&s->options.schedule, epoch_at(s, t->samples), epoch_at(s, after));
  const tg_rule *rule = s->options.rule;
  if (rule->lr) event->lr = rule->lr(event->lr, event->staleness);
  if (rule->local_steps) event->lr = local_lr(s, m);
  s->hyper = s->options.hyper;
  s->hyper.lr = (float)event->lr;
  s->hyper.update = t->update;
  s->hyper.staleness = event->staleness;
  s->staleness_sum += event->staleness;
  s->counted++;
  t->clock[m]++;
  s->place = t->gathered;
  t->gathered = (t->gathered + 1) % s->gathers;
  event->applied = t->gathered == 0;
  if (!event->applied) {
    tg_server_go_on(s, m, true);
    return;
  }
  t->samples = after;
  t->update++;
  bool last = t->update == s->total;
  bool evaluate = last || crosses(s, s->options.eval_every, t->samples);
  /* The end has a checkpoint of its own, once the last evaluation is back. */
  s->checkpoint_due = !last && crosses(s, s->options.checkpoint_every, t->samples);
  if (evaluate)
    tg_server_request(s, m, TG_MSG_EVALUATE);
  else
    tg_server_go_on(s, m, false);
}

static tg_status handle(tg_server *s, const tg_msg *in, tg_server_event *event) {
  if (in->kind == TG_MSG_EVALUATED) {
    event->evaluated = true;
    tg_server_go_on(s, in->worker, false);
  } else if (in->flags & TG_FLAG_NONFINITE) {
    return drop(s, in, event);
  } else if (tg_server_takes(s, in->worker)) {
    accept(s, in->worker, event);
  } else {
    refuse(s, in->worker, event);
  }
  return TG_OK;
}

tg_status tg_server_begin(tg_server *s, const tg_msg *in, tg_msg *reply, tg_server_event *event) {
  tg_status status = TG_OK;
  *event = (tg_server_event){0};
  *reply = (tg_msg){0};
  TG_TRY(check(s, in));
  uint32_t m = in->worker;
  s->worker = m;
  s->sums = (tg_update_sums){0};
  s->collected = 0;
  s->checkpoint_due = false;
  if (in->flags & TG_FLAG_PREEMPT) tg_server_preempt(s);
  if (s->preempted) {
    tg_server_start(s, m, reply);
  } else {
    status = handle(s, in, event);
    *reply = tg_server_message(s, m, s->state.pending[m]);
    event->held = reply->kind == 0;
    event->serves = status == TG_OK && !event->held && reply->kind != TG_MSG_STOP;
  }
  event->update = s->state.update;
  event->epoch = epoch_at(s, s->state.samples);
  s->event = *event;
  return status;
}

tg_status tg_server_show(tg_server *s, uint32_t m, tg_span span) {
  tg_device *d = s->live.device;
  if (!d || s->options.device_workers) return TG_OK;
  return d->backend->to_host(d, s->state.bak[m] + span.lo, s->bak[m] + span.lo,
                             (span.hi - span.lo) * sizeof(float));
}

bool tg_server_waits(const tg_server *s) {
  return s->event.applied && s->options.optimizer->whole;
}

/* An optimiser of whole tensors takes the gradient when its last span is there. One that comes in
 * pieces is gathered; memory for it is there from the first of them on. */
static tg_status gather_whole(tg_server *s, tg_span span, tg_update *u) {
  bool there = s->live.device || span.hi - span.lo == s->options.n;
  if (!s->options.optimizer->whole || there) return TG_OK;
  if (!s->whole) s->whole = tg_alloc_aligned(s->options.n * sizeof *s->whole);
  if (!s->whole) TG_FAIL(TG_ERUNTIME, "server: no memory for a gradient of %zu", s->options.n);
  u->whole = s->whole;
  return TG_OK;
}

/* A device has all of it where the span is. */
static tg_status collect(tg_server *s, const tg_update *u, tg_span span, float *g) {
  s->collected += span.hi - span.lo;
  if (!s->options.optimizer->whole || s->collected < s->options.n) return TG_OK;
  return tg_live_whole(&s->live, u, &s->options.layout, u->whole ? u->whole : g - span.lo,
                       &s->sums);
}

tg_update tg_server_update(tg_server *s, uint32_t m) {
  tg_update u = {.rule = s->options.rule,
                 .optimizer = s->options.optimizer,
                 .hyper = s->hyper,
                 .w = s->w,
                 .w_bak = s->bak[m],
                 .bak_out = s->bak[m],
                 .as_it_is = s->state.pending[m] == TG_MSG_EVALUATE};
  if (s->state.rule_state_count) u.rule_state = s->rule_state[tg_server_state_index(s, m)];
  memcpy(u.slot, s->slot, sizeof u.slot);
  return u;
}

tg_status tg_server_serve(tg_server *s, uint32_t m) {
  const tg_span whole = {0, s->options.n};
  const tg_update u = tg_server_update(s, m);
  TG_TRY(tg_live_serve(&s->live, &u, whole));
  return tg_server_show(s, m, whole);
}

tg_status tg_server_apply(tg_server *s, tg_span span, float *g) {
  uint32_t m = s->worker;
  bool on_device = s->options.device_workers;
  tg_update u = tg_server_update(s, m);
  if (!s->event.serves) u.bak_out = NULL;
  if (s->event.counts) TG_TRY(tg_server_gather(s, span, &g, &on_device));
  if (s->event.applied) {
    TG_TRY(gather_whole(s, span, &u));
    if (!on_device) TG_TRY(tg_live_take(&s->live, span, &g));
    TG_TRY(tg_live_update(&s->live, &u, span, g, s->live.device != NULL, &s->sums));
    TG_TRY(collect(s, &u, span, g));
  } else if (s->event.serves) {
    TG_TRY(tg_live_serve(&s->live, &u, span));
  }
  if (tg_server_waits(s)) span = (tg_span){0, s->collected < s->options.n ? 0 : s->options.n};
  return s->event.serves ? tg_server_show(s, m, span) : TG_OK;
}

tg_status tg_server_end(tg_server *s, const float *stats, tg_server_event *event) {
  tg_server_state *t = &s->state;
  uint32_t m = s->worker;
  if (s->event.counts && stats) tg_server_fold(s, stats);
  if (s->event.applied) {
    TG_TRY(tg_live_sums(&s->live, &s->sums));
    if (s->sums.gradient_square > 0)
      event->correction_ratio = sqrt(s->sums.correction_square / s->sums.gradient_square);
    event->gap = sqrt(s->sums.gap_square / (double)s->options.n);
  }
  if (s->event.serves && t->pending[m] == TG_MSG_EVALUATE)
    memcpy(t->b_bak[m], t->b, s->options.k * sizeof *t->b);
  event->finished = tg_server_finished(s);
  event->checkpoint_due = s->checkpoint_due || event->finished;
  return TG_OK;
}

tg_status tg_server_step(tg_server *s, const tg_msg *in, float *g, const float *stats,
                         tg_msg *reply, tg_server_event *event) {
  TG_TRY(tg_server_begin(s, in, reply, event));
  if (event->counts || event->serves) TG_TRY(tg_server_apply(s, (tg_span){0, s->options.n}, g));
  return tg_server_end(s, event->counts ? stats : NULL, event);
}

/* ---- beginning and end ---- */

void tg_server_start(tg_server *s, uint32_t worker, tg_msg *out) {
  if (s->preempted) {
    s->told_to_stop[worker] = true;
    *out = (tg_msg){.kind = TG_MSG_STOP, .flags = TG_FLAG_PREEMPT, .worker = worker};
    return;
  }
  *out = tg_server_message(s, worker, s->state.pending[worker]);
}

bool tg_server_finished(const tg_server *s) {
  for (uint32_t m = 0; m < s->options.workers; m++) {
    uint64_t kind = s->state.pending[m];
    if (kind && kind != TG_SERVER_HELD && !s->told_to_stop[m]) return false;
  }
  return true;
}

void tg_server_preempt(tg_server *s) {
  s->preempted = true;
}

const float *tg_server_weights(const tg_server *s, uint32_t m) {
  return s->options.device_workers ? s->bak[m] : s->state.bak[m];
}

const float *tg_server_statistics(const tg_server *s, uint32_t m) {
  return s->state.b_bak[m];
}

tg_status tg_server_fetch(tg_server *s) {
  return tg_live_fetch(&s->live);
}

tg_server_state tg_server_state_of(tg_server *s) {
  return s->state;
}
