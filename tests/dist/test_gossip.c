/* test_gossip.c - AD-PSGD in one process: in virtual time, and along a prescribed order. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/gossip.h"
#include "../support/synchronous.h"
#include "tardigrad/rng.h"

enum { MOST = 4096 };

typedef struct happened {
  uint32_t worker, partner;
  uint64_t step, staleness;
  double lr;
} happened;

typedef struct seen {
  uint64_t update, stop_at, dropped, evaluations, checkpoints, cuts, finished, bytes;
  size_t count; /* of list and records */
  happened list[MOST];
  uint32_t records[MOST]; /* as in trace.bin, dropped ones too */
  size_t recorded;
  double last_s, consensus, loss;
  tg_status why;
} seen;

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  s->last_s = in->sent_s;
  s->checkpoints += event->checkpoint_due;
  s->finished += event->finished;
  s->evaluations += event->evaluated;
  s->dropped += event->nonfinite;
  s->update = event->update;
  s->bytes += event->bytes;
  if (event->evaluated) {
    s->consensus = event->consensus;
    s->loss = in->loss_sum;
    return TG_OK;
  }
  if (s->recorded < MOST) s->records[s->recorded++] = in->worker | (uint32_t)TG_MSG_PUSH << 24;
  if (event->applied && s->count < MOST)
    s->list[s->count++] =
        (happened){in->worker, event->partner, in->step, event->staleness, event->lr};
  if (s->stop_at > 0 && event->update >= s->stop_at) *preempt = true;
  return TG_OK;
}

static tg_status see_cut(void *self, tg_status why) {
  seen *s = self;
  s->cuts++;
  s->why = why;
  return TG_OK;
}

static tg_status go(gossip_run *run, seen *s) {
  tg_observer observer = {.self = s, .handled = see, .cut = see_cut};
  return gossip_go(run, &observer);
}

static async_options problem(const char *optimizer, uint32_t workers, size_t n, double updates) {
  async_options o = async_defaults("ad-psgd", optimizer, workers, n, updates);
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  return o;
}

/* ---- partners ---- */

START_TEST(partners_are_neighbours) {
  for (uint32_t n = 1; n <= 9; n++)
    for (int t = TG_TOPOLOGY_RING; t <= TG_TOPOLOGY_COMPLETE; t++)
      for (uint32_t i = 0; i < n; i++) {
        uint32_t met[9] = {0}, others = 0;
        for (uint64_t step = 0; step < 4000; step++)
          met[tg_gossip_partner((tg_topology)t, n, 5, i, step)]++;
        for (uint32_t j = 0; j < n; j++) {
          bool next = (i + 1) % n == j || (j + 1) % n == i;
          bool may = n == 1 || (j != i && (next || t == TG_TOPOLOGY_COMPLETE));
          ck_assert_int_eq(met[j] > 0, may);
          others += may;
        }
        for (uint32_t j = 0; j < n; j++)
          if (met[j] > 0) ck_assert_double_eq_tol(met[j], 4000.0 / others, 150);
      }
}
END_TEST

/* ---- what is done ---- */

/* The same events in double: mean of a pair, then the step of a gradient taken at the snapshot. How
 * stale that was is counted by watching others. */
START_TEST(follows_the_reference) {
  enum { N = 40, UPDATES = 400 };
  const double mu = _i % 2 ? 0.9 : 0;
  uint32_t workers = _i < 2 ? 4 : 5;
  async_options o = problem(_i % 2 ? "momentum" : "sgd", workers, N, UPDATES);
  tg_gossip_options more = {.topology = _i < 2 ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING,
                            .seed = 3};
  static double x[5][N], snap[5][N], v[5][N];
  uint64_t stale[5] = {0}, most = 0;
  gossip_run run;
  float w[N];
  seen *s = calloc(1, sizeof *s);
  ck_ok(gossip_open(&o, &more, "sim", 0, workers, &run));
  ck_ok(go(&run, s));
  ck_assert_uint_eq(s->count, UPDATES);
  tg_compute *c = quadratic_create(&o.problem);
  quadratic_initial(N, w);
  memset(v, 0, sizeof v);
  for (uint32_t m = 0; m < workers; m++)
    for (int i = 0; i < N; i++) x[m][i] = snap[m][i] = w[i];
  for (size_t e = 0; e < s->count; e++) {
    const happened *h = &s->list[e];
    uint32_t m = h->worker, j = h->partner;
    double before = (double)e / 10, after = (double)(e + 1) / 10, loss;
    double lr = (workers > 4 ? 0.02 / workers : 0.005) * fmin(after, 1) * (before >= 5 ? 0.5 : 1);
    uint64_t correct;
    ck_assert_uint_ne(j, m);
    ck_assert_double_eq_tol(h->lr, lr, 1e-12);
    ck_assert_uint_eq(h->staleness, stale[m]);
    if (stale[m] > most) most = stale[m];
    for (int i = 0; i < N; i++) w[i] = (float)snap[m][i];
    ck_ok(c->gradient(c, m, h->step, w, &loss, &correct));
    for (int i = 0; i < N; i++) {
      x[m][i] = x[j][i] = (x[m][i] + x[j][i]) / 2;
      v[m][i] = mu * v[m][i] + c->g[i] + 1e-3 * x[m][i];
      x[m][i] -= lr * v[m][i];
      snap[m][i] = x[m][i];
    }
    stale[m] = 0;
    stale[j]++;
  }
  tg_gossip_state t = tg_gossip_state_of(run.gossip);
  for (uint32_t m = 0; m < workers; m++)
    for (int i = 0; i < N; i++) ck_assert_double_eq_tol(t.has.x[m][i], x[m][i], 1e-5);
  for (int i = 0; i < N; i++) {
    double mean = 0;
    for (uint32_t m = 0; m < workers; m++) mean += x[m][i] / workers;
    ck_assert_double_eq_tol(t.w[i], mean, 1e-5);
  }
  ck_assert_uint_ge(most, 3);
  ck_assert_uint_eq(s->bytes, UPDATES * 2ull * N * 4);
  quadratic_destroy(c);
  gossip_close(&run);
  free(s);
}
END_TEST

static tg_status no_gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                             double *loss_sum, uint64_t *correct) {
  (void)worker, (void)step, (void)w;
  memset(c->g, 0, c->n * sizeof *c->g);
  memset(c->s, 0, c->ks * sizeof *c->s);
  *loss_sum = 0;
  *correct = 0;
  return TG_OK;
}

/* Without gradients only weights are mixed: their mean stays, and all become equal, within the last
 * bit. A hundred thousand exchanges on a ring, under random delays. */
START_TEST(mixing_keeps_the_mean) {
  enum { WORKERS = 8, N = 16, EXCHANGES = 100000 };
  async_options o = problem("sgd", WORKERS, N, EXCHANGES);
  tg_gossip_options more = {.seed = 9};
  o.no_decay = true;
  double before[N] = {0};
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 0, 0);
  ck_ok(gossip_open(&o, &more, "sim", 0, WORKERS, &run));
  run.compute->gradient = no_gradient;
  tg_gossip_state t = tg_gossip_state_of(run.gossip);
  for (uint32_t m = 0; m < WORKERS; m++)
    for (int i = 0; i < N; i++) {
      t.has.x[m][i] = t.has.snapshot[m][i] = 0.5f + 0.5f * tg_rng_float(&r);
      before[i] += (double)t.has.x[m][i] / WORKERS;
    }
  ck_ok(go(&run, s));
  t = tg_gossip_state_of(run.gossip);
  for (int i = 0; i < N; i++) {
    double after = 0, low = INFINITY, high = -INFINITY;
    for (uint32_t m = 0; m < WORKERS; m++) {
      after += (double)t.has.x[m][i] / WORKERS;
      low = fmin(low, t.has.x[m][i]);
      high = fmax(high, t.has.x[m][i]);
    }
    ck_assert_double_eq_tol(after, before[i], 1e-12);
    ck_assert_double_le(high - low, 2 * 0x1p-24);
  }
  ck_assert_uint_eq(s->update, EXCHANGES);
  ck_assert_double_le(s->consensus, 4 * 0x1p-24);
  gossip_close(&run);
  free(s);
}
END_TEST

/* One worker has nobody to gossip with: it is SGD, to the bit. */
START_TEST(one_worker_is_sgd) {
  const char *optimizers[] = {"sgd", "momentum", "nesterov"};
  async_options o = problem(optimizers[_i], 1, 3000, 100);
  tg_gossip_options more = {.seed = 1};
  gossip_run run;
  sync_run alone;
  tg_observer nobody = {0};
  seen *s = calloc(1, sizeof *s);
  o.eval_every = 7;
  o.comm.worker.clip_norm = 20;
  o.comm.worker.chaos_nan_at = 31;
  ck_ok(gossip_open(&o, &more, "sim", 0, 1, &run));
  ck_ok(go(&run, s));
  o.rule = "sgd";
  ck_ok(sync_open(&o, NULL, 0, 1, &alone));
  ck_ok(sync_go(&alone, &nobody));
  tg_gossip_state a = tg_gossip_state_of(run.gossip);
  tg_sync_state b = tg_sync_state_of(alone.sync);
  ck_assert_mem_eq(a.w, b.w, 3000 * sizeof *a.w);
  ck_assert_mem_eq(a.b, b.b, 5 * sizeof *a.b);
  ck_assert_uint_eq(s->evaluations, 15);
  ck_assert_uint_eq(s->dropped, 1);
  ck_assert_uint_eq(s->bytes, 0);
  sync_close(&alone);
  gossip_close(&run);
  free(s);
}
END_TEST

/* One of four workers is ten times as slow: ssgd goes at its pace, gossip hardly notices. */
START_TEST(a_slow_worker_slows_nobody) {
  async_options o = problem("sgd", 4, 10, 4000);
  tg_gossip_options more = {.seed = 1};
  gossip_run run;
  sync_run in_step;
  seen *s = calloc(1, sizeof *s), *t = calloc(1, sizeof *t);
  tg_observer observer = {.self = t, .handled = see};
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 10;
  ck_ok(gossip_open(&o, &more, "sim", 0, 4, &run));
  ck_ok(go(&run, s));
  o.rule = "ssgd";
  ck_ok(sync_open(&o, "sim", 0, 4, &in_step));
  ck_ok(sync_go(&in_step, &observer));
  ck_assert_double_gt(t->last_s / s->last_s, 2); /* for as many gradients */
  ck_assert_double_gt(t->last_s / s->last_s, 6);
  sync_close(&in_step);
  gossip_close(&run);
  free(s);
  free(t);
}
END_TEST

/* ---- orders, ends, checkpoints ---- */

static void same_state(gossip_run *x, gossip_run *y, size_t n) {
  tg_gossip_state a = tg_gossip_state_of(x->gossip), b = tg_gossip_state_of(y->gossip);
  ck_assert_mem_eq(a.w, b.w, n * sizeof *a.w);
  ck_assert_mem_eq(a.b, b.b, 5 * sizeof *a.b);
  for (uint32_t m = 0; m < a.has.held; m++) {
    ck_assert_mem_eq(a.has.x[m], b.has.x[m], n * sizeof(float));
    ck_assert_mem_eq(a.has.slot[0][m], b.has.slot[0][m], n * sizeof(float));
  }
  ck_assert_uint_eq(a.update, b.update);
  ck_assert_uint_eq(a.nonfinite, b.nonfinite);
}

START_TEST(a_prescribed_order_is_followed) {
  async_options o = problem("momentum", 5, 200, 500);
  tg_gossip_options more = {.seed = 7};
  gossip_run run, again;
  seen *s = calloc(1, sizeof *s), *t = calloc(1, sizeof *t);
  o.comm.worker.chaos_nan_at = 21;
  o.eval_every = 50;
  ck_ok(gossip_open(&o, &more, "sim", 0, 5, &run));
  ck_ok(go(&run, s));
  ck_assert_uint_eq(s->recorded, 505);
  more.records = s->records;
  more.record_count = s->recorded;
  ck_ok(gossip_open(&o, &more, NULL, 0, 5, &again));
  ck_ok(go(&again, t));
  same_state(&run, &again, 200);
  ck_assert_mem_eq(s->list, t->list, sizeof s->list);
  gossip_close(&again);
  /* A trace that is too short, and one of a worker that owes nothing. */
  more.record_count = 300;
  ck_ok(gossip_open(&o, &more, NULL, 0, 5, &again));
  ck_assert_int_eq(go(&again, t), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "ends after 300 messages"));
  gossip_close(&again);
  s->records[100] = 5 | (uint32_t)TG_MSG_PUSH << 24;
  ck_ok(gossip_open(&o, &more, NULL, 0, 5, &again));
  ck_assert_int_eq(go(&again, t), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "record 100"));
  gossip_close(&again);
  gossip_close(&run);
  free(s);
  free(t);
}
END_TEST

static void copy_state(gossip_run *from, gossip_run *to, size_t n) {
  tg_gossip_state a = tg_gossip_state_of(from->gossip), b = tg_gossip_state_of(to->gossip);
  uint32_t workers = a.has.held;
  for (uint32_t m = 0; m < workers; m++) {
    memcpy(b.has.x[m], a.has.x[m], n * sizeof(float));
    memcpy(b.has.snapshot[m], a.has.snapshot[m], n * sizeof(float));
    memcpy(b.has.bx[m], a.has.bx[m], 5 * sizeof(float));
    memcpy(b.has.slot[0][m], a.has.slot[0][m], n * sizeof(float));
  }
  memcpy(b.step, a.step, workers * sizeof *a.step);
  memcpy(b.ops, a.ops, workers * sizeof *a.ops);
  memcpy(b.taken_at, a.taken_at, workers * sizeof *a.taken_at);
  memcpy(b.pending, a.pending, workers * sizeof *a.pending);
  memcpy(b.ready, a.ready, (workers + 1) * sizeof *a.ready);
  ck_ok(tg_gossip_restored(to->gossip, &a));
}

START_TEST(goes_on_as_if_never_stopped) {
  async_options o = problem("momentum", 5, 200, 500);
  tg_gossip_options more = {.seed = 7};
  gossip_run whole, run, next;
  seen *s = calloc(1, sizeof *s), *t = calloc(1, sizeof *t);
  o.comm.worker.chaos_nan_at = 21;
  o.eval_every = 50;
  ck_ok(gossip_open(&o, &more, "sim", 0, 5, &whole));
  ck_ok(go(&whole, s));
  ck_ok(gossip_open(&o, &more, "sim", 0, 5, &run));
  for (uint64_t stop = 13; stop < 480; stop += 61) {
    t->stop_at = stop;
    ck_assert_int_eq(go(&run, t), TG_EPREEMPTED);
    ck_assert_uint_eq(t->update, stop);
    ck_assert_int_eq(t->why, TG_EPREEMPTED);
    ck_ok(gossip_open(&o, &more, "sim", 0, 5, &next));
    copy_state(&run, &next, 200);
    gossip_close(&run);
    run = next;
  }
  t->stop_at = 0;
  ck_ok(go(&run, t));
  same_state(&whole, &run, 200);
  ck_assert_mem_eq(s->list, t->list, sizeof s->list);
  ck_assert_uint_eq(s->evaluations, t->evaluations);
  ck_assert_double_eq(s->last_s, t->last_s);
  gossip_close(&run);
  gossip_close(&whole);
  free(s);
  free(t);
}
END_TEST

START_TEST(diverges_after_too_many) {
  async_options o = problem("sgd", 4, 10, 400);
  tg_gossip_options more = {.seed = 7};
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  o.max_nonfinite = 2;
  o.comm.worker.chaos_nan_at = 11;
  ck_ok(gossip_open(&o, &more, "sim", 0, 4, &run));
  ck_assert_int_eq(go(&run, s), TG_EDIVERGED);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "3 gradients were not finite"));
  ck_assert_int_eq(s->why, TG_EDIVERGED);
  gossip_close(&run);
  free(s);
}
END_TEST

START_TEST(boundaries_are_crossed_once) {
  async_options o = problem("sgd", 3, 10, 300);
  tg_gossip_options more = {.seed = 7};
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  o.eval_every = 10;
  o.checkpoint_every = 25;
  ck_ok(gossip_open(&o, &more, "sim", 0, 3, &run));
  ck_ok(go(&run, s));
  ck_assert_uint_eq(s->update, 300);
  ck_assert_uint_eq(s->evaluations, 30);
  ck_assert_uint_eq(s->checkpoints, 12);
  ck_assert_uint_eq(s->finished, 1);
  gossip_close(&run);
  o.updates = 0;
  memset(s, 0, sizeof *s);
  ck_ok(gossip_open(&o, &more, "sim", 0, 3, &run));
  ck_ok(go(&run, s));
  ck_assert_uint_eq(s->evaluations, 1);
  ck_assert_uint_eq(s->finished, 1);
  gossip_close(&run);
  free(s);
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
  async_options o = problem("sgd", 4, 10, 10);
  tg_gossip_options more = {.seed = 7};
  gossip_run run;
  ck_assert_int_eq(gossip_open(&o, &more, "sim", 0, 2, &run), TG_ECONFIG);
  gossip_close(&run);
  ck_ok(gossip_open(&o, &more, "sim", 0, 4, &run));
  tg_gossip_state t = tg_gossip_state_of(run.gossip);
  t.update = 3;
  t.samples = 11;
  ck_assert_int_eq(tg_gossip_restored(run.gossip, &t), TG_EDATA);
  t.samples = 12;
  ck_assert_int_eq(tg_gossip_restored(run.gossip, &t), TG_EDATA); /* none issued */
  t.issued = 3;
  ck_ok(tg_gossip_restored(run.gossip, &t));
  t.taken_at[2] = 1; /* before anything was done to it */
  ck_assert_int_eq(tg_gossip_restored(run.gossip, &t), TG_EDATA);
  t.taken_at[2] = 0;
  t.update = t.issued = 11;
  t.samples = 44;
  ck_assert_int_eq(tg_gossip_restored(run.gossip, &t), TG_ECONFIG);
  gossip_close(&run);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gossip");
  TCase *tc = tcase_create("gossip");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, partners_are_neighbours);
  tcase_add_loop_test(tc, follows_the_reference, 0, 4);
  tcase_add_test(tc, mixing_keeps_the_mean);
  tcase_add_loop_test(tc, one_worker_is_sgd, 0, 3);
  tcase_add_test(tc, a_slow_worker_slows_nobody);
  tcase_add_test(tc, a_prescribed_order_is_followed);
  tcase_add_test(tc, goes_on_as_if_never_stopped);
  tcase_add_test(tc, diverges_after_too_many);
  tcase_add_test(tc, boundaries_are_crossed_once);
  tcase_add_test(tc, refuses_what_makes_no_sense);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
