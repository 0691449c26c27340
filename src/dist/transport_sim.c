/* transport_sim.c - any number of virtual workers in one process: a queue of events in virtual
 * time.
 *
 * A worker's gradient is computed when its turn comes, at the w_bak(m) that it was sent: until then
 * nobody changes that buffer, so nothing is copied. An evaluation is answered at once and takes no
 * time. How long step s of worker m takes is a pure function of (seed, m, s). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"
#include "tardigrad/rng.h"
#include "tardigrad/transport.h"

typedef struct sim_worker {
  tg_msg asked;       /* what it works on; kind 0: nothing */
  const float *w, *b; /* at these weights and statistics */
  double ready;       /* when it will answer */
  bool keep_time;     /* its next gradient is one that was under way when the run was saved */
} sim_worker;

/* What tg_sim_times saves: the clock, steps of the synchronous scheme, per worker the time of its
 * outstanding gradient, and per worker how long it waited before that gradient or, while it has
 * none, since when it waits. */
enum { TIME_NOW, TIME_STEPS, TIME_WORKERS };

struct tg_comm {
  tg_comm_options o;
  sim_worker *worker;
  double *times;
  uint32_t *heap; /* workers that will answer, the next one first */
  size_t heap_count;
  uint32_t taken;  /* whose message is in hand */
  size_t record;   /* order=trace: records used */
  uint64_t update; /* gradients applied, as far as can be seen from here: for messages */
};

/* ---- time ---- */

static double duration(const tg_sim_options *o, uint32_t worker, uint64_t step) {
  double seconds = o->compute_s;
  tg_rng r = tg_rng_open(o->seed, TG_RNG_SIM, worker, step);
  if (o->order == TG_ORDER_EXPONENTIAL) seconds *= -log(1 - tg_rng_double(&r));
  if (o->order == TG_ORDER_LOGNORMAL)
    seconds *= exp(o->sigma * tg_rng_normal(&r) - o->sigma * o->sigma / 2);
  return worker < o->slow_workers ? seconds * o->slow_factor : seconds;
}

/* Of everything that a worker computes for one push. */
static double exchange(const tg_comm *c, uint32_t worker, uint64_t step) {
  uint32_t steps = c->o.worker.local_steps;
  return duration(&c->o.sim, worker, step) * (steps ? steps : 1);
}

static double *waiting(tg_comm *c, uint32_t m) {
  return &c->times[TIME_WORKERS + (size_t)c->o.workers + m];
}

/* Earlier first; evaluations before gradients of the same moment; then by worker, which makes equal
 * compute times exactly cyclic. */
static bool before(const tg_comm *c, uint32_t x, uint32_t y) {
  const sim_worker *a = &c->worker[x], *b = &c->worker[y];
  if (a->ready != b->ready) return a->ready < b->ready;
  if (a->asked.kind != b->asked.kind) return a->asked.kind == TG_MSG_EVALUATE;
  return x < y;
}

static void heap_swap(tg_comm *c, size_t i, size_t j) {
  uint32_t m = c->heap[i];
  c->heap[i] = c->heap[j];
  c->heap[j] = m;
}

static void heap_push(tg_comm *c, uint32_t m) {
  size_t i = c->heap_count++;
  c->heap[i] = m;
  while (i > 0 && before(c, c->heap[i], c->heap[(i - 1) / 2])) {
    heap_swap(c, i, (i - 1) / 2);
    i = (i - 1) / 2;
  }
}

static uint32_t heap_pop(tg_comm *c) {
  uint32_t first = c->heap[0];
  c->heap[0] = c->heap[--c->heap_count];
  for (size_t i = 0, child; (child = 2 * i + 1) < c->heap_count; i = child) {
    if (child + 1 < c->heap_count && before(c, c->heap[child + 1], c->heap[child])) child++;
    if (!before(c, c->heap[child], c->heap[i])) break;
    heap_swap(c, i, child);
  }
  return first;
}

/* ---- the next message ---- */

static tg_status next_of_trace(tg_comm *c, uint32_t *out) {
  const tg_sim_options *o = &c->o.sim;
  unsigned long long update = c->update;
  if (c->record == o->record_count)
    TG_FAIL(TG_ERUNTIME, "sim: the trace ends after %zu messages, at update %llu: before the run",
            o->record_count, update);
  uint32_t m = o->records[c->record] & 0xFFFFFFu, kind = o->records[c->record] >> 24;
  if (m >= c->o.workers)
    TG_FAIL(TG_ERUNTIME, "sim: record %zu of the trace is of worker %u, there are %u workers",
            c->record, m, c->o.workers);
  uint32_t asked = c->worker[m].asked.kind;
  if (!asked)
    TG_FAIL(
        TG_ERUNTIME,
        "sim: record %zu of the trace, after update %llu, asks for worker %u, which has nothing "
        "outstanding",
        c->record, update, m);
  if (kind != (asked == TG_MSG_EVALUATE ? TG_MSG_EVALUATED : TG_MSG_PUSH))
    TG_FAIL(TG_ERUNTIME,
            "sim: record %zu of the trace, after update %llu, is a message of kind %u from worker "
            "%u, which was sent a message of kind %u",
            c->record, update, kind, m, asked);
  c->record++;
  /* Nobody recorded how long it took: time passes at the mean rate. */
  if (kind == TG_MSG_PUSH) c->times[TIME_NOW] += o->compute_s / c->o.workers;
  *out = m;
  return TG_OK;
}

static tg_status next_of_heap(tg_comm *c, uint32_t *out) {
  if (c->heap_count == 0)
    TG_FAIL(TG_ERUNTIME, "sim: no worker has anything outstanding after update %llu",
            (unsigned long long)c->update);
  *out = heap_pop(c);
  c->times[TIME_NOW] = c->worker[*out].ready;
  return TG_OK;
}

static tg_status sim_recv(tg_comm *c, tg_msg *out) {
  uint32_t m = 0;
  TG_TRY(c->o.sim.order == TG_ORDER_TRACE ? next_of_trace(c, &m) : next_of_heap(c, &m));
  sim_worker *v = &c->worker[m];
  tg_msg asked = v->asked;
  v->asked.kind = 0;
  c->times[TIME_WORKERS + m] = NAN;
  c->taken = m;
  TG_TRY(tg_worker_step(c->o.compute, &c->o.worker, &asked, v->w, v->b, out));
  if (out->kind == TG_MSG_PUSH) {
    out->compute_s = exchange(c, m, asked.step);
    out->wait_s = *waiting(c, m);
    *waiting(c, m) = c->times[TIME_NOW];
  }
  out->sent_s = c->times[TIME_NOW];
  c->update += out->kind == TG_MSG_PUSH && !(out->flags & TG_FLAG_NONFINITE);
  if (c->o.trace) TG_TRY(tg_trace_append(c->o.trace, m, out->kind, tg_trace_print(out)));
  return TG_OK;
}

/* An encoded gradient is decoded where it lay. */
static tg_status sim_recv_piece(tg_comm *c, tg_span *span, float **g) {
  const tg_coder *coder = c->o.worker.coder;
  *span = (tg_span){0, c->o.n};
  *g = c->o.compute->g;
  if (!coder) return TG_OK;
  TG_TRY(tg_coder_check(coder, coder->message, coder->bytes));
  tg_coder_decode(coder, coder->message, 0, c->o.n, *g);
  return TG_OK;
}

static tg_status sim_recv_stats(tg_comm *c, const float **s) {
  *s = c->o.compute->s;
  return TG_OK;
}

/* ---- answers ---- */

static void schedule(tg_comm *c, uint32_t m) {
  sim_worker *v = &c->worker[m];
  double *ready = &c->times[TIME_WORKERS + m];
  v->ready = c->times[TIME_NOW];
  if (v->asked.kind == TG_MSG_WEIGHTS) {
    if (!v->keep_time) *ready = c->times[TIME_NOW] + exchange(c, m, v->asked.step);
    v->ready = *ready;
  }
  v->keep_time = false;
  heap_push(c, m);
}

static tg_status sim_send(tg_comm *c, const tg_msg *reply) {
  uint32_t m = reply->worker;
  if (m >= c->o.workers)
    TG_FAIL(TG_ERUNTIME, "sim: a message to worker %u, there are %u workers", m, c->o.workers);
  sim_worker *v = &c->worker[m];
  if (v->asked.kind)
    TG_FAIL(TG_ERUNTIME, "sim: a message to worker %u, which has not answered the last one", m);
  if (reply->kind == TG_MSG_STOP) return TG_OK;
  v->asked = *reply;
  if (reply->kind == TG_MSG_WEIGHTS && !v->keep_time)
    *waiting(c, m) = c->times[TIME_NOW] - *waiting(c, m);
  if (reply->version > c->update) c->update = reply->version;
  if (c->o.sim.order != TG_ORDER_TRACE) schedule(c, m);
  return TG_OK;
}

static tg_status sim_send_piece(tg_comm *c, uint32_t m, tg_span span, const float *w) {
  sim_worker *v = &c->worker[m];
  if (span.lo == 0) v->w = w;
  if (v->w + span.lo != w)
    TG_FAIL(TG_ERUNTIME, "sim: the weights sent to worker %u are not in one piece at %zu", m,
            span.lo);
  return TG_OK;
}

static tg_status sim_send_stats(tg_comm *c, uint32_t m, const float *b) {
  c->worker[m].b = b;
  return TG_OK;
}

static tg_status sim_drain(tg_comm *c) {
  (void)c;
  return TG_OK;
}

static double sim_clock(tg_comm *c) {
  return c->times[TIME_NOW];
}

static tg_status sim_allreduce(tg_comm *c, float *x, size_t n, double *scalars, size_t count) {
  (void)x, (void)scalars, (void)count;
  if (n == 0) return TG_OK;
  double slowest = 0;
  for (uint32_t m = 0; m < c->o.workers; m++)
    slowest = fmax(slowest, duration(&c->o.sim, m, (uint64_t)c->times[TIME_STEPS]));
  c->times[TIME_NOW] += slowest;
  c->times[TIME_STEPS]++;
  return TG_OK;
}

static double sim_compute_s(tg_comm *c, uint32_t worker, uint64_t step) {
  return duration(&c->o.sim, worker, step);
}

/* ---- beginning and end ---- */

double *tg_sim_times(tg_comm *c, size_t *count) {
  *count = TIME_WORKERS + 2 * (size_t)c->o.workers;
  return c->times;
}

void tg_sim_restored(tg_comm *c) {
  c->record = c->o.trace ? tg_trace_count(c->o.trace) : 0;
  for (uint32_t m = 0; m < c->o.workers; m++)
    c->worker[m].keep_time = !isnan(c->times[TIME_WORKERS + m]);
}

static void sim_close(tg_comm *c) {
  if (!c) return;
  tg_worker_release(c->o.compute);
  free(c->worker);
  free(c->times);
  free(c->heap);
  free(c);
}

static tg_status check_options(const tg_comm_options *o) {
  if (o->workers < 1) TG_FAIL(TG_ECONFIG, "sim: no workers");
  if (!o->compute || o->compute->n != o->n || o->compute->k != o->k || o->compute->ks != o->ks)
    TG_FAIL(TG_ECONFIG, "sim: what computes has other sizes than the %zu parameters to be sent",
            o->n);
  if (!(o->sim.compute_s > 0) && o->sim.order != TG_ORDER_TRACE)
    TG_FAIL(TG_ECONFIG, "sim: %g seconds per gradient", o->sim.compute_s);
  return TG_OK;
}

static tg_status sim_open(const tg_comm_options *options, tg_comm **out) {
  TG_TRY(check_options(options));
  tg_comm *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for a sim");
  c->o = *options;
  c->worker = calloc(options->workers, sizeof *c->worker);
  c->times = calloc(TIME_WORKERS + 2 * (size_t)options->workers, sizeof *c->times);
  c->heap = calloc(options->workers, sizeof *c->heap);
  if (!c->worker || !c->times || !c->heap) {
    sim_close(c);
    TG_FAIL(TG_ERUNTIME, "no memory for %u virtual workers", options->workers);
  }
  for (uint32_t m = 0; m < options->workers; m++) c->times[TIME_WORKERS + m] = NAN;
  tg_status status = tg_worker_prepare(c->o.compute, &c->o.worker);
  if (status != TG_OK) {
    sim_close(c);
    return status;
  }
  *out = c;
  return TG_OK;
}

const tg_transport tg_transport_sim = {
    .name = "sim",
    .help = "one process: a seeded event queue with a model of compute time, any number of workers",
    .open = sim_open,
    .close = sim_close,
    .recv = sim_recv,
    .recv_piece = sim_recv_piece,
    .recv_stats = sim_recv_stats,
    .send = sim_send,
    .send_piece = sim_send_piece,
    .send_stats = sim_send_stats,
    .drain = sim_drain,
    .clock = sim_clock,
    .allreduce = sim_allreduce,
    .compute_s = sim_compute_s,
};
