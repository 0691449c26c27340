/* cluster.h - a server and its workers in one test: deterministic gradients, arrivals in whatever
 * order the test likes. Nothing but server.h is used, the way a transport would use it. */
#ifndef DIST_CLUSTER_H
#define DIST_CLUSTER_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/optimizers.h"
#include "tardigrad/server.h"

enum { CLUSTER_WORKERS = 16 };

typedef struct cluster {
  tg_server *server;
  tg_server_options o;
  float *w0, *b0;                /* what the server began with */
  float *g, *s;                  /* the message being sent */
  tg_msg inbox[CLUSTER_WORKERS]; /* what each worker was told last */
  tg_server_event event;         /* of the last message */
} cluster;

/* A pseudo-random number in [-1,1): a function of its arguments (splitmix64). */
static inline float cluster_random(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t z = a * 0x9E3779B97F4A7C15u + b * 0xBF58476D1CE4E5B9u + c * 0x94D049BB133111EBu + 1;
  for (int i = 0; i < 2; i++) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
  }
  return (float)(int32_t)(z >> 32) * 0x1p-31f;
}

/* `updates` updates of one sample each; an epoch is one sample. Tests change what they like. */
static inline tg_server_options cluster_options(const char *rule, const char *optimizer,
                                                uint32_t workers, size_t n, double updates) {
  tg_server_options o = {.schedule = {.lr = 0.1},
                         .hyper = {.mean_square_decay = 0.95f,
                                   .epsilon = 1e-7f,
                                   .momentum = 0.9f,
                                   .step_decay = 0.99f,
                                   .prediction_steps = (float)(workers - 1),
                                   .elasticity = 0.25f},
                         .workers = workers,
                         .n = n,
                         .batch = 1,
                         .train_count = 1,
                         .epochs = updates,
                         .max_nonfinite = 100};
  ck_assert_int_eq(tg_rule_find(rule, &o.rule), TG_OK);
  ck_assert_int_eq(tg_optimizer_find(optimizer, &o.optimizer), TG_OK);
  o.hyper.lambda = o.rule->default_lambda;
  o.hyper.keys = default_keys(o.optimizer);
  o.layout = any_layout(n);
  return o;
}

/* Asks the server what every worker owes. */
static inline void cluster_start(cluster *c) {
  for (uint32_t m = 0; m < c->o.workers; m++) tg_server_start(c->server, m, &c->inbox[m]);
}

static inline void cluster_open(cluster *c, const tg_server_options *o) {
  ck_assert_uint_le(o->workers, CLUSTER_WORKERS);
  *c = (cluster){.o = *o};
  c->w0 = calloc(o->n, sizeof(float));
  c->g = calloc(o->n, sizeof(float));
  c->b0 = calloc(o->k + 1, sizeof(float));
  c->s = calloc(o->ks + 1, sizeof(float));
  for (size_t i = 0; i < o->n; i++) c->w0[i] = cluster_random(i, 0, 77);
  for (size_t i = 0; i < o->k; i++) c->b0[i] = cluster_random(i, 1, 77);
  ck_assert_msg(tg_server_create(o, c->w0, c->b0, &c->server) == TG_OK, "%s", tg_status_message());
  cluster_start(c);
}

static inline void cluster_close(cluster *c) {
  tg_server_destroy(c->server);
  free(c->w0);
  free(c->b0);
  free(c->g);
  free(c->s);
}

/* The gradient of worker m's outstanding request: towards a target, with noise of (m, step). */
static inline void cluster_gradient(const cluster *c, uint32_t m, float *g) {
  const float *w = tg_server_state_of(c->server).bak[m];
  for (size_t i = 0; i < c->o.n; i++)
    g[i] = 0.3f * (w[i] - cluster_random(i, 2, 78)) + cluster_random(m, c->inbox[m].step, i);
}

static inline bool cluster_busy(const cluster *c, uint32_t m) {
  return c->inbox[m].kind == TG_MSG_WEIGHTS || c->inbox[m].kind == TG_MSG_EVALUATE;
}

static inline tg_status cluster_answer_in_spans(cluster *c, const tg_msg *in, size_t span) {
  size_t n = c->o.n;
  TG_TRY(tg_server_begin(c->server, in, &c->inbox[in->worker], &c->event));
  if (c->event.counts || c->event.serves)
    for (size_t hi = n, lo; hi > 0; hi = lo) { /* from the back: any order will do */
      lo = hi > span ? hi - span : 0;
      ck_assert_int_eq(tg_server_apply(c->server, (tg_span){lo, hi}, c->g + lo), TG_OK);
    }
  ck_assert_int_eq(tg_server_end(c->server, c->event.counts ? c->s : NULL, &c->event), TG_OK);
  return TG_OK;
}

/* Answers worker m's outstanding request, whatever it is; in spans of `span` floats, 0: whole. */
static inline tg_status cluster_answer(cluster *c, uint32_t m, size_t span) {
  const tg_msg *told = &c->inbox[m];
  tg_msg in = {.kind = told->kind == TG_MSG_WEIGHTS ? TG_MSG_PUSH : TG_MSG_EVALUATED,
               .worker = m,
               .samples = c->o.batch,
               .version = told->version,
               .step = told->step};
  ck_assert(cluster_busy(c, m));
  cluster_gradient(c, m, c->g);
  for (size_t i = 0; i < c->o.ks; i++) c->s[i] = cluster_random(m, told->step, i + 1000);
  if (span) return cluster_answer_in_spans(c, &in, span);
  return tg_server_step(c->server, &in, c->g, c->s, &c->inbox[m], &c->event);
}

/* What the server tells workers that it had held; how many of them. */
static inline uint32_t cluster_release(cluster *c) {
  for (uint32_t count = 0;; count++) {
    tg_msg told;
    ck_assert_msg(tg_server_release(c->server, &told) == TG_OK, "%s", tg_status_message());
    if (!told.kind) return count;
    ck_assert(!cluster_busy(c, told.worker));
    c->inbox[told.worker] = told;
  }
}

/* Answers requests in a pseudo-random order until `updates` updates, or until all have stopped. */
static inline void cluster_run(cluster *c, uint64_t seed, uint64_t updates) {
  for (uint64_t turn = 0; !tg_server_finished(c->server); turn++) {
    if (tg_server_state_of(c->server).update >= updates) return;
    uint32_t m = (uint32_t)((cluster_random(seed, turn, 5) + 1) / 2 * (float)c->o.workers);
    m %= c->o.workers;
    while (!cluster_busy(c, m)) m = (m + 1) % c->o.workers;
    ck_assert_msg(cluster_answer(c, m, 0) == TG_OK, "%s", tg_status_message());
    cluster_release(c);
  }
}

static inline tg_server_state cluster_state(const cluster *c) {
  return tg_server_state_of(c->server);
}

static inline void cluster_must(cluster *c, uint32_t m) {
  ck_assert_msg(cluster_answer(c, m, 0) == TG_OK, "%s", tg_status_message());
}

/* A message that answers what worker m was told. */
static inline tg_msg cluster_reply(const cluster *c, uint32_t m) {
  const tg_msg *told = &c->inbox[m];
  return (tg_msg){.kind = told->kind == TG_MSG_WEIGHTS ? TG_MSG_PUSH : TG_MSG_EVALUATED,
                  .worker = m,
                  .samples = c->o.batch,
                  .version = told->version,
                  .step = told->step};
}

static inline tg_status cluster_push_nonfinite(cluster *c, uint32_t m) {
  tg_msg in = cluster_reply(c, m);
  in.flags = TG_FLAG_NONFINITE;
  in.samples = 0;
  return tg_server_step(c->server, &in, NULL, NULL, &c->inbox[m], &c->event);
}

/* A copy of everything that a checkpoint holds. */
typedef struct cluster_saved {
  float *vectors;
  uint64_t *numbers;
  tg_server_state counters;
} cluster_saved;

/* Copies between the server's arrays and the saved ones. */
static inline void cluster_transfer(const tg_server_options *o, tg_server_state *t,
                                    cluster_saved *s, bool load) {
  float *v = s->vectors;
  uint64_t *u = s->numbers;
  float *arrays[4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 4];
  size_t lengths[4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 4], count = 0;
#define ADD(array, length) (arrays[count] = (array), lengths[count++] = (length))
  ADD(t->w, o->n);
  ADD(t->b, o->k);
  for (uint32_t m = 0; m < o->workers; m++) {
    ADD(t->bak[m], o->n);
    ADD(t->b_bak[m], o->k);
    if (m < t->rule_state_count) ADD(t->rule_state[m], o->n);
  }
  for (size_t i = 0; i < t->slot_count; i++) ADD(t->slot[i], t->slot_length[i]);
  if (t->sum) ADD(t->sum, o->n), ADD(t->sum_stats, o->ks);
#undef ADD
  for (size_t i = 0; i < count; v += lengths[i++])
    memcpy(load ? arrays[i] : v, load ? v : arrays[i], lengths[i] * sizeof *v);
  uint64_t *lists[] = {t->version, t->step, t->pending, t->clock};
  for (int i = 0; i < 4; i++, u += o->workers)
    memcpy(load ? lists[i] : u, load ? u : lists[i], o->workers * sizeof *u);
}

static inline cluster_saved cluster_save(const cluster *c) {
  size_t floats = (c->o.n + c->o.k + c->o.ks) * (4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 4);
  for (size_t i = 0; i < cluster_state(c).slot_count; i++)
    floats += cluster_state(c).slot_length[i];
  cluster_saved s = {calloc(floats, sizeof(float)), calloc(4 * CLUSTER_WORKERS, sizeof(uint64_t)),
                     cluster_state(c)};
  cluster_transfer(&c->o, &s.counters, &s, false);
  return s;
}

static inline tg_status cluster_load(cluster *c, cluster_saved *s) {
  tg_server_state t = cluster_state(c);
  cluster_transfer(&c->o, &t, s, true);
  return tg_server_restored(c->server, &s->counters);
}

static inline void cluster_drop(cluster_saved *s) {
  free(s->vectors);
  free(s->numbers);
}

#endif
