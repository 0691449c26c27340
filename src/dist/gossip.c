/* gossip.c - AD-PSGD where decisions are made: on rank 0, or in the one process there is. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dist/gossip_private.h"
#include "dist/mix.h"
#include "dist/patience.h"

/* Whether all workers are here, and orders are done at once. */
static bool is_alone(const tg_gossip *y) {
  return !tg_in_step_shared(&y->in);
}

static double *now_of(tg_gossip *y) {
  return &y->state.ready[y->in.o.workers];
}

static double clock_s(tg_gossip *y) {
  return is_alone(y) ? *now_of(y) : y->in.transport->clock(y->in.comm);
}

static double duration(const tg_gossip *y, uint32_t worker, uint64_t step) {
  const tg_transport *t = y->in.transport;
  return t && t->compute_s ? t->compute_s(y->in.comm, worker, step) : 1;
}

/* ---- orders ---- */

static void again(tg_gossip *y, uint32_t m, const tg_order *o) {
  tg_gossip_snapshot(y, m);
  if (o->more) y->state.ready[m] = *now_of(y) + duration(y, m, o->step);
}

/* What worker m would do; both sides of a mixture are done as its beginner. */
static void perform(tg_gossip *y, uint32_t m, const tg_order *o) {
  float **x = y->state.has.x;
  size_t n = y->in.o.n;
  if (o->kind == TG_GOSSIP_AGAIN) again(y, m, o);
  if (o->kind != TG_GOSSIP_MIX || o->worker != m) return;
  if (o->partner != m) tg_mix_pair(n, x[m], x[o->partner]);
  tg_in_step_apply(&y->in, &y->state.has, m, y->state.has.x[m], o->lr, o->update);
  again(y, m, o);
}

static tg_status order(tg_gossip *y, uint32_t m, const tg_order *o) {
  if (!is_alone(y)) return y->in.transport->say(y->in.comm, m, o, sizeof *o);
  perform(y, m, o);
  return TG_OK;
}

static tg_status order_all(tg_gossip *y, const tg_order *o) {
  for (uint32_t m = 0; m < y->in.o.workers; m++) TG_TRY(order(y, m, o));
  return TG_OK;
}

/* The next gradient of worker m, at a new snapshot, if the run has another. */
static void issue(tg_gossip *y, uint32_t m, tg_order *o) {
  tg_gossip_state *t = &y->state;
  t->taken_at[m] = t->ops[m];
  t->pending[m] = o->more = t->issued < y->in.total;
  o->step = t->step[m];
  t->step[m] += o->more;
  t->issued += o->more;
}

/* After a restored state gradients are computed again at the snapshots of then. */
static tg_status start(tg_gossip *y) {
  const tg_gossip_state *t = &y->state;
  for (uint32_t m = 0; m < y->in.o.workers; m++) {
    tg_order o = {.kind = t->pending[m] ? TG_GOSSIP_COMPUTE : TG_GOSSIP_AGAIN, .worker = m};
    if (t->pending[m]) {
      o.step = t->step[m] - 1;
      o.more = true;
    } else {
      issue(y, m, &o);
    }
    TG_TRY(order(y, m, &o));
  }
  return TG_OK;
}

/* ---- headers ---- */

static tg_status next_of_records(tg_gossip *y, uint32_t *out) {
  if (y->record == y->o.record_count)
    TG_FAIL(TG_ERUNTIME, "sim: the trace ends after %zu messages, at update %llu: before the run",
            y->o.record_count, (unsigned long long)y->in.update);
  uint32_t record = y->o.records[y->record], m = record & 0xFFFFFFu;
  if (m >= y->in.o.workers || record >> 24 != TG_MSG_PUSH || !y->state.pending[m])
    TG_FAIL(TG_ERUNTIME,
            "sim: record %zu of the trace, after update %llu, is a message of kind %u from worker "
            "%u, which owes none",
            y->record, (unsigned long long)y->in.update, record >> 24, m);
  y->record++;
  /* Nobody recorded how long it took: time passes at the mean rate. */
  *now_of(y) += duration(y, m, y->state.step[m] - 1) / y->in.o.workers;
  *out = m;
  return TG_OK;
}

static tg_status next_in_time(tg_gossip *y, uint32_t *out) {
  const tg_gossip_state *t = &y->state;
  *out = y->in.o.workers;
  for (uint32_t m = 0; m < y->in.o.workers; m++)
    if (t->pending[m] && (*out == y->in.o.workers || t->ready[m] < t->ready[*out])) *out = m;
  if (*out == y->in.o.workers) TG_FAIL(TG_ERUNTIME, "sim: no gradient is under way");
  *now_of(y) = t->ready[*out];
  return TG_OK;
}

/* In one process a gradient is computed when its turn comes: its snapshot waits for it. */
static tg_status take_here(tg_gossip *y, tg_msg *out) {
  uint32_t m = 0;
  TG_TRY(y->o.records ? next_of_records(y, &m) : next_in_time(y, &m));
  tg_msg in = {.kind = TG_MSG_WEIGHTS, .worker = m, .version = y->state.taken_at[m]};
  in.step = y->state.step[m] - 1;
  TG_TRY(
      tg_worker_step(y->in.o.compute, &y->in.o.worker, &in, y->state.has.snapshot[m], NULL, out));
  out->compute_s = duration(y, m, in.step);
  out->sent_s = *now_of(y);
  return TG_OK;
}

/* The next word of any worker, waited for. */
static tg_status hear(tg_gossip *y, tg_msg *out) {
  tg_patience patience = tg_patience_begin(y->o.timeout_s, false);
  for (bool got;;) {
    TG_TRY(y->in.transport->hear(y->in.comm, out, sizeof *out, &got));
    if (got) break;
    if (!tg_patience_pause(&patience))
      TG_FAIL(TG_EUNAVAILABLE, "waited %g s for a message of any worker", y->o.timeout_s);
  }
  if (out->worker >= y->in.o.workers)
    TG_FAIL(TG_ERUNTIME, "a message of worker %u, there are %u workers", out->worker,
            y->in.o.workers);
  y->stopped += out->kind == TG_MSG_STOP;
  return TG_OK;
}

/* Hears until a word of this kind has come; headers wait for their turn. */
static tg_status await(tg_gossip *y, uint32_t kind, tg_msg *out) {
  for (;;) {
    TG_TRY(hear(y, out));
    if (out->kind == TG_MSG_PUSH && y->waiting_count == y->in.o.workers)
      TG_FAIL(TG_ERUNTIME, "worker %u sent a gradient that nobody asked for", out->worker);
    if (out->kind == TG_MSG_PUSH) y->waiting[y->waiting_count++] = *out;
    if (out->kind == kind) return TG_OK;
  }
}

/* The header that is taken next: the first, or the one that the trace prescribes. */
static tg_status take_there(tg_gossip *y, tg_msg *out) {
  int wanted = y->o.trace ? tg_trace_next(y->o.trace) : -1;
  for (;;) {
    for (uint32_t i = 0; i < y->waiting_count; i++) {
      if (wanted >= 0 && y->waiting[i].worker != (uint32_t)wanted) continue;
      *out = y->waiting[i];
      y->waiting_count--;
      memmove(&y->waiting[i], &y->waiting[i + 1], (y->waiting_count - i) * sizeof *out);
      return TG_OK;
    }
    TG_TRY(await(y, TG_MSG_PUSH, out));
  }
}

static tg_status take(tg_gossip *y, tg_msg *out) {
  const tg_gossip_state *t = &y->state;
  TG_TRY(is_alone(y) ? take_here(y, out) : take_there(y, out));
  uint32_t m = out->worker;
  if (out->kind != TG_MSG_PUSH || !t->pending[m] || out->step + 1 != t->step[m] ||
      out->version != t->taken_at[m])
    TG_FAIL(TG_ERUNTIME,
            "worker %u sent message %u of step %llu at operation %llu, step %llu at operation %llu "
            "expected",
            m, out->kind, (unsigned long long)out->step, (unsigned long long)out->version,
            (unsigned long long)t->step[m] - 1, (unsigned long long)t->taken_at[m]);
  if (out->flags & TG_FLAG_PREEMPT) y->in.wanted = true;
  out->flags &= ~(uint32_t)TG_FLAG_PREEMPT;
  return y->o.trace ? tg_trace_append(y->o.trace, m, out->kind, tg_trace_print(out)) : TG_OK;
}

/* ---- one header handled ---- */

static tg_status drop(tg_gossip *y, const tg_msg *in, tg_server_event *event) {
  tg_order o = {.kind = TG_GOSSIP_AGAIN, .worker = in->worker};
  event->nonfinite = true;
  y->in.nonfinite++;
  y->state.issued--;
  issue(y, in->worker, &o);
  return order(y, in->worker, &o);
}

static tg_status mix(tg_gossip *y, const tg_msg *in, tg_server_event *event) {
  tg_gossip_state *t = &y->state;
  uint32_t m = in->worker,
           j = tg_gossip_partner(y->o.topology, y->in.o.workers, y->o.seed, m, in->step);
  tg_order o = {.kind = TG_GOSSIP_MIX, .worker = m, .partner = j, .update = t->made[m]++};
  o.lr = event->lr = tg_in_step_lr(&y->in, y->in.update);
  event->counts = event->applied = true;
  event->staleness = t->ops[m] - t->taken_at[m];
  event->partner = j;
  event->bytes = j == m ? 0 : 2 * (uint64_t)y->in.o.n * sizeof(float);
  y->in.update++;
  y->in.samples += tg_in_step_samples(&y->in);
  t->ops[m]++;
  t->ops[j] += j != m;
  issue(y, m, &o);
  if (j != m) TG_TRY(order(y, j, &o));
  return order(y, m, &o);
}

static tg_status handle(tg_gossip *y, const tg_msg *in, tg_server_event *event) {
  y->state.pending[in->worker] = 0;
  event->partner = in->worker;
  event->consensus = y->consensus;
  event->local_steps = 1;
  TG_TRY(in->flags & TG_FLAG_NONFINITE ? drop(y, in, event) : mix(y, in, event));
  event->update = y->in.update;
  event->epoch = tg_in_step_epoch(&y->in, y->in.samples);
  return TG_OK;
}

/* ---- the model as a whole ---- */

/* Everybody's weights as they are after all operations issued so far; their mean. */
static tg_status publish(tg_gossip *y, bool save) {
  tg_gossip_state *t = &y->state;
  const tg_sync_options *o = &y->in.o;
  double square = 0;
  if (!is_alone(y)) {
    TG_TRY(order_all(y, &(tg_order){.kind = save ? TG_GOSSIP_SAVE : TG_GOSSIP_SHOW}));
    TG_TRY(tg_holdings_gather(&t->has, y->in.transport, y->in.comm, true, save));
  }
  tg_mix_mean(o->n, (const float *const *)t->has.x, o->workers, t->w);
  if (o->k) tg_mix_mean(o->k, (const float *const *)t->has.bx, o->workers, t->b);
  for (uint32_t m = 0; m < o->workers; m++) square += tg_mix_distance(o->n, t->has.x[m], t->w);
  y->consensus = sqrt(square / o->workers);
  return TG_OK;
}

/* Worker 0 does it; nothing else is decided meanwhile. */
static tg_status evaluate_there(tg_gossip *y, tg_msg *out) {
  const tg_gossip_state *t = &y->state;
  tg_parcel parcel[] = {{.n = y->in.o.n, .out = t->w}, {.n = y->in.o.k, .out = t->b}};
  tg_order o = {.kind = TG_GOSSIP_EVALUATE, .update = y->in.update};
  TG_TRY(order(y, 0, &o));
  TG_TRY(y->in.transport->post(y->in.comm, parcel, 2));
  TG_TRY(y->in.transport->complete(y->in.comm));
  return await(y, TG_MSG_EVALUATED, out);
}

static tg_status evaluate(tg_gossip *y, bool last) {
  tg_server_event event = {0};
  tg_msg out;
  tg_in_step_evaluated(&y->in, last, &event);
  TG_TRY(publish(y, event.checkpoint_due));
  if (is_alone(y))
    TG_TRY(tg_in_step_evaluate(&y->in, y->state.w, y->state.b, 0, last, &out, &event));
  else
    TG_TRY(evaluate_there(y, &out));
  out.version = y->in.update;
  out.sent_s = clock_s(y);
  event.consensus = y->consensus;
  return tg_in_step_tell(&y->in, &out, &event);
}

/* ---- ends ---- */

/* Workers are let go, and what they had still said is passed over. */
static tg_status let_go(tg_gossip *y, tg_status why) {
  tg_msg heard;
  if (is_alone(y)) return TG_OK;
  TG_TRY(order_all(y, &(tg_order){.kind = TG_GOSSIP_STOP, .status = (int32_t)why}));
  while (y->stopped < y->in.o.workers) TG_TRY(hear(y, &heard));
  return TG_OK;
}

static tg_status cut_short(tg_gossip *y, tg_status why) {
  char text[1024];
  TG_TRY(publish(y, true));
  tg_status status = tg_in_step_cut(&y->in, why);
  if (status != why) return status; /* it could not be saved */
  snprintf(text, sizeof text, "%s", tg_status_message());
  TG_TRY(let_go(y, why));
  return tg_status_set(why, "%s", text);
}

/* One header and all that follows from it. */
static tg_status step(tg_gossip *y) {
  tg_in_step *in = &y->in;
  tg_server_event event = {0};
  tg_msg msg;
  TG_TRY(take(y, &msg));
  TG_TRY(handle(y, &msg, &event));
  bool last = in->update == in->total;
  bool evaluates = event.applied && (last || tg_in_step_crosses(in, in->o.eval_every, in->update));
  event.checkpoint_due =
      event.applied && !evaluates && tg_in_step_crosses(in, in->o.checkpoint_every, in->update);
  if (event.checkpoint_due) TG_TRY(publish(y, true));
  TG_TRY(tg_in_step_tell(in, &msg, &event));
  if (in->diverged || in->nonfinite > in->o.max_nonfinite) return cut_short(y, TG_EDIVERGED);
  if (evaluates) TG_TRY(evaluate(y, last));
  if (in->diverged) return cut_short(y, TG_EDIVERGED);
  bool stops = (in->wanted || tg_stop_requested()) && !last;
  return stops ? cut_short(y, TG_EPREEMPTED) : TG_OK;
}

tg_status tg_gossip_fetch(tg_gossip *y) {
  return is_alone(y) ? publish(y, false) : TG_OK;
}

tg_status tg_gossip_lead(tg_gossip *y) {
  const tg_in_step *in = &y->in;
  TG_TRY(start(y));
  if (in->total == 0) TG_TRY(evaluate(y, true));
  while (in->update < in->total) TG_TRY(step(y));
  return let_go(y, TG_OK);
}
