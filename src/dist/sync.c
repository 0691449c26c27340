/* sync.c - the synchronous loop. */
#include "tardigrad/sync.h"

#include <stdlib.h>
#include <string.h>

#include "dist/coded.h"
#include "dist/in_step.h"
#include "dist/live.h"
#include "tardigrad/arena.h"
#include "tardigrad/paths.h"

/* What is summed beside the gradients: requests to stop, then one row per worker. Each row has one
 * writer, so its sums are exact. */
enum { SUM_STOP, SUM_DIVERGED, SUM_ROWS };
enum {
  ROW_LOSS,
  ROW_CORRECT,
  ROW_NORM,
  ROW_COMPUTE_S,
  ROW_WAIT_S,
  ROW_COMM_S,
  ROW_BAD,
  ROW_CLAMPED,
  ROW_FIELDS
};

struct tg_sync {
  tg_in_step in;
  tg_sync_state state; /* its counters, but for step, are those of `in` */
  tg_live live;        /* what updates work on: the vectors of `state`, or the device's */
  float *w, *slot[TG_MAX_SLOTS];
  float *x, *s; /* what is summed: the compute object's own memory where that will do */
  float *own_x, *own_s;
  double *scalars; /* [SUM_ROWS + workers * ROW_FIELDS] */
  size_t scalar_count;
  tg_coded coded;
  double wait_s; /* of the last update */
};

static double *row(tg_sync *y, uint32_t worker) {
  return y->scalars + SUM_ROWS + (size_t)worker * ROW_FIELDS;
}

/* ---- one update ---- */

/* A single worker's gradient must stay as it is: the product with 1 would, but costs a pass. */
static void average(float *x, size_t n, uint32_t workers) {
  if (workers > 1) tg_scale(n, x, 1.0f / (float)workers);
}

/* Gradient of one worker at the common weights, added to what is summed. */
static tg_status compute_one(tg_sync *y, uint32_t worker) {
  const tg_sync_options *o = &y->in.o;
  tg_compute *c = o->compute;
  tg_msg in = {.kind = TG_MSG_WEIGHTS, .worker = worker, .version = y->in.update};
  tg_msg out;
  in.step = y->state.step;
  double began = tg_clock_s(), *mine = row(y, worker);
  TG_TRY(tg_worker_step(c, &o->worker, &in, y->w, NULL, &out));
  mine[ROW_LOSS] = out.loss_sum;
  mine[ROW_CORRECT] = (double)out.correct;
  mine[ROW_NORM] = out.gradient_norm;
  mine[ROW_COMPUTE_S] = tg_clock_s() - began;
  mine[ROW_WAIT_S] = y->wait_s;
  mine[ROW_COMM_S] = tg_in_step_shared(&y->in) && !o->group ? y->wait_s : 0;
  if (o->layout.paths) mine[ROW_CLAMPED] = (double)tg_paths_clamped(o->layout.paths);
  mine[ROW_BAD] = (out.flags & TG_FLAG_NONFINITE) != 0;
  if (out.bytes) tg_coded_keep(&y->coded, worker);
  if (o->count == 1) return TG_OK; /* it is summed where it lies */
  const tg_span all = {0, o->n};
  if (worker == o->first) {
    if (o->ks) memcpy(y->s, c->s, o->ks * sizeof *y->s);
    if (y->coded.coder) return TG_OK;
    return tg_live_put(&y->live, y->x, all, c->g);
  }
  for (size_t i = 0; i < o->ks; i++) y->s[i] += c->s[i];
  return y->coded.coder ? TG_OK : tg_live_add_to(&y->live, y->x, all, c->g);
}

static tg_status compute(tg_sync *y) {
  memset(y->scalars, 0, y->scalar_count * sizeof *y->scalars);
  y->scalars[SUM_STOP] = tg_stop_requested() || y->in.wanted;
  y->scalars[SUM_DIVERGED] = y->in.diverged;
  for (uint32_t i = 0; i < y->in.o.count; i++) TG_TRY(compute_one(y, y->in.o.first + i));
  return TG_OK;
}

static bool holds_weights(const tg_sync *y) {
  return !y->in.o.group || y->in.o.count > 0;
}

static tg_status average_gradient(tg_sync *y) {
  tg_device *d = y->live.device;
  if (y->coded.votes) return TG_OK; /* it is of one worker's size */
  if (d && y->in.o.workers > 1)
    return d->backend->scale(d, y->in.o.n, y->x, 1.0f / (float)y->in.o.workers);
  if (!d) average(y->x, y->in.o.n, y->in.o.workers);
  return TG_OK;
}

/* The update that every rank makes alike. */
static tg_status apply(tg_sync *y, tg_server_event *event) {
  tg_update u = {
      .rule = y->in.o.rule, .optimizer = y->in.o.optimizer, .hyper = y->in.o.hyper, .w = y->w};
  tg_update_sums sums = {0};
  event->counts = event->applied = true;
  event->lr = tg_in_step_lr(&y->in, y->in.update);
  u.hyper.lr = (float)event->lr;
  u.hyper.update = y->in.update;
  u.hyper.staleness = 0;
  memcpy(u.slot, y->slot, sizeof u.slot);
  average(y->s, y->in.o.ks, y->in.o.workers);
  if (holds_weights(y)) {
    TG_TRY(average_gradient(y));
    TG_TRY(tg_live_update(&y->live, &u, (tg_span){0, y->in.o.n}, y->x, y->live.device,
                          y->live.device ? NULL : &sums));
    if (u.optimizer->whole)
      TG_TRY(tg_live_whole(&y->live, &u, &y->in.o.layout, y->x, y->live.device ? NULL : &sums));
    TG_TRY(tg_live_clamped(&y->live));
  }
  tg_fold_apply(y->in.o.folds, y->in.o.fold_count, y->s, y->state.b);
  y->in.update++;
  y->in.samples += tg_in_step_samples(&y->in);
  return TG_OK;
}

static uint64_t bad_gradients(tg_sync *y) {
  uint64_t bad = 0;
  for (uint32_t m = 0; m < y->in.o.workers; m++) bad += row(y, m)[ROW_BAD] != 0;
  return bad;
}

/* Floats that are summed over the ranks. (Without ranks their number only says that time passes.)
 */
static size_t summed(const tg_sync *y) {
  return y->in.o.group || (y->coded.coder && tg_in_step_shared(&y->in)) ? 0 : y->in.o.n;
}

static tg_status combine(tg_sync *y) {
  const tg_in_step *in = &y->in;
  if (!y->coded.coder) return TG_OK;
  return tg_coded_combine(&y->coded, in->transport, in->comm, in->o.count == 0, y->state.step - 1,
                          y->x);
}

/* Sums, then the update, unless a gradient was not finite. Encoded gradients of such an update are
 * lost like the others, but not what their codecs kept of them. */
static tg_status update(tg_sync *y, tg_server_event *event) {
  tg_in_step *in = &y->in;
  TG_TRY(compute(y));
  double began = tg_clock_s();
  TG_TRY(tg_in_step_reduce(in, y->x, summed(y), y->scalars, y->scalar_count));
  uint64_t bad = bad_gradients(y);
  y->wait_s = tg_clock_s() - began;
  /* Who makes no update hears from a worker what its were like. */
  if (!holds_weights(y) && in->o.layout.paths)
    tg_paths_tell_clamped(in->o.layout.paths, (uint64_t)row(y, 0)[ROW_CLAMPED]);
  y->state.step++;
  in->nonfinite += bad;
  if (bad == 0) {
    TG_TRY(combine(y));
    if (tg_in_step_shared(in)) TG_TRY(tg_in_step_reduce(in, y->s, in->o.ks, NULL, 0));
    y->wait_s = tg_clock_s() - began;
    TG_TRY(apply(y, event));
  }
  event->update = in->update;
  event->epoch = tg_in_step_epoch(in, in->samples);
  return TG_OK;
}

/* ---- what is told ---- */

/* Where a group of devices has the weights, rank 0 is given them before it saves: worker 0's, to
 * which the others add -0, which changes no number. */
static tg_status publish(tg_sync *y) {
  tg_sync_state *t = &y->state;
  const tg_transport *transport = y->in.transport;
  if (y->coded.coder && tg_in_step_shared(&y->in) && transport->collect)
    TG_TRY(transport->collect(y->in.comm, false));
  if (!y->in.o.group) return TG_OK;
  float *vector[TG_MAX_SLOTS + 1] = {t->w};
  for (size_t i = 0; i < t->slot_count; i++) vector[i + 1] = t->slot[i];
  if (tg_in_step_computes(&y->in, 0)) TG_TRY(tg_live_fetch(&y->live));
  for (size_t i = 0; i < t->slot_count + 1; i++) {
    for (size_t j = 0; !tg_in_step_computes(&y->in, 0) && j < y->in.o.n; j++) vector[i][j] = -0.0f;
    TG_TRY(tg_in_step_reduce(&y->in, vector[i], y->in.o.n, NULL, 0));
  }
  return TG_OK;
}

static double now_s(const tg_sync *y) {
  return y->in.transport ? y->in.transport->clock(y->in.comm) : tg_clock_s();
}

static tg_status tell_pushes(tg_sync *y, tg_server_event event, bool checkpoint) {
  double sent_s = now_s(y);
  for (uint32_t m = 0; m < y->in.o.workers; m++) {
    const double *of = row(y, m);
    tg_msg in = {.kind = TG_MSG_PUSH,
                 .flags = of[ROW_BAD] != 0 ? TG_FLAG_NONFINITE : 0,
                 .worker = m,
                 .samples = y->in.o.batch,
                 .version = event.update - event.applied,
                 .step = y->state.step - 1,
                 .correct = (uint64_t)of[ROW_CORRECT],
                 .loss_sum = of[ROW_LOSS],
                 .gradient_norm = of[ROW_NORM],
                 .compute_s = of[ROW_COMPUTE_S],
                 .wait_s = of[ROW_WAIT_S],
                 .comm_s = of[ROW_COMM_S],
                 .exposed_s = of[ROW_COMM_S], /* gradients are summed when they are computed */
                 .sent_s = sent_s,
                 .bytes = y->coded.coder ? y->coded.bytes[m] : 0};
    event.nonfinite = in.flags != 0;
    event.checkpoint_due = checkpoint && m + 1 == y->in.o.workers;
    TG_TRY(tg_in_step_tell(&y->in, &in, &event));
  }
  return TG_OK;
}

static tg_status evaluate(tg_sync *y, tg_server_event event, bool last) {
  tg_msg out;
  TG_TRY(tg_in_step_evaluate(&y->in, y->w, y->state.b, y->state.step, last, &out, &event));
  out.sent_s = now_s(y);
  if (event.checkpoint_due) TG_TRY(publish(y));
  return tg_in_step_tell(&y->in, &out, &event);
}

static tg_status cut_short(tg_sync *y, tg_status why) {
  TG_TRY(publish(y));
  return tg_in_step_cut(&y->in, why);
}

/* One update and all that follows from it. */
static tg_status step(tg_sync *y) {
  tg_in_step *in = &y->in;
  tg_server_event event = {0};
  TG_TRY(update(y, &event));
  bool last = in->update == in->total;
  bool evaluates =
      event.applied && (last || tg_in_step_crosses(in, y->in.o.eval_every, in->update));
  bool checkpoint =
      event.applied && !evaluates && tg_in_step_crosses(in, y->in.o.checkpoint_every, in->update);
  bool stop = y->scalars[SUM_STOP] > 0, diverged = y->scalars[SUM_DIVERGED] > 0;
  if (checkpoint) TG_TRY(publish(y));
  TG_TRY(tell_pushes(y, event, checkpoint));
  if (diverged || in->nonfinite > y->in.o.max_nonfinite) return cut_short(y, TG_EDIVERGED);
  if (evaluates) TG_TRY(evaluate(y, event, last));
  /* Every rank has made all updates for itself: seldom enough they are compared. */
  bool alike = true;
  if (evaluates && !in->o.group && !y->live.device) TG_TRY(tg_in_step_alike(in, y->w, &alike));
  if (!alike) return cut_short(y, TG_EDIVERGED);
  return stop && !last ? cut_short(y, TG_EPREEMPTED) : TG_OK;
}

tg_status tg_sync_run(tg_sync *y, const tg_transport *transport, tg_comm *comm,
                      const tg_observer *observer) {
  tg_in_step *in = &y->in;
  in->transport = transport;
  in->comm = comm;
  in->observer = observer;
  if (in->total == 0) return evaluate(y, (tg_server_event){0}, true);
  while (in->update < in->total) TG_TRY(step(y));
  /* The observer's last word: no more sums follow that would carry it. */
  double diverged = in->diverged;
  TG_TRY(tg_in_step_reduce(in, NULL, 0, &diverged, 1));
  return diverged > 0 ? cut_short(y, TG_EDIVERGED) : TG_OK;
}

/* ---- beginning and end ---- */

void tg_sync_destroy(tg_sync *y) {
  if (!y) return;
  if (y->live.device && y->own_x) y->live.device->backend->free(y->live.device, y->own_x);
  if (!y->live.device) free(y->own_x);
  tg_live_close(&y->live);
  tg_coded_close(&y->coded);
  free(y->state.w);
  free(y->state.b);
  for (size_t i = 0; i < y->state.slot_count; i++) free(y->state.slot[i]);
  free(y->own_s);
  tg_in_step_close(&y->in);
  free(y->scalars);
  free(y);
}

static float *vector(size_t n) {
  return tg_alloc_aligned(n * sizeof(float));
}

static tg_status make_live(tg_sync *y) {
  const tg_sync_options *o = &y->in.o;
  tg_live_open(&y->live, o->device, o->n);
  const tg_update like = {.rule = o->rule, .optimizer = o->optimizer, .hyper = o->hyper};
  TG_TRY(tg_live_add(&y->live, y->state.w, &y->w));
  TG_TRY(tg_live_whole_open(&y->live, &like, &o->layout));
  for (size_t i = 0; i < y->state.slot_count; i++)
    TG_TRY(tg_live_add(&y->live, y->state.slot[i], &y->slot[i]));
  if (o->count != 1 && o->device)
    TG_TRY(o->device->backend->alloc(o->device, o->n * sizeof(float), (void **)&y->own_x));
  if (o->count != 1) y->x = y->own_x;
  return TG_OK;
}

static tg_status allocate(tg_sync *y) {
  const tg_sync_options *o = &y->in.o;
  tg_sync_state *t = &y->state;
  y->scalar_count = SUM_ROWS + (size_t)o->workers * ROW_FIELDS;
  y->scalars = calloc(y->scalar_count, sizeof *y->scalars);
  bool enough = y->scalars && (t->w = vector(o->n)) && (t->b = vector(o->k));
  for (int i = 0; enough && i < o->optimizer->slots; i++) {
    t->slot_length[i] = tg_optimizer_slot_length(o->optimizer, &o->hyper.keys, &o->layout, o->n, i);
    enough = (t->slot[t->slot_count++] = vector(t->slot_length[i]));
  }
  /* One worker's gradient is summed where it lies. */
  if (o->count == 1) {
    y->x = o->group ? o->compute->sum : o->compute->g;
    y->s = o->compute->s;
  } else if (enough) {
    enough =
        (y->s = y->own_s = vector(o->ks)) && (o->device || o->group || (y->own_x = vector(o->n)));
  }
  if (!enough) TG_FAIL(TG_ERUNTIME, "no memory for vectors of %zu parameters", o->n);
  return make_live(y);
}

tg_status tg_sync_create(const tg_sync_options *o, const float *w0, const float *b0,
                         tg_sync **out) {
  tg_status status = TG_OK;
  TG_TRY(tg_layout_check(o->optimizer, &o->layout, o->n, o->device != NULL));
  if (o->worker.coder && (o->device || o->group))
    TG_FAIL(TG_ECONFIG, "codec %s: gradients are encoded on the host, updates are made on a device",
            o->worker.coder->codec->name);
  tg_sync *y = calloc(1, sizeof *y);
  if (!y) TG_FAIL(TG_ERUNTIME, "no memory for a synchronous run");
  TG_DO(tg_in_step_open(&y->in, o, o->workers));
  TG_DO(tg_coded_open(&y->coded, o->worker.coder, o->rule->votes, o->workers, o->first, o->count));
  TG_DO(allocate(y));
  memcpy(y->state.w, w0, o->n * sizeof *w0);
  if (o->k) memcpy(y->state.b, b0, o->k * sizeof *b0);
  TG_DO(tg_live_store(&y->live));
  *out = y;
  return TG_OK;
done:
  tg_sync_destroy(y);
  return status;
}

tg_status tg_sync_fetch(tg_sync *y) {
  return tg_live_fetch(&y->live);
}

tg_sync_state tg_sync_state_of(tg_sync *y) {
  tg_sync_state t = y->state;
  t.update = y->in.update;
  t.samples = y->in.samples;
  t.nonfinite = y->in.nonfinite;
  return t;
}

tg_status tg_sync_restored(tg_sync *y, const tg_sync_state *counters) {
  TG_TRY(tg_in_step_restored(&y->in, counters->update, counters->samples, counters->nonfinite));
  y->state.step = counters->step;
  return tg_live_store(&y->live);
}
