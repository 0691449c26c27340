/* test_local.c - workers with weights of their own, in step: local SGD, post-local SGD, the
 * quadratic rule, D-PSGD; all workers in one process. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/own.h"
#include "../support/synchronous.h"

enum { MOST = 2048 };

typedef struct seen {
  uint64_t update, stop_at, pushes, applied, dropped, evaluations, checkpoints, cuts, finished;
  uint64_t h[MOST], bytes[MOST]; /* of worker 0's update */
  double lr[MOST], consensus, loss, last_s;
  tg_status why;
} seen;

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  ck_assert_uint_ge(event->update, s->update);
  s->update = event->update;
  s->last_s = in->sent_s;
  s->checkpoints += event->checkpoint_due;
  s->finished += event->finished;
  s->evaluations += event->evaluated;
  s->consensus = event->consensus;
  if (event->evaluated) s->loss = in->loss_sum;
  if (event->evaluated) return TG_OK;
  ck_assert_uint_eq(event->staleness, 0);
  s->pushes++;
  s->applied += event->applied;
  s->dropped += event->nonfinite;
  if (event->applied && in->worker == 0 && event->update < MOST) {
    s->h[event->update] = event->local_steps;
    s->bytes[event->update] = event->bytes;
    s->lr[event->update] = event->lr;
  }
  if (s->stop_at > 0 && event->update >= s->stop_at) *preempt = true;
  return TG_OK;
}

static tg_status see_cut(void *self, tg_status why) {
  seen *s = self;
  s->cuts++;
  s->why = why;
  return TG_OK;
}

static tg_status go(own_run *run, seen *s) {
  tg_observer observer = {.self = s, .handled = see, .cut = see_cut};
  return own_go(run, &observer);
}

/* The means after a whole run: w [n], then b [5]; to be freed. */
static float *train(const own_options *o, seen *s) {
  own_run run;
  size_t n = o->base.problem.n, k = o->base.problem.k;
  ck_ok(own_open(o, "sim", 0, o->base.workers, &run));
  ck_ok(go(&run, s));
  tg_local_state t = tg_local_state_of(run.local);
  float *copy = malloc((n + k) * sizeof *copy);
  memcpy(copy, t.w, n * sizeof *copy);
  memcpy(copy + n, t.b, k * sizeof *copy);
  own_close(&run);
  return copy;
}

static float *train_in_step(const async_options *base, const char *rule, const char *transport) {
  sync_run run;
  async_options o = *base;
  tg_observer observer = {0};
  o.rule = rule;
  ck_ok(sync_open(&o, transport, 0, o.workers, &run));
  ck_ok(sync_go(&run, &observer));
  tg_sync_state t = tg_sync_state_of(run.sync);
  float *copy = malloc((o.problem.n + 5) * sizeof *copy);
  memcpy(copy, t.w, o.problem.n * sizeof *copy);
  memcpy(copy + o.problem.n, t.b, 5 * sizeof *copy);
  sync_close(&run);
  return copy;
}

static void near(const float *found, const double *exact, size_t n, double tolerance) {
  for (size_t i = 0; i < n; i++)
    ck_assert_msg(fabs(found[i] - exact[i]) <= tolerance * fmax(1, fabs(exact[i])),
                  "element %zu: %.9g, not %.9g", i, found[i], exact[i]);
}

/* ---- a reference in double: nothing of src/dist, gradients of the same problem ---- */

enum { REF_N = 40, REF_MOST = 8 };

typedef struct reference {
  uint32_t workers;
  tg_compute *compute;
  double x[REF_MOST][REF_N], v[REF_MOST][REF_N];
} reference;

static void ref_open(const own_options *o, reference *r) {
  float w[REF_N];
  *r = (reference){.workers = o->base.workers, .compute = quadratic_create(&o->base.problem)};
  quadratic_initial(REF_N, w);
  for (uint32_t m = 0; m < r->workers; m++)
    for (int i = 0; i < REF_N; i++) r->x[m][i] = w[i];
}

static double ref_lr(const own_options *o, int update) {
  double before = update * o->base.workers / 10.0, after = (update + 1) * o->base.workers / 10.0;
  double lr = o->base.workers > 4 ? 0.02 / o->base.workers : 0.005;
  return lr * (after < 1 ? after : 1) * (before >= 5 ? 0.5 : 1);
}

static void ref_gradient(reference *r, uint32_t m, int step, double *g) {
  float w[REF_N];
  double loss;
  uint64_t correct;
  for (int i = 0; i < REF_N; i++) w[i] = (float)r->x[m][i];
  ck_ok(r->compute->gradient(r->compute, m, (uint64_t)step, w, &loss, &correct));
  for (int i = 0; i < REF_N; i++) g[i] = r->compute->g[i];
}

/* Weight decay, then momentum (or none), on w. */
static void ref_apply(reference *r, uint32_t m, const double *g, double lr, double mu, double *w) {
  for (int i = 0; i < REF_N; i++) {
    r->v[m][i] = mu * r->v[m][i] + g[i] + 1e-3 * w[i];
    w[i] -= lr * r->v[m][i];
  }
}

static void ref_mean(const reference *r, double *mean) {
  for (int i = 0; i < REF_N; i++) {
    mean[i] = 0;
    for (uint32_t m = 0; m < r->workers; m++) mean[i] += r->x[m][i] / r->workers;
  }
}

/* W of a ring, or of all. */
static double ref_w(const own_options *o, uint32_t i, uint32_t j) {
  uint32_t n = o->base.workers;
  if (o->topology == TG_TOPOLOGY_COMPLETE || n <= 3) return 1.0 / n;
  return i == j || (i + 1) % n == j || (j + 1) % n == i ? 1.0 / 3 : 0;
}

static void ref_mix(const own_options *o, const reference *r, double (*out)[REF_N]) {
  for (uint32_t m = 0; m < r->workers; m++)
    for (int i = 0; i < REF_N; i++) {
      out[m][i] = 0;
      for (uint32_t j = 0; j < r->workers; j++) out[m][i] += ref_w(o, m, j) * r->x[j][i];
    }
}

/* ---- local SGD ---- */

START_TEST(average_follows_the_reference) {
  const char *optimizers[] = {"sgd", "momentum"};
  const double mu = _i % 2 ? 0.9 : 0;
  own_options o =
      own_defaults(optimizers[_i % 2], _i < 2 ? 3 : 4, REF_N, (_i < 2 ? 3 : 4) * 120, 7);
  reference r;
  seen s = {0};
  double mean[REF_N], g[REF_N];
  float *found = train(&o, &s);
  ref_open(&o, &r);
  for (int t = 0; t < 120; t++) {
    for (uint32_t m = 0; m < r.workers; m++) {
      ref_gradient(&r, m, t, g);
      ref_apply(&r, m, g, ref_lr(&o, t), mu, r.x[m]);
    }
    if ((t + 1) % 7 && t + 1 < 120) continue;
    ref_mean(&r, mean);
    for (uint32_t m = 0; m < r.workers; m++) memcpy(r.x[m], mean, sizeof mean);
  }
  ref_mean(&r, mean);
  near(found, mean, REF_N, 1e-5);
  ck_assert_uint_eq(s.update, 120);
  quadratic_destroy(r.compute);
  free(found);
}
END_TEST

/* Averages of weights and of gradients are the same for plain SGD, but for rounding. */
START_TEST(one_local_step_is_ssgd) {
  own_options o = own_defaults("sgd", 4, 500, 480, 1);
  seen s = {0};
  o.base.comm.worker.chaos_nan_at = 31;
  float *found = train(&o, &s), *expected = train_in_step(&o.base, "ssgd", "sim");
  for (int i = 0; i < 505; i++)
    ck_assert_double_eq_tol(found[i], expected[i], 2e-6 * fmax(1, fabs(expected[i])));
  ck_assert_uint_eq(s.dropped, 4);
  ck_assert_uint_eq(s.applied, 480);
  free(found);
  free(expected);
}
END_TEST

/* Whatever is averaged of one worker is that worker. */
START_TEST(one_worker_is_sgd) {
  const char *optimizers[] = {"sgd", "momentum", "nesterov"};
  const tg_mixing mixings[] = {TG_MIX_AVERAGE, TG_MIX_COMBINE_ADAPT, TG_MIX_ADAPT_COMBINE};
  own_options o = own_defaults(optimizers[_i / 3], 1, 3000, 100, 9);
  seen s = {0};
  o.mixing = mixings[_i % 3];
  o.base.eval_every = 7;
  o.base.comm.worker.clip_norm = 20;
  o.base.comm.worker.chaos_nan_at = 31;
  float *found = train(&o, &s), *expected = train_in_step(&o.base, "sgd", NULL);
  ck_assert_mem_eq(found, expected, 3005 * sizeof *found);
  ck_assert_uint_eq(s.evaluations, 15);
  free(found);
  free(expected);
}
END_TEST

START_TEST(rounds_are_as_long_as_asked_for) {
  own_options o = own_defaults("sgd", 3, 20, 300, 8);
  seen s = {0};
  free(train(&o, &s));
  uint64_t bytes = 0;
  for (uint64_t u = 1; u <= 100; u++) {
    /* The last round is cut off by the end of the run. */
    ck_assert_uint_eq(s.h[u], u > 96 ? 4 : 8);
    ck_assert_uint_eq(s.bytes[u], u % 8 == 0 || u == 100 ? 2 * 20 * 4 : 0);
    bytes += s.bytes[u];
  }
  ck_assert_uint_eq(bytes, 13 * 2 * 20 * 4); /* ceil(100 / 8) exchanges */
}
END_TEST

START_TEST(post_local_waits_for_its_epoch) {
  own_options o = own_defaults("sgd", 4, 20, 400, 6);
  seen s = {0};
  o.local_after = 8; /* 0.4 epochs an update: from the round after update 20 on */
  free(train(&o, &s));
  for (uint64_t u = 1; u <= 100; u++) ck_assert_uint_eq(s.h[u], u <= 20 ? 1 : u > 98 ? 2 : 6);
}
END_TEST

/* H is the formula's at the beginning of every round; while the rate is being warmed up, of the
 * rate that it is warmed up to. */
START_TEST(quadratic_rule_follows_the_formula) {
  enum { UPDATES = 800, W = 2 };
  own_options o = own_defaults("sgd", W, 20, W * UPDATES, 3);
  seen s = {0};
  o.local_growth = 0.017;
  free(train(&o, &s));
  uint64_t u = 0, rounds = 0;
  while (u < UPDATES) {
    double lr = u * W / 10.0 >= 5 ? 0.0025 : 0.005;
    uint64_t h = (uint64_t)floor(0.017 / lr * (0.017 / lr));
    if (h < 3) h = 3;
    if (h > UPDATES - u) h = UPDATES - u;
    if (u >= 5) ck_assert_double_eq(s.lr[u + 1], lr);
    ck_assert_uint_eq(s.h[u + 1], h);
    for (uint64_t i = 1; i <= h; i++) ck_assert_uint_eq(s.bytes[u + i] > 0, i == h);
    u += h;
    rounds++;
  }
  ck_assert_uint_eq(u, UPDATES);
  ck_assert_uint_gt(rounds, 10);
}
END_TEST

/* Nothing can be larger than what is left, not even infinitely many. */
START_TEST(quadratic_rule_ends_with_the_run) {
  own_options o = own_defaults("sgd", 2, 20, 100, 3);
  seen s = {0};
  o.local_growth = 1e9;
  free(train(&o, &s));
  ck_assert_uint_eq(s.h[1], 50);
  ck_assert_uint_eq(s.update, 50);
}
END_TEST

/* ---- D-PSGD ---- */

START_TEST(w_is_doubly_stochastic) {
  for (uint32_t n = 1; n <= 12; n++)
    for (int t = TG_TOPOLOGY_RING; t <= TG_TOPOLOGY_COMPLETE; t++) {
      double w[12][12] = {{0}};
      size_t count = tg_topology_count((tg_topology)t, n);
      for (uint32_t i = 0; i < n; i++)
        for (size_t at = 0; at < count; at++) {
          uint32_t j = tg_topology_member((tg_topology)t, n, i, at);
          ck_assert_uint_lt(j, n);
          if (at > 0) ck_assert_uint_gt(j, tg_topology_member((tg_topology)t, n, i, at - 1));
          w[i][j] += 1.0 / (double)count;
        }
      for (uint32_t i = 0; i < n; i++) {
        double row = 0, column = 0;
        for (uint32_t j = 0; j < n; j++) {
          row += w[i][j];
          column += w[j][i];
          ck_assert_double_eq(w[i][j], w[j][i]);
          bool next = j == i || (i + 1) % n == j || (j + 1) % n == i;
          ck_assert_int_eq(w[i][j] > 0, t == TG_TOPOLOGY_COMPLETE || next);
        }
        ck_assert_double_eq_tol(row, 1, 1e-12);
        ck_assert_double_eq_tol(column, 1, 1e-12);
        ck_assert_double_gt(w[i][i], 0);
      }
    }
}
END_TEST

/* Both orders, on rings of 2 to 6 and the complete graph of 5, momentum included; every worker. */
START_TEST(neighbours_follow_the_reference) {
  enum { UPDATES = 120 };
  uint32_t workers = (uint32_t)_i % 6 + 2 - (_i % 6 == 5 ? 2 : 0);
  own_options o = own_defaults(_i % 2 ? "momentum" : "sgd", workers, REF_N, workers * UPDATES, 1);
  o.mixing = _i < 6 ? TG_MIX_COMBINE_ADAPT : TG_MIX_ADAPT_COMBINE;
  o.topology = _i % 6 == 5 ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING;
  double g[REF_MOST][REF_N], mixed[REF_MOST][REF_N], before[REF_N], after[REF_N];
  reference r;
  own_run run;
  seen s = {0};
  ck_ok(own_open(&o, "sim", 0, workers, &run));
  ck_ok(go(&run, &s));
  ref_open(&o, &r);
  for (int t = 0; t < UPDATES; t++) {
    double lr = ref_lr(&o, t), mu = _i % 2 ? 0.9 : 0;
    ref_mean(&r, before);
    for (uint32_t m = 0; m < workers; m++) ref_gradient(&r, m, t, g[m]);
    if (o.mixing == TG_MIX_COMBINE_ADAPT) ref_mix(&o, &r, mixed);
    for (uint32_t m = 0; m < workers; m++)
      ref_apply(&r, m, g[m], lr, mu, o.mixing == TG_MIX_COMBINE_ADAPT ? mixed[m] : r.x[m]);
    if (o.mixing == TG_MIX_ADAPT_COMBINE) ref_mix(&o, &r, mixed);
    memcpy(r.x, mixed, workers * sizeof *mixed);
    /* The mean of a mixture moves as if nobody had mixed. */
    ref_mean(&r, after);
    for (int i = 0; i < REF_N && mu == 0; i++) {
      double mean = 0;
      for (uint32_t m = 0; m < workers; m++) mean += g[m][i] / workers;
      ck_assert_double_eq_tol(after[i], before[i] - lr * (mean + 1e-3 * before[i]), 1e-14);
    }
  }
  tg_local_state state = tg_local_state_of(run.local);
  for (uint32_t m = 0; m < workers; m++) near(state.has.x[m], r.x[m], REF_N, 1e-5);
  ref_mean(&r, after);
  near(state.w, after, REF_N, 1e-5);
  double square = 0;
  for (uint32_t m = 0; m < workers; m++)
    for (int i = 0; i < REF_N; i++)
      square += pow(state.has.x[m][i] - (double)state.w[i], 2) / workers;
  ck_assert_double_eq_tol(s.consensus, sqrt(square), 1e-9);
  ck_assert_uint_eq(s.bytes[5], (tg_topology_count(o.topology, workers) - 1) * 2 * REF_N * 4);
  quadratic_destroy(r.compute);
  own_close(&run);
}
END_TEST

/* The mean update in float, with numbers that leave no room for rounding: xbar - lr mean(g). */
START_TEST(mean_moves_by_the_mean_gradient) {
  own_options o = own_defaults("sgd", 4, 64, 4, 1);
  own_run run;
  seen s = {0};
  double mean[64], loss;
  uint64_t correct;
  float w[64];
  o.mixing = TG_MIX_COMBINE_ADAPT;
  o.topology = TG_TOPOLOGY_COMPLETE;
  ck_ok(own_open(&o, "sim", 0, 4, &run));
  tg_local_state t = tg_local_state_of(run.local);
  /* Small dyadic weights, different ones on every worker. */
  for (uint32_t m = 0; m < 4; m++)
    for (int i = 0; i < 64; i++)
      t.has.x[m][i] = (float)((int)(m * 37 + (uint32_t)i * 11) % 64 - 32) / 16;
  for (int i = 0; i < 64; i++) {
    double before = 0;
    for (uint32_t m = 0; m < 4; m++) before += t.has.x[m][i] / 4.0;
    mean[i] = before - 0.005 * 0.4 * 1e-3 * before;
  }
  tg_compute *c = quadratic_create(&o.base.problem);
  for (uint32_t m = 0; m < 4; m++) {
    memcpy(w, t.has.x[m], sizeof w);
    ck_ok(c->gradient(c, m, 0, w, &loss, &correct));
    for (int i = 0; i < 64; i++) mean[i] -= 0.005 * 0.4 * c->g[i] / 4;
  }
  ck_ok(go(&run, &s));
  near(tg_local_state_of(run.local).w, mean, 64, 2e-7);
  quadratic_destroy(c);
  own_close(&run);
}
END_TEST

/* With everybody a neighbour, averaging after the gradient is local SGD of one step to the bit, and
 * ssgd but for rounding. */
START_TEST(complete_graph_is_ssgd) {
  own_options o = own_defaults("sgd", 4, 500, 480, 1);
  seen s = {0}, t = {0};
  float *local = train(&o, &s), *expected = train_in_step(&o.base, "ssgd", "sim");
  o.mixing = TG_MIX_ADAPT_COMBINE;
  o.topology = TG_TOPOLOGY_COMPLETE;
  float *found = train(&o, &t);
  ck_assert_mem_eq(found, local, 505 * sizeof *found);
  for (int i = 0; i < 505; i++)
    ck_assert_double_eq_tol(found[i], expected[i], 2e-6 * fmax(1, fabs(expected[i])));
  ck_assert_double_eq(t.consensus, 0);
  free(found);
  free(local);
  free(expected);
}
END_TEST

/* ---- time, ends, checkpoints ---- */

/* Averaging waits for the slowest at the end of a round only; a ring for its neighbours. */
START_TEST(virtual_time_is_that_of_the_slowest) {
  own_options o = own_defaults("sgd", 4, 10, 400, 10);
  seen s = {0};
  o.base.comm.sim.slow_workers = 1;
  o.base.comm.sim.slow_factor = 5;
  free(train(&o, &s));
  ck_assert_double_eq_tol(s.last_s, 100 * 5, 1e-9);
  o.base.comm.sim.slow_workers = 0;
  o.base.comm.sim.order = TG_ORDER_EXPONENTIAL;
  o.base.updates = 40000;
  s = (seen){0};
  free(train(&o, &s));
  /* Sums of ten vary less than single times: far less is waited than with every update. */
  ck_assert_double_gt(s.last_s / 10000, 1.2);
  ck_assert_double_lt(s.last_s / 10000, 1.45);
}
END_TEST

static own_options any_scheme(int i) {
  own_options o = own_defaults("momentum", 3, 200, 300, 7);
  o.mixing = i == 0 ? TG_MIX_AVERAGE : i == 1 ? TG_MIX_COMBINE_ADAPT : TG_MIX_ADAPT_COMBINE;
  o.base.workers = i == 0 ? 3 : 5;
  o.base.updates = 100 * o.base.workers;
  return o;
}

START_TEST(gradients_that_are_not_finite_are_skipped) {
  own_options o = any_scheme(_i);
  seen s = {0};
  o.base.comm.worker.chaos_nan_at = 11;
  free(train(&o, &s));
  ck_assert_uint_eq(s.update, 100);
  ck_assert_uint_eq(s.applied, 100 * o.base.workers);
  ck_assert_uint_eq(s.dropped, o.base.workers);
}
END_TEST

START_TEST(diverges_after_too_many) {
  own_options o = any_scheme(_i);
  own_run run;
  seen s = {0};
  o.base.max_nonfinite = 2;
  o.base.comm.worker.chaos_nan_at = 11;
  ck_ok(own_open(&o, "sim", 0, o.base.workers, &run));
  ck_assert_int_eq(go(&run, &s), TG_EDIVERGED);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "gradients were not finite"));
  ck_assert_int_eq(s.why, TG_EDIVERGED);
  own_close(&run);
  /* Weights that are not finite give no gradient that is: nobody tries for ever. */
  ck_ok(own_open(&o, "sim", 0, o.base.workers, &run));
  tg_local_state_of(run.local).has.x[1][3] = NAN;
  s = (seen){0};
  ck_assert_int_eq(go(&run, &s), TG_EDIVERGED);
  own_close(&run);
}
END_TEST

/* Whatever the limit: somebody who asks the run to stop is heard. */
START_TEST(a_worker_without_finite_gradients_hears_a_stop) {
  own_options o = any_scheme(_i);
  own_run run;
  seen s = {.stop_at = 20};
  o.base.max_nonfinite = UINT64_MAX;
  ck_ok(own_open(&o, "sim", 0, o.base.workers, &run));
  tg_local_state_of(run.local).has.x[1][3] = NAN;
  ck_assert_int_eq(go(&run, &s), TG_EPREEMPTED);
  ck_assert_uint_ge(s.dropped, 20 * 16);
  own_close(&run);
}
END_TEST

static void copy_state(own_run *from, own_run *to, size_t n) {
  tg_local_state a = tg_local_state_of(from->local), b = tg_local_state_of(to->local);
  size_t count;
  ck_assert_uint_eq(a.has.held, b.has.held);
  memcpy(b.w, a.w, n * sizeof(float));
  memcpy(b.b, a.b, 5 * sizeof(float));
  for (uint32_t m = 0; m < a.has.held; m++) {
    memcpy(b.has.x[m], a.has.x[m], n * sizeof(float));
    memcpy(b.has.bx[m], a.has.bx[m], 5 * sizeof(float));
    for (size_t i = 0; i < a.has.slot_count; i++)
      memcpy(b.has.slot[i][m], a.has.slot[i][m], n * sizeof(float));
  }
  memcpy(b.step, a.step, a.has.held * sizeof *a.step);
  memcpy(b.clock, a.clock, a.has.held * sizeof *a.clock);
  memcpy(tg_sim_times(to->comm, &count), tg_sim_times(from->comm, &count), sizeof(double));
  ck_ok(tg_local_restored(to->local, &a));
}

/* Stopped within rounds, too. */
START_TEST(goes_on_as_if_never_stopped) {
  own_options o = any_scheme(_i);
  seen whole = {0}, parts = {0};
  own_run run, next;
  uint32_t workers = o.base.workers;
  o.base.eval_every = 21;
  o.base.comm.worker.chaos_nan_at = 21;
  o.base.comm.sim.order = TG_ORDER_EXPONENTIAL;
  float *expected = train(&o, &whole);
  ck_ok(own_open(&o, "sim", 0, workers, &run));
  for (uint64_t stop = 5; stop < 95; stop += 11) {
    parts.stop_at = stop;
    ck_assert_int_eq(go(&run, &parts), TG_EPREEMPTED);
    ck_assert_uint_eq(parts.update, stop + 1);
    ck_assert_int_eq(parts.why, TG_EPREEMPTED);
    ck_ok(own_open(&o, "sim", 0, workers, &next));
    copy_state(&run, &next, 200);
    own_close(&run);
    run = next;
  }
  parts.stop_at = 0;
  ck_ok(go(&run, &parts));
  tg_local_state t = tg_local_state_of(run.local);
  ck_assert_mem_eq(t.w, expected, 200 * sizeof *expected);
  ck_assert_mem_eq(t.b, expected + 200, 5 * sizeof *expected);
  ck_assert_uint_eq(parts.pushes, whole.pushes);
  ck_assert_uint_eq(parts.evaluations, whole.evaluations);
  ck_assert_double_eq(parts.last_s, whole.last_s);
  ck_assert_mem_eq(parts.h, whole.h, sizeof whole.h);
  ck_assert_mem_eq(parts.bytes, whole.bytes, sizeof whole.bytes);
  own_close(&run);
  free(expected);
}
END_TEST

START_TEST(boundaries_are_crossed_once) {
  own_options o = own_defaults("sgd", 3, 10, 300, 8);
  seen s = {0};
  o.base.eval_every = 10;
  o.base.checkpoint_every = 25;
  free(train(&o, &s));
  ck_assert_uint_eq(s.update, 100);
  ck_assert_uint_eq(s.evaluations, 30);
  ck_assert_uint_eq(s.checkpoints, 12);
  ck_assert_uint_eq(s.finished, 1);
  o.base.updates = 0;
  s = (seen){0};
  free(train(&o, &s));
  ck_assert_uint_eq(s.pushes, 0);
  ck_assert_uint_eq(s.evaluations, 1);
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
  own_options o = own_defaults("sgd", 4, 10, 10, 0);
  own_run run;
  ck_assert_int_eq(own_open(&o, "sim", 0, 4, &run), TG_ECONFIG);
  own_close(&run);
  o.local_steps = 1;
  ck_assert_int_eq(own_open(&o, "sim", 0, 2, &run), TG_ECONFIG);
  own_close(&run);
  ck_assert_int_eq(own_open(&o, "sim", 3, 2, &run), TG_ECONFIG);
  own_close(&run);
  ck_ok(own_open(&o, "sim", 0, 4, &run));
  tg_local_state t = tg_local_state_of(run.local);
  t.update = 1;
  t.samples = 17;
  ck_assert_int_eq(tg_local_restored(run.local, &t), TG_EDATA);
  t.samples = 16;
  ck_assert_int_eq(tg_local_restored(run.local, &t), TG_EDATA); /* its round ended before */
  own_close(&run);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("weights of their own");
  TCase *tc = tcase_create("local");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, average_follows_the_reference, 0, 4);
  tcase_add_test(tc, one_local_step_is_ssgd);
  tcase_add_loop_test(tc, one_worker_is_sgd, 0, 9);
  tcase_add_test(tc, rounds_are_as_long_as_asked_for);
  tcase_add_test(tc, post_local_waits_for_its_epoch);
  tcase_add_test(tc, quadratic_rule_follows_the_formula);
  tcase_add_test(tc, quadratic_rule_ends_with_the_run);
  tcase_add_test(tc, w_is_doubly_stochastic);
  tcase_add_loop_test(tc, neighbours_follow_the_reference, 0, 12);
  tcase_add_test(tc, mean_moves_by_the_mean_gradient);
  tcase_add_test(tc, complete_graph_is_ssgd);
  tcase_add_test(tc, virtual_time_is_that_of_the_slowest);
  tcase_add_loop_test(tc, gradients_that_are_not_finite_are_skipped, 0, 3);
  tcase_add_loop_test(tc, diverges_after_too_many, 0, 3);
  tcase_add_loop_test(tc, a_worker_without_finite_gradients_hears_a_stop, 0, 3);
  tcase_add_loop_test(tc, goes_on_as_if_never_stopped, 0, 3);
  tcase_add_test(tc, boundaries_are_crossed_once);
  tcase_add_test(tc, refuses_what_makes_no_sense);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
