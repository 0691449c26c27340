/* sync.c - the synchronous loop. */
#include "tardigrad/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/coded.h"
#include "dist/live.h"
#include "tardigrad/arena.h"

/* What is summed beside the gradients: requests to stop, then one row per worker. Each row has one
 * writer, so its sums are exact. */
enum { SUM_STOP, SUM_DIVERGED, SUM_ROWS };
enum { ROW_LOSS, ROW_CORRECT, ROW_NORM, ROW_COMPUTE_S, ROW_WAIT_S, ROW_BAD, ROW_FIELDS };

struct tg_sync {
  tg_sync_options o;
  tg_sync_state state;
  tg_fold *folds;
  tg_schedule_step *steps;
  tg_part *parts;
  tg_optimizer optimizer;
  uint64_t total; /* updates of the run */
  tg_live live;   /* what updates work on: the vectors of `state`, or the device's */
  float *w, *slot[TG_MAX_SLOTS];
  float *x, *s; /* what is summed: the compute object's own memory where that will do */
  float *own_x, *own_s;
  double *scalars; /* [SUM_ROWS + workers * ROW_FIELDS] */
  size_t scalar_count;
  tg_coded coded;
  double wait_s; /* of the last update */
  bool wanted;   /* the observer asked to stop */
  bool diverged; /* the observer said so, and why */
  char why[1024];
};

/* One run of the loop. */
typedef struct running {
  tg_sync *sync;
  const tg_transport *transport;
  tg_comm *comm;
  const tg_observer *observer;
} running;

static double *row(tg_sync *y, uint32_t worker) {
  return y->scalars + SUM_ROWS + (size_t)worker * ROW_FIELDS;
}

static double epoch_of(const tg_sync *y, uint64_t samples) {
  return (double)samples / (double)y->o.train_count;
}

static uint64_t samples_per_update(const tg_sync *y) {
  return (uint64_t)y->o.workers * y->o.batch;
}

/* Whether the last update crossed a multiple of `every` epochs. */
static bool crossed(const tg_sync *y, double every) {
  uint64_t now = y->state.samples, then = now - samples_per_update(y);
  return tg_progress_boundaries(every, y->o.train_count, now) >
         tg_progress_boundaries(every, y->o.train_count, then);
}

static bool computes(const tg_sync *y, uint32_t worker) {
  return worker >= y->o.first && worker - y->o.first < y->o.count;
}

static double now_s(const running *r) {
  return r->transport ? r->transport->clock(r->comm) : tg_clock_s();
}

/* Whether other ranks compute too: a transport without work() runs its workers here. */
static bool is_shared(const running *r) {
  return r->transport && r->transport->work;
}

static tg_status reduce(const running *r, float *x, size_t n, double *scalars, size_t count) {
  return r->transport ? r->transport->allreduce(r->comm, x, n, scalars, count) : TG_OK;
}

/* ---- one update ---- */

static void add(float *restrict sum, const float *restrict x, size_t n) {
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < n; i++) sum[i] += x[i];
}

/* A single worker's gradient must stay as it is: the product with 1 would, but costs a pass. */
static void average(float *x, size_t n, uint32_t workers) {
  if (workers == 1) return;
  const float part = 1.0f / (float)workers;
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < n; i++) x[i] *= part;
}

/* Gradient of one worker at the common weights, added to what is summed. */
static tg_status compute_one(tg_sync *y, uint32_t worker) {
  tg_compute *c = y->o.compute;
  tg_msg in = {.kind = TG_MSG_WEIGHTS, .worker = worker, .version = y->state.update};
  tg_msg out;
  in.step = y->state.step;
  double began = tg_clock_s(), *mine = row(y, worker);
  TG_TRY(tg_worker_step(c, &y->o.worker, &in, y->w, NULL, &out));
  mine[ROW_LOSS] = out.loss_sum;
  mine[ROW_CORRECT] = (double)out.correct;
  mine[ROW_NORM] = out.gradient_norm;
  mine[ROW_COMPUTE_S] = tg_clock_s() - began;
  mine[ROW_WAIT_S] = y->wait_s;
  mine[ROW_BAD] = (out.flags & TG_FLAG_NONFINITE) != 0;
  if (out.bytes) tg_coded_keep(&y->coded, worker);
  if (y->o.count == 1) return TG_OK; /* it is summed where it lies */
  if (worker == y->o.first) {
    memcpy(y->s, c->s, y->o.ks * sizeof *y->s);
    if (y->coded.coder) return TG_OK;
    return tg_live_copy(&y->live, y->x, c->g, (tg_span){0, y->o.n});
  }
  add(y->s, c->s, y->o.ks);
  if (y->coded.coder) return TG_OK;
  if (c->device) return c->device->backend->add_f32(c->device, y->o.n, y->x, c->g);
  add(y->x, c->g, y->o.n);
  return TG_OK;
}

static tg_status compute(tg_sync *y) {
  memset(y->scalars, 0, y->scalar_count * sizeof *y->scalars);
  y->scalars[SUM_STOP] = tg_stop_requested() || y->wanted;
  y->scalars[SUM_DIVERGED] = y->diverged;
  for (uint32_t i = 0; i < y->o.count; i++) TG_TRY(compute_one(y, y->o.first + i));
  return TG_OK;
}

static bool holds_weights(const tg_sync *y) {
  return !y->o.group || y->o.count > 0;
}

static tg_status average_gradient(tg_sync *y) {
  tg_device *d = y->live.device;
  if (y->coded.votes) return TG_OK; /* it is of one worker's size */
  if (d && y->o.workers > 1) return d->backend->scale(d, y->o.n, y->x, 1.0f / (float)y->o.workers);
  if (!d) average(y->x, y->o.n, y->o.workers);
  return TG_OK;
}

/* The update that every rank makes alike. */
static tg_status apply(tg_sync *y, tg_server_event *event) {
  tg_sync_state *t = &y->state;
  tg_update u = {.rule = y->o.rule, .optimizer = y->o.optimizer, .hyper = y->o.hyper, .w = y->w};
  tg_update_sums sums = {0};
  double before = epoch_of(y, t->samples);
  t->samples += samples_per_update(y);
  event->counts = event->applied = true;
  event->lr = tg_schedule_lr(&y->o.schedule, before, epoch_of(y, t->samples));
  u.hyper.lr = (float)event->lr;
  u.hyper.update = t->update;
  u.hyper.staleness = 0;
  memcpy(u.slot, y->slot, sizeof u.slot);
  average(y->s, y->o.ks, y->o.workers);
  if (holds_weights(y)) {
    TG_TRY(average_gradient(y));
    TG_TRY(tg_live_update(&y->live, &u, (tg_span){0, y->o.n}, y->x, y->live.device,
                          y->live.device ? NULL : &sums));
    if (y->optimizer.whole) TG_TRY(tg_update_whole(&u, &y->o.layout, y->o.n, y->x));
  }
  tg_fold_apply(y->folds, y->o.fold_count, y->s, t->b);
  t->update++;
  return TG_OK;
}

static uint64_t bad_gradients(tg_sync *y) {
  uint64_t bad = 0;
  for (uint32_t m = 0; m < y->o.workers; m++) bad += row(y, m)[ROW_BAD] != 0;
  return bad;
}

/* Floats that are summed over the ranks. (Without ranks their number only says that time passes.)
 */
static size_t summed(const running *r) {
  const tg_sync *y = r->sync;
  return y->o.group || (y->coded.coder && is_shared(r)) ? 0 : y->o.n;
}

static tg_status combine(running *r) {
  tg_sync *y = r->sync;
  if (!y->coded.coder) return TG_OK;
  return tg_coded_combine(&y->coded, r->transport, r->comm, y->o.count == 0, y->state.step - 1,
                          y->x);
}

/* Sums, then the update, unless a gradient was not finite. Encoded gradients of such an update are
 * lost like the others, but not what their codecs kept of them. */
static tg_status update(running *r, tg_server_event *event) {
  tg_sync *y = r->sync;
  TG_TRY(compute(y));
  double began = tg_clock_s();
  TG_TRY(reduce(r, y->x, summed(r), y->scalars, y->scalar_count));
  uint64_t bad = bad_gradients(y);
  y->state.step++;
  y->state.nonfinite += bad;
  if (bad == 0) {
    TG_TRY(combine(r));
    if (is_shared(r)) TG_TRY(reduce(r, y->s, y->o.ks, NULL, 0));
    y->wait_s = tg_clock_s() - began;
    TG_TRY(apply(y, event));
  }
  event->update = y->state.update;
  event->epoch = epoch_of(y, y->state.samples);
  return TG_OK;
}

/* ---- what is told ---- */

/* Where a group of devices has the weights, rank 0 is given them before it saves: worker 0's, to
 * which the others add -0, which changes no number. */
static tg_status publish(running *r) {
  tg_sync *y = r->sync;
  tg_sync_state *t = &y->state;
  if (y->coded.coder && is_shared(r) && r->transport->collect)
    TG_TRY(r->transport->collect(r->comm, false));
  if (!y->o.group) return TG_OK;
  float *vector[TG_MAX_SLOTS + 1] = {t->w};
  for (size_t i = 0; i < t->slot_count; i++) vector[i + 1] = t->slot[i];
  if (computes(y, 0)) TG_TRY(tg_live_fetch(&y->live));
  for (size_t i = 0; i < t->slot_count + 1; i++) {
    for (size_t j = 0; !computes(y, 0) && j < y->o.n; j++) vector[i][j] = -0.0f;
    TG_TRY(reduce(r, vector[i], y->o.n, NULL, 0));
  }
  return TG_OK;
}

static tg_status tell(running *r, const tg_msg *in, const tg_server_event *event) {
  tg_sync *y = r->sync;
  if (!r->observer || !r->observer->handled) return TG_OK;
  tg_status status = r->observer->handled(r->observer->self, in, event, &y->wanted);
  if (status != TG_EDIVERGED) return status;
  /* The others learn it with the next sums. */
  y->diverged = true;
  snprintf(y->why, sizeof y->why, "%s", tg_status_message());
  return TG_OK;
}

static tg_status tell_pushes(running *r, tg_server_event event, bool checkpoint) {
  tg_sync *y = r->sync;
  double sent_s = now_s(r);
  for (uint32_t m = 0; m < y->o.workers; m++) {
    const double *of = row(y, m);
    tg_msg in = {.kind = TG_MSG_PUSH,
                 .flags = of[ROW_BAD] != 0 ? TG_FLAG_NONFINITE : 0,
                 .worker = m,
                 .samples = y->o.batch,
                 .version = event.update - event.applied,
                 .step = y->state.step - 1,
                 .correct = (uint64_t)of[ROW_CORRECT],
                 .loss_sum = of[ROW_LOSS],
                 .gradient_norm = of[ROW_NORM],
                 .compute_s = of[ROW_COMPUTE_S],
                 .wait_s = of[ROW_WAIT_S],
                 .sent_s = sent_s,
                 .bytes = y->coded.coder ? y->coded.bytes[m] : 0};
    event.nonfinite = in.flags != 0;
    event.checkpoint_due = checkpoint && m + 1 == y->o.workers;
    TG_TRY(tell(r, &in, &event));
  }
  return TG_OK;
}

/* Worker 0 evaluates, everybody waits, rank 0 tells. */
static tg_status evaluate(running *r, tg_server_event event, bool last) {
  tg_sync *y = r->sync;
  tg_msg in = {.kind = TG_MSG_EVALUATE, .version = y->state.update, .step = y->state.step};
  tg_msg out = {.kind = TG_MSG_EVALUATED};
  double began = tg_clock_s();
  if (computes(y, 0))
    TG_TRY(tg_worker_step(y->o.compute, &y->o.worker, &in, y->w, y->state.b, &out));
  double result[] = {out.loss_sum, (double)out.correct, out.samples,
                     computes(y, 0) ? tg_clock_s() - began : 0};
  TG_TRY(reduce(r, NULL, 0, result, sizeof result / sizeof *result));
  out.version = in.version;
  out.step = in.step;
  out.loss_sum = result[0];
  out.correct = (uint64_t)result[1];
  out.samples = (uint32_t)result[2];
  out.compute_s = result[3];
  out.sent_s = now_s(r);
  event.counts = event.applied = event.nonfinite = false;
  event.evaluated = true;
  event.finished = last;
  event.update = y->state.update;
  event.epoch = epoch_of(y, y->state.samples);
  event.checkpoint_due = last || crossed(y, y->o.checkpoint_every);
  if (event.checkpoint_due) TG_TRY(publish(r));
  return tell(r, &out, &event);
}

static tg_status cut_short(running *r, tg_status why) {
  TG_TRY(publish(r));
  if (r->observer && r->observer->cut) TG_TRY(r->observer->cut(r->observer->self, why));
  const tg_sync_state *t = &r->sync->state;
  if (r->sync->diverged) TG_FAIL(why, "%s", r->sync->why);
  if (why == TG_EDIVERGED)
    TG_FAIL(
        why,
        "diverged: %llu gradients were not finite (train.max_nonfinite = %llu); the last one at "
        "update %llu",
        (unsigned long long)t->nonfinite, (unsigned long long)r->sync->o.max_nonfinite,
        (unsigned long long)t->update);
  TG_FAIL(why, "stopped on request after update %llu", (unsigned long long)t->update);
}

/* One update and all that follows from it. */
static tg_status step(running *r) {
  tg_sync *y = r->sync;
  tg_server_event event = {0};
  TG_TRY(update(r, &event));
  bool last = y->state.update == y->total;
  bool evaluates = event.applied && (last || crossed(y, y->o.eval_every));
  bool checkpoint = event.applied && !evaluates && crossed(y, y->o.checkpoint_every);
  bool stop = y->scalars[SUM_STOP] > 0, diverged = y->scalars[SUM_DIVERGED] > 0;
  if (checkpoint) TG_TRY(publish(r));
  TG_TRY(tell_pushes(r, event, checkpoint));
  if (diverged || y->state.nonfinite > y->o.max_nonfinite) return cut_short(r, TG_EDIVERGED);
  if (evaluates) TG_TRY(evaluate(r, event, last));
  return stop && !last ? cut_short(r, TG_EPREEMPTED) : TG_OK;
}

tg_status tg_sync_run(tg_sync *y, const tg_transport *transport, tg_comm *comm,
                      const tg_observer *observer) {
  running r = {.sync = y, .transport = transport, .comm = comm, .observer = observer};
  if (y->total == 0) return evaluate(&r, (tg_server_event){0}, true);
  while (y->state.update < y->total) TG_TRY(step(&r));
  return y->diverged ? cut_short(&r, TG_EDIVERGED) : TG_OK;
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
  free(y->folds);
  free(y->steps);
  free(y->parts);
  free(y->scalars);
  free(y);
}

static float *vector(size_t n) {
  return tg_alloc_aligned(n * sizeof(float));
}

static tg_status make_live(tg_sync *y) {
  const tg_sync_options *o = &y->o;
  tg_live_open(&y->live, o->device, o->n);
  TG_TRY(tg_live_add(&y->live, y->state.w, &y->w));
  for (size_t i = 0; i < y->state.slot_count; i++)
    TG_TRY(tg_live_add(&y->live, y->state.slot[i], &y->slot[i]));
  if (o->count != 1 && o->device)
    TG_TRY(o->device->backend->alloc(o->device, o->n * sizeof(float), (void **)&y->own_x));
  if (o->count != 1) y->x = y->own_x;
  return TG_OK;
}

static tg_status allocate(tg_sync *y) {
  const tg_sync_options *o = &y->o;
  tg_sync_state *t = &y->state;
  y->scalar_count = SUM_ROWS + (size_t)o->workers * ROW_FIELDS;
  y->scalars = calloc(y->scalar_count, sizeof *y->scalars);
  y->folds = calloc(o->fold_count + 1, sizeof *y->folds);
  y->steps = calloc(o->schedule.count + 1, sizeof *y->steps);
  y->parts = calloc(o->layout.count + 1, sizeof *y->parts);
  bool enough = y->scalars && y->folds && y->steps && y->parts && (t->w = vector(o->n)) &&
                (t->b = vector(o->k));
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
  if (o->workers < 1 || o->count > o->workers || o->first > o->workers - o->count)
    TG_FAIL(TG_ECONFIG, "workers %u to %u cannot be computed here: there are %u", o->first,
            o->first + o->count, o->workers);
  TG_TRY(tg_layout_check(o->optimizer, &o->layout, o->n, o->device != NULL));
  if (o->worker.coder && (o->device || o->group))
    TG_FAIL(TG_ECONFIG, "codec %s: gradients are encoded on the host, updates are made on a device",
            o->worker.coder->codec->name);
  tg_sync *y = calloc(1, sizeof *y);
  if (!y) TG_FAIL(TG_ERUNTIME, "no memory for a synchronous run");
  y->o = *o;
  TG_DO(tg_coded_open(&y->coded, o->worker.coder, o->rule->votes, o->workers));
  TG_DO(allocate(y));
  memcpy(y->state.w, w0, o->n * sizeof *w0);
  if (o->k) memcpy(y->state.b, b0, o->k * sizeof *b0);
  if (o->fold_count) memcpy(y->folds, o->folds, o->fold_count * sizeof *o->folds);
  if (o->schedule.count) memcpy(y->steps, o->schedule.steps, o->schedule.count * sizeof *y->steps);
  if (o->layout.count) memcpy(y->parts, o->layout.part, o->layout.count * sizeof *y->parts);
  y->o.schedule.steps = y->steps;
  y->o.layout.part = y->parts;
  y->optimizer = *o->optimizer;
  y->o.optimizer = &y->optimizer;
  y->total = tg_progress_updates(o->epochs, o->train_count, samples_per_update(y));
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
  return y->state;
}

tg_status tg_sync_restored(tg_sync *y, const tg_sync_state *counters) {
  if (counters->samples != counters->update * samples_per_update(y))
    TG_FAIL(TG_EDATA, "a checkpoint of %llu samples in %llu updates, %llu samples each expected",
            (unsigned long long)counters->samples, (unsigned long long)counters->update,
            (unsigned long long)samples_per_update(y));
  y->state.update = counters->update;
  y->state.samples = counters->samples;
  y->state.step = counters->step;
  y->state.nonfinite = counters->nonfinite;
  return tg_live_store(&y->live);
}
