/* test_sync.c - the synchronous loop in one process, alone and with virtual workers. */
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/synchronous.h"

typedef struct seen {
  size_t pushes, applied, dropped, evaluations, checkpoints, cuts, finished;
  uint64_t update, stop_at;
  uint32_t next_worker, workers;
  double loss, norm, last_s;
  tg_status why, fail_with;
} seen;

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  s->last_s = in->sent_s;
  s->checkpoints += event->checkpoint_due;
  s->finished += event->finished;
  if (event->evaluated) {
    ck_assert_uint_eq(in->kind, TG_MSG_EVALUATED);
    ck_assert_uint_eq(s->next_worker, 0);
    s->evaluations++;
    s->loss = in->loss_sum;
    return TG_OK;
  }
  ck_assert_uint_eq(in->kind, TG_MSG_PUSH);
  ck_assert_uint_eq(in->worker, s->next_worker);
  s->next_worker = (s->next_worker + 1) % s->workers;
  s->pushes++;
  s->applied += event->applied;
  s->dropped += event->nonfinite;
  s->update = event->update;
  s->norm = in->gradient_norm;
  if (s->stop_at > 0 && event->update >= s->stop_at) *preempt = true;
  if (s->fail_with) TG_FAIL(s->fail_with, "the observer has had enough");
  return TG_OK;
}

static tg_status see_cut(void *self, tg_status why) {
  seen *s = self;
  s->cuts++;
  s->why = why;
  return TG_OK;
}

static tg_status go(sync_run *run, seen *s, uint32_t workers) {
  tg_observer observer = {.self = s, .handled = see, .cut = see_cut};
  s->workers = workers;
  return sync_go(run, &observer);
}

static float *run_in_step(const async_options *o, const char *transport, seen *s) {
  sync_run run;
  ck_ok(sync_open(o, transport, 0, o->workers, &run));
  ck_ok(go(&run, s, o->workers));
  tg_sync_state t = tg_sync_state_of(run.sync);
  size_t n = o->problem.n, k = o->problem.k;
  float *copy = malloc((n + k) * sizeof *copy);
  memcpy(copy, t.w, n * sizeof *copy);
  memcpy(copy + n, t.b, k * sizeof *copy);
  sync_close(&run);
  return copy;
}

static tg_status evaluation(void *self, const tg_msg *in, const tg_server_event *event,
                            bool *preempt) {
  seen *s = self;
  (void)preempt;
  s->evaluations += event->evaluated;
  if (event->evaluated) s->loss = in->loss_sum;
  return TG_OK;
}

/* The same with an asynchronous server. */
static float *run_async(const async_options *o, seen *s) {
  async_run run;
  tg_observer observer = {.self = s, .handled = evaluation};
  ck_ok(async_open(o, "sim", true, true, &run));
  ck_ok(async_serve(&run, &observer));
  tg_server_state t = tg_server_state_of(run.server);
  size_t n = o->problem.n, k = o->problem.k;
  float *copy = malloc((n + k) * sizeof *copy);
  memcpy(copy, t.w, n * sizeof *copy);
  memcpy(copy + n, t.b, k * sizeof *copy);
  async_close(&run);
  return copy;
}

/* sgd, ssgd of one worker, and every asynchronous rule with one worker: the same bits. */
START_TEST(one_worker_is_sgd) {
  const char *rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};
  async_options o = async_defaults("sgd", tg_optimizers[_i]->name, 1, 3000, 100);
  o.comm.worker.clip_norm = 20;
  o.comm.worker.chaos_nan_at = 31;
  o.eval_every = 7;
  seen local = {0}, sync = {0};
  float *expected = run_in_step(&o, NULL, &local);
  ck_assert_uint_eq(local.evaluations, 15);
  ck_assert_uint_eq(local.dropped, 1);
  o.rule = "ssgd";
  float *ssgd = run_in_step(&o, "sim", &sync);
  ck_assert_mem_eq(expected, ssgd, 3005 * sizeof *expected);
  ck_assert_double_eq(local.loss, sync.loss);
  free(ssgd);
  for (size_t i = 0; i < 3; i++) {
    seen async = {0};
    o.rule = rules[i];
    float *w = run_async(&o, &async);
    ck_assert_mem_eq(expected, w, 3005 * sizeof *expected);
    ck_assert_uint_eq(async.evaluations, 15);
    ck_assert_double_eq(async.loss, local.loss);
    free(w);
  }
  free(expected);
}
END_TEST

/* Four workers against w -= lr (mean g + wd w) in double, gradients from the same problem. */
START_TEST(update_is_the_mean_over_workers) {
  enum { N = 50, UPDATES = 25 };
  async_options o = async_defaults("ssgd", "sgd", 4, N, 4 * UPDATES);
  seen s = {0};
  float *found = run_in_step(&o, "sim", &s), w[N];
  double exact[N];
  tg_compute *c = quadratic_create(&o.problem);
  quadratic_initial(N, w);
  for (int i = 0; i < N; i++) exact[i] = w[i];
  for (int t = 0; t < UPDATES; t++) {
    double mean[N] = {0}, loss, epoch = (t + 1) * 0.4;
    double lr = 0.005 * (epoch < 1 ? epoch : 1) * (t * 0.4 >= 5 ? 0.5 : 1);
    uint64_t correct;
    for (int i = 0; i < N; i++) w[i] = (float)exact[i];
    for (uint32_t m = 0; m < 4; m++) {
      ck_ok(c->gradient(c, m, (uint64_t)t, w, &loss, &correct));
      for (int i = 0; i < N; i++) mean[i] += c->g[i] / 4.0;
    }
    for (int i = 0; i < N; i++) exact[i] -= lr * (mean[i] + 1e-3 * exact[i]);
  }
  for (int i = 0; i < N; i++) ck_assert_double_eq_tol(found[i], exact[i], 2e-6);
  ck_assert_uint_eq(s.pushes, 4 * UPDATES);
  quadratic_destroy(c);
  free(found);
}
END_TEST

/* An update more, rather than a sample less. */
START_TEST(runs_for_the_epochs_asked_for) {
  const double gradients[] = {12, 13, 15, 16, 0.5};
  const uint64_t updates[] = {4, 5, 5, 6, 1};
  async_options o = async_defaults("ssgd", "sgd", 3, 10, gradients[_i]);
  seen s = {0};
  free(run_in_step(&o, "sim", &s));
  ck_assert_uint_eq(s.update, updates[_i]);
  ck_assert_uint_eq(s.finished, 1);
  ck_assert_uint_eq(s.evaluations, 1);
  ck_assert_uint_eq(s.checkpoints, 1);
}
END_TEST

START_TEST(boundaries_are_crossed_once) {
  async_options o = async_defaults("ssgd", "sgd", 3, 10, 300);
  seen s = {0};
  o.eval_every = 10;
  o.checkpoint_every = 25;
  free(run_in_step(&o, "sim", &s));
  ck_assert_uint_eq(s.update, 100);
  ck_assert_uint_eq(s.evaluations, 30);
  ck_assert_uint_eq(s.checkpoints, 12);
}
END_TEST

START_TEST(a_run_of_nothing_is_evaluated) {
  async_options o = async_defaults("ssgd", "sgd", 3, 10, 0);
  seen s = {0};
  free(run_in_step(&o, "sim", &s));
  ck_assert_uint_eq(s.pushes, 0);
  ck_assert_uint_eq(s.evaluations, 1);
  ck_assert_uint_eq(s.finished, 1);
}
END_TEST

/* In step, the slowest worker sets the pace. */
START_TEST(virtual_time_is_that_of_the_slowest) {
  async_options o = async_defaults("ssgd", "sgd", 4, 10, 400);
  seen s = {0};
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 5;
  free(run_in_step(&o, "sim", &s));
  ck_assert_double_eq_tol(s.last_s, 100 * 5, 1e-9);
  /* The mean of the largest of four exponential times is 1 + 1/2 + 1/3 + 1/4. */
  o.updates = 40000;
  o.comm.sim.slow_workers = 0;
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  s = (seen){0};
  free(run_in_step(&o, "sim", &s));
  ck_assert_double_eq_tol(s.last_s / 10000, 25.0 / 12, 0.05);
}
END_TEST

START_TEST(steps_that_are_not_finite_are_skipped) {
  async_options o = async_defaults("ssgd", "sgd", 4, 10, 400);
  seen s = {0};
  o.comm.worker.chaos_nan_at = 11;
  free(run_in_step(&o, "sim", &s));
  ck_assert_uint_eq(s.update, 100);
  ck_assert_uint_eq(s.pushes, 404);
  ck_assert_uint_eq(s.applied, 400);
  ck_assert_uint_eq(s.dropped, 4);
}
END_TEST

START_TEST(diverges_after_too_many) {
  async_options o = async_defaults("ssgd", "sgd", 4, 10, 400);
  sync_run run;
  seen s = {0};
  o.max_nonfinite = 3;
  o.comm.worker.chaos_nan_at = 11;
  ck_ok(sync_open(&o, "sim", 0, 4, &run));
  ck_assert_int_eq(go(&run, &s, 4), TG_EDIVERGED);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "4 gradients were not finite"));
  ck_assert_int_eq(s.why, TG_EDIVERGED);
  ck_assert_uint_eq(s.update, 10);
  sync_close(&run);
}
END_TEST

START_TEST(observers_end_a_run) {
  async_options o = async_defaults("ssgd", "sgd", 4, 10, 400);
  sync_run run;
  seen s = {.fail_with = _i ? TG_EDIVERGED : TG_ERUNTIME};
  ck_ok(sync_open(&o, "sim", 0, 4, &run));
  ck_assert_int_eq(go(&run, &s, 4), s.fail_with);
  ck_assert_str_eq(tg_status_message(), "the observer has had enough");
  ck_assert_uint_eq(s.cuts, (unsigned)_i);
  sync_close(&run);
}
END_TEST

START_TEST(goes_on_as_if_never_stopped) {
  async_options o = async_defaults("ssgd", "momentum", 3, 200, 300);
  seen whole = {0}, parts = {0};
  sync_run run, next;
  o.eval_every = 20;
  o.comm.worker.chaos_nan_at = 21;
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  float *expected = run_in_step(&o, "sim", &whole);
  ck_ok(sync_open(&o, "sim", 0, 3, &run));
  for (uint64_t stop = 5; stop < 95; stop += 11) {
    parts.stop_at = stop;
    ck_assert_int_eq(go(&run, &parts, 3), TG_EPREEMPTED);
    /* The request is agreed with the sums of the next update. */
    ck_assert_uint_eq(parts.update, stop + 1);
    ck_assert_int_eq(parts.why, TG_EPREEMPTED);
    ck_ok(sync_open(&o, "sim", 0, 3, &next));
    tg_sync_state from = tg_sync_state_of(run.sync), to = tg_sync_state_of(next.sync);
    memcpy(to.w, from.w, 200 * sizeof(float));
    memcpy(to.b, from.b, 5 * sizeof(float));
    for (size_t i = 0; i < from.slot_count; i++)
      memcpy(to.slot[i], from.slot[i], 200 * sizeof(float));
    ck_ok(tg_sync_restored(next.sync, &from));
    size_t count;
    double *times = tg_sim_times(run.comm, &count);
    memcpy(tg_sim_times(next.comm, &count), times, count * sizeof *times);
    tg_sim_restored(next.comm);
    sync_close(&run);
    run = next;
  }
  parts.stop_at = 0;
  ck_ok(go(&run, &parts, 3));
  ck_assert_mem_eq(tg_sync_state_of(run.sync).w, expected, 200 * sizeof *expected);
  ck_assert_mem_eq(tg_sync_state_of(run.sync).b, expected + 200, 5 * sizeof *expected);
  ck_assert_uint_eq(parts.pushes, whole.pushes);
  ck_assert_uint_eq(parts.evaluations, whole.evaluations);
  ck_assert_double_eq(parts.last_s, whole.last_s);
  sync_close(&run);
  free(expected);
}
END_TEST

START_TEST(stops_on_a_signal) {
  async_options o = async_defaults("sgd", "sgd", 1, 10, 1e9);
  sync_run run;
  seen s = {0};
  tg_stop_catch();
  ck_assert(!tg_stop_requested());
  raise(SIGUSR1);
  ck_assert(tg_stop_requested());
  ck_ok(sync_open(&o, NULL, 0, 1, &run));
  ck_assert_int_eq(go(&run, &s, 1), TG_EPREEMPTED);
  ck_assert_str_eq(tg_status_message(), "stopped on request after update 1");
  sync_close(&run);
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
  async_options o = async_defaults("ssgd", "sgd", 2, 10, 10);
  sync_run run;
  ck_assert_int_eq(sync_open(&o, NULL, 1, 2, &run), TG_ECONFIG);
  sync_close(&run);
  ck_ok(sync_open(&o, "sim", 0, 2, &run));
  tg_sync_state t = tg_sync_state_of(run.sync);
  t.update = 3;
  t.samples = 23;
  ck_assert_int_eq(tg_sync_restored(run.sync, &t), TG_EDATA);
  sync_close(&run);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sync");
  TCase *tc = tcase_create("sync");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, one_worker_is_sgd, 0, (int)tg_optimizer_count);
  tcase_add_test(tc, update_is_the_mean_over_workers);
  tcase_add_loop_test(tc, runs_for_the_epochs_asked_for, 0, 5);
  tcase_add_test(tc, boundaries_are_crossed_once);
  tcase_add_test(tc, a_run_of_nothing_is_evaluated);
  tcase_add_test(tc, virtual_time_is_that_of_the_slowest);
  tcase_add_test(tc, steps_that_are_not_finite_are_skipped);
  tcase_add_test(tc, diverges_after_too_many);
  tcase_add_loop_test(tc, observers_end_a_run, 0, 2);
  tcase_add_test(tc, goes_on_as_if_never_stopped);
  tcase_add_test(tc, refuses_what_makes_no_sense);
  tcase_add_test(tc, stops_on_a_signal); /* the last one: the request stays */
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
