/* test_sim.c - virtual workers: order, staleness, repetition to the bit, traces, resuming. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../support/async.h"
#include "../support/fixture.h"

enum { MOST_WORKERS = 64, MOST_MESSAGES = 20000 };

/* What an observer saw of a run. */
typedef struct seen {
  uint32_t worker[MOST_MESSAGES]; /* of each push */
  size_t pushes, dropped, evaluations, checkpoints, cuts;
  double staleness[MOST_WORKERS], compute_s[MOST_WORKERS], last_s, loss;
  uint64_t of[MOST_WORKERS], from, stop_at;
  tg_status why;
} seen;

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  ck_assert_double_ge(in->sent_s, s->last_s);
  s->last_s = in->sent_s;
  s->evaluations += event->evaluated;
  s->checkpoints += event->checkpoint_due;
  s->dropped += event->nonfinite;
  if (event->evaluated) s->loss = in->loss_sum;
  if (event->applied) {
    s->worker[s->pushes++] = in->worker;
    s->compute_s[in->worker] += in->compute_s;
    if (event->update > s->from) {
      s->staleness[in->worker] += (double)event->staleness;
      s->of[in->worker]++;
    }
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

static tg_status serve(async_run *run, seen *s) {
  tg_observer observer = {.self = s, .handled = see, .cut = see_cut};
  return async_serve(run, &observer);
}

static float *run_to_end(const async_options *o, seen *s) {
  async_run run;
  ck_ok(async_open(o, "sim", true, true, &run));
  ck_ok(serve(&run, s));
  float *w = async_keep(&run);
  async_close(&run);
  return w;
}

static seen *new_seen(void) {
  seen *s = calloc(1, sizeof *s);
  ck_assert_ptr_nonnull(s);
  return s;
}

static double mean_staleness(const seen *s, uint32_t from, uint32_t to) {
  double sum = 0, count = 0;
  for (uint32_t m = from; m < to; m++) {
    sum += s->staleness[m];
    count += (double)s->of[m];
  }
  return sum / count;
}

/* ---- order ---- */

START_TEST(round_robin_is_cyclic) {
  async_options o = async_defaults("asgd", "sgd", 5, 100, 500);
  o.eval_every = 7;
  o.comm.sim.compute_s = 0.1; /* not a binary fraction */
  seen *s = new_seen();
  s->from = 5;
  free(run_to_end(&o, s));
  ck_assert_uint_eq(s->pushes, 500);
  ck_assert_uint_eq(s->evaluations, 500 / 7 + 1);
  for (size_t i = 0; i < s->pushes; i++) ck_assert_uint_eq(s->worker[i], i % 5);
  for (uint32_t m = 0; m < 5; m++) ck_assert_double_eq(s->staleness[m], 4.0 * (double)s->of[m]);
  ck_assert_double_eq_tol(s->last_s, 10, 1e-9);
  free(s);
}
END_TEST

/* spec: with one gradient in flight per worker the mean is M-1 whatever the speeds. */
START_TEST(mean_staleness_is_workers_less_one) {
  async_options o = async_defaults("asgd", "sgd", _i % 2 ? 8 : 3, 10, 10000);
  o.comm.sim.order = _i < 2 ? TG_ORDER_EXPONENTIAL : TG_ORDER_LOGNORMAL;
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 3;
  seen *s = new_seen();
  free(run_to_end(&o, s));
  ck_assert_double_eq_tol(mean_staleness(s, 0, o.workers), o.workers - 1, 0.02 * o.workers);
  free(s);
}
END_TEST

/* Four workers, the first five times slower: 15.0 / 2.2 / 2.2 / 2.2. */
START_TEST(staleness_of_a_slow_worker) {
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  async_options o = async_defaults("asgd", "sgd", 4, 10, 16016);
  o.comm.sim.order = orders[_i];
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 5;
  seen *s = new_seen();
  s->from = 16;
  free(run_to_end(&o, s));
  /* Four standard errors of the slow worker's thousand pushes. */
  const double spread[] = {0.015, 0.3, 1};
  double allowed = 4 * spread[_i] / sqrt(1000);
  ck_assert_double_eq_tol(mean_staleness(s, 0, 1), 15.0, allowed * 15);
  for (uint32_t m = 1; m < 4; m++)
    ck_assert_double_eq_tol(mean_staleness(s, m, m + 1), 2.2, allowed * 2.2);
  free(s);
}
END_TEST

START_TEST(compute_times_have_the_mean_asked_for) {
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  async_options o = async_defaults("asgd", "sgd", 4, 10, 20000);
  o.comm.sim.order = orders[_i];
  o.comm.sim.compute_s = 0.25;
  o.comm.sim.sigma = 0.5;
  seen *s = new_seen();
  free(run_to_end(&o, s));
  double sum = 0;
  for (uint32_t m = 0; m < 4; m++) sum += s->compute_s[m];
  ck_assert_double_eq_tol(sum / 20000, 0.25, 0.03 * 0.25);
  /* All workers are busy all the time. */
  ck_assert_double_eq_tol(s->last_s, sum / 4, 0.01 * s->last_s);
  free(s);
}
END_TEST

START_TEST(many_workers) {
  async_options o = async_defaults("asgd", "sgd", 1000, 10, 5000);
  async_run run;
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_ok(async_serve(&run, NULL));
  ck_assert_uint_eq(tg_server_state_of(run.server).update, 5000);
  async_close(&run);
}
END_TEST

/* ---- repetition ---- */

START_TEST(same_seed_same_bits) {
  async_options o = async_defaults("dc-asgd-a", "momentum", 6, 1000, 400);
  o.comm.sim.order = _i ? TG_ORDER_EXPONENTIAL : TG_ORDER_LOGNORMAL;
  seen *a = new_seen(), *b = new_seen(), *c = new_seen();
  float *first = run_to_end(&o, a), *again = run_to_end(&o, b);
  ck_assert_mem_eq(first, again, 1000 * sizeof *first);
  ck_assert_mem_eq(a, b, sizeof *a);
  o.comm.sim.seed++;
  float *other = run_to_end(&o, c);
  ck_assert_mem_ne(a->worker, c->worker, 400 * sizeof *a->worker);
  ck_assert_mem_ne(first, other, 1000 * sizeof *first);
  free(first), free(again), free(other), free(a), free(b), free(c);
}
END_TEST

START_TEST(evaluations_change_nothing) {
  async_options o = async_defaults("dc-asgd-a", "momentum", 6, 1000, 400);
  seen *a = new_seen(), *b = new_seen(), *c = new_seen();
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  float *none = run_to_end(&o, a);
  o.eval_every = 10;
  float *some = run_to_end(&o, b);
  o.comm.worker.skip_evaluation = true;
  float *skipped = run_to_end(&o, c);
  ck_assert_mem_eq(none, some, 1000 * sizeof *none);
  ck_assert_mem_eq(none, skipped, 1000 * sizeof *none);
  ck_assert_uint_eq(b->evaluations, 40);
  ck_assert_uint_eq(c->evaluations, 40);
  ck_assert_double_gt(b->loss, 0);
  ck_assert_double_eq(c->loss, 0);
  ck_assert_double_eq(a->last_s, b->last_s);
  free(none), free(some), free(skipped), free(a), free(b), free(c);
}
END_TEST

/* ---- traces ---- */

static const struct {
  const char *rule, *optimizer;
  bool global_state;
} variants[] = {{"asgd", "sgd", false},
                {"asgd", "momentum", false},
                {"dc-asgd-c", "nesterov", false},
                {"dc-asgd-a", "sgd", false},
                {"dc-asgd-a", "momentum", true}};

START_TEST(a_recorded_order_reproduces_the_run) {
  async_options o = async_defaults(variants[_i].rule, variants[_i].optimizer, 7, 500, 300);
  char path[256];
  uint32_t workers, *records;
  uint64_t seed;
  fixture_path("trace.bin", path, sizeof path);
  o.global_state = variants[_i].global_state;
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  o.comm.worker.chaos_nan_at = 3;
  o.eval_every = 9;
  seen *a = new_seen(), *b = new_seen();
  ck_ok(tg_trace_create(path, 7, 1, &o.comm.trace));
  float *recorded = run_to_end(&o, a);
  tg_trace_close(o.comm.trace);
  ck_ok(tg_trace_read(path, &workers, &seed, &records, NULL, &o.comm.sim.record_count));
  ck_assert_uint_eq(o.comm.sim.record_count, a->pushes + a->dropped + a->evaluations);
  ck_assert_uint_eq(a->dropped, 7);
  o.comm.trace = NULL;
  o.comm.sim.records = records;
  o.comm.sim.order = TG_ORDER_TRACE;
  float *replayed = run_to_end(&o, b);
  ck_assert_mem_eq(recorded, replayed, 500 * sizeof *recorded);
  ck_assert_mem_eq(a->worker, b->worker, sizeof a->worker);
  free(recorded), free(replayed), free(records), free(a), free(b);
}
END_TEST

#define PUSH(worker) ((worker) | TG_MSG_PUSH << 24)
static const struct {
  uint32_t records[5];
  size_t count;
  const char *says;
} bad_orders[] = {
    {{PUSH(0), PUSH(1)}, 2, "the trace ends after 2 messages, at update 2"},
    {{PUSH(0), PUSH(2)}, 2, "record 1 of the trace is of worker 2, there are 2 workers"},
    {{PUSH(0), PUSH(0), TG_MSG_EVALUATED << 24, 0},
     3,
     "record 2 of the trace, after update 2, is a message of kind 2 from worker 0, which was sent "
     "a "
     "message of kind 16"},
    {{PUSH(1), PUSH(1), PUSH(1), PUSH(1), PUSH(1)},
     5,
     "record 3 of the trace, after update 3, asks for worker 1, which has nothing outstanding"},
};

START_TEST(says_what_is_wrong_with_an_order) {
  async_options o = async_defaults("asgd", "sgd", 2, 10, 5);
  async_run run;
  if (_i == 3) o.updates = 4;
  o.comm.sim.order = TG_ORDER_TRACE;
  o.comm.sim.records = bad_orders[_i].records;
  o.comm.sim.record_count = bad_orders[_i].count;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_assert_int_eq(async_serve(&run, NULL), TG_ERUNTIME);
  ck_assert_msg(strstr(tg_status_message(), bad_orders[_i].says), "%s", tg_status_message());
  async_close(&run);
}
END_TEST

/* ---- stopping and going on ---- */

START_TEST(goes_on_as_if_never_stopped) {
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  async_options o = async_defaults("dc-asgd-a", "momentum", 5, 300, 200);
  o.comm.sim.order = orders[_i % 3];
  o.comm.sim.slow_workers = 2;
  o.comm.sim.slow_factor = 1.7;
  o.eval_every = 8;
  seen *whole = new_seen(), *parts = new_seen();
  float *expected = run_to_end(&o, whole);
  async_run run;
  ck_ok(async_open(&o, "sim", true, true, &run));
  /* Among these moments are some with an evaluation outstanding. */
  for (uint64_t stop = 8; stop < 200; stop += 8 + (uint64_t)_i) {
    parts->stop_at = stop;
    ck_assert_int_eq(serve(&run, parts), TG_EPREEMPTED);
    ck_assert_int_eq(parts->why, TG_EPREEMPTED);
    ck_assert_uint_eq(tg_server_state_of(run.server).update, stop);
    run = async_go_on(&run);
  }
  parts->stop_at = 0;
  ck_ok(serve(&run, parts));
  ck_assert_mem_eq(expected, async_weights(&run), 300 * sizeof *expected);
  ck_assert_mem_eq(whole->worker, parts->worker, sizeof whole->worker);
  ck_assert_uint_eq(whole->evaluations, parts->evaluations);
  ck_assert_double_eq(whole->last_s, parts->last_s);
  ck_assert_double_eq(whole->loss, parts->loss);
  async_close(&run);
  free(expected), free(whole), free(parts);
}
END_TEST

START_TEST(diverges_after_too_many) {
  async_options o = async_defaults("asgd", "sgd", 4, 10, 1000);
  async_run run;
  seen *s = new_seen();
  o.max_nonfinite = 3;
  o.comm.worker.chaos_nan_at = 20;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_assert_int_eq(serve(&run, s), TG_EDIVERGED);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "4 gradients were not finite"));
  ck_assert_uint_eq(s->cuts, 1);
  ck_assert_int_eq(s->why, TG_EDIVERGED);
  ck_assert_uint_eq(s->dropped, 3);
  async_close(&run);
  free(s);
}
END_TEST

static tg_status refuse(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  (void)in, (void)preempt;
  if (event->update < 17) return TG_OK;
  TG_FAIL(*(tg_status *)self, "the observer has had enough");
}

START_TEST(observers_end_a_run) {
  tg_status status = _i ? TG_EDIVERGED : TG_ERUNTIME;
  tg_observer observer = {.self = &status, .handled = refuse};
  async_options o = async_defaults("asgd", "sgd", 4, 10, 1000);
  async_run run;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_assert_int_eq(async_serve(&run, &observer), status);
  ck_assert_str_eq(tg_status_message(), "the observer has had enough");
  ck_assert_uint_eq(tg_server_state_of(run.server).update, 17);
  async_close(&run);
}
END_TEST

START_TEST(refuses_what_makes_no_sense) {
  async_options o = async_defaults("asgd", "sgd", 2, 10, 5);
  async_run run;
  tg_msg msg = {.kind = TG_MSG_WEIGHTS, .worker = 1};
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_assert_int_eq(run.transport->recv(run.comm, &msg), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(), "sim: no worker has anything outstanding after update 0");
  msg = (tg_msg){.kind = TG_MSG_WEIGHTS, .worker = 1};
  ck_ok(run.transport->send(run.comm, &msg));
  ck_assert_int_eq(run.transport->send(run.comm, &msg), TG_ERUNTIME);
  msg.worker = 2;
  ck_assert_int_eq(run.transport->send(run.comm, &msg), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(), "sim: a message to worker 2, there are 2 workers");
  async_close(&run);
  const tg_transport *found;
  ck_assert_int_eq(tg_transport_find("mpj", &found), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "no transport 'mpj'; did you mean 'mpi'?");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sim");
  TCase *tc = tcase_create("sim");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, NULL, fixture_end);
  tcase_add_test(tc, round_robin_is_cyclic);
  tcase_add_loop_test(tc, mean_staleness_is_workers_less_one, 0, 4);
  tcase_add_loop_test(tc, staleness_of_a_slow_worker, 0, 3);
  tcase_add_loop_test(tc, compute_times_have_the_mean_asked_for, 0, 3);
  tcase_add_test(tc, many_workers);
  tcase_add_loop_test(tc, same_seed_same_bits, 0, 2);
  tcase_add_test(tc, evaluations_change_nothing);
  tcase_add_loop_test(tc, a_recorded_order_reproduces_the_run, 0,
                      sizeof variants / sizeof *variants);
  tcase_add_loop_test(tc, says_what_is_wrong_with_an_order, 0,
                      sizeof bad_orders / sizeof *bad_orders);
  tcase_add_loop_test(tc, goes_on_as_if_never_stopped, 0, 6);
  tcase_add_test(tc, diverges_after_too_many);
  tcase_add_loop_test(tc, observers_end_a_run, 0, 2);
  tcase_add_test(tc, refuses_what_makes_no_sense);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
