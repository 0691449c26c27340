/* test_sim_pace.c - rules that hold, drop and gather among virtual workers: what a straggler costs,
 * how far ahead the others get, what equals ssgd; recorded orders, stopping and going on. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/synchronous.h"

enum { MOST_WORKERS = 16, N = 300 };

/* What an observer saw of a run. */
typedef struct seen {
  tg_server *server;
  uint64_t counted[MOST_WORKERS], late[MOST_WORKERS], evaluations, nonfinite;
  uint64_t gap, staleness; /* largest */
  double compute_s[MOST_WORKERS], wait_s[MOST_WORKERS];
  double last_s, update_s; /* of the last message and the last update */
  double loss;
  uint64_t reads; /* versions at which gradients were computed are multiples of it */
  uint64_t stop_at, handled;
} seen;

/* How far those who compute are ahead of the slowest. */
static uint64_t gap_of(tg_server *server, uint32_t workers) {
  tg_server_state t = tg_server_state_of(server);
  uint64_t least = UINT64_MAX, most = 0;
  for (uint32_t m = 0; m < workers; m++) {
    if (t.pending[m] && t.clock[m] < least) least = t.clock[m];
    if (t.pending[m] == TG_MSG_WEIGHTS && t.clock[m] > most) most = t.clock[m];
  }
  return most > least ? most - least : 0;
}

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  uint32_t m = in->worker;
  s->handled++;
  s->last_s = in->sent_s;
  if (event->applied) s->update_s = in->sent_s;
  if (event->evaluated) s->loss = in->loss_sum;
  s->evaluations += event->evaluated;
  s->nonfinite += event->nonfinite;
  s->counted[m] += event->counts;
  s->late[m] += event->late;
  if (in->kind == TG_MSG_PUSH) {
    s->compute_s[m] += in->compute_s;
    s->wait_s[m] += in->wait_s;
    if (s->reads) ck_assert_uint_eq(in->version % s->reads, 0);
    if (event->staleness > s->staleness) s->staleness = event->staleness;
  }
  if (s->server) {
    uint64_t gap = gap_of(s->server, 4);
    if (gap > s->gap) s->gap = gap;
  }
  if (s->stop_at > 0 && s->handled >= s->stop_at) *preempt = true;
  return TG_OK;
}

static tg_status serve(async_run *run, seen *s) {
  tg_observer observer = {.self = s, .handled = see};
  return async_serve(run, &observer);
}

static float *run_to_end(const async_options *o, seen *s) {
  async_run run;
  ck_ok(async_open(o, "sim", true, true, &run));
  if (o->workers == 4) s->server = run.server;
  ck_ok(serve(&run, s));
  s->server = NULL;
  float *w = async_keep(&run);
  async_close(&run);
  return w;
}

/* Four workers, the first five times slower. */
static async_options straggler(const char *rule, double gradients) {
  async_options o = async_defaults(rule, "sgd", 4, N, gradients);
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 5;
  return o;
}

/* ---- what a straggler costs ---- */

START_TEST(the_bound_is_kept_and_reached) {
  const uint64_t bounds[] = {0, 1, 3, 8};
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  async_options o = straggler("ssp", 800);
  seen s = {0};
  o.staleness_bound = bounds[_i % 4];
  o.comm.sim.order = orders[_i / 4];
  o.eval_every = _i % 2 ? 50 : 0;
  free(run_to_end(&o, &s));
  ck_assert_uint_eq(s.gap, bounds[_i % 4]);
  uint64_t all = 0;
  for (uint32_t m = 0; m < 4; m++) all += s.counted[m];
  ck_assert_uint_eq(all, 800);
  for (uint32_t m = 1; m < 4; m++) {
    /* As many as the slow one, and as many ahead as the bound lets them. */
    ck_assert_uint_ge(s.counted[m], s.counted[0]);
    ck_assert_uint_le(s.counted[m], s.counted[0] + bounds[_i % 4] + 1);
  }
}
END_TEST

START_TEST(held_workers_wait) {
  async_options o = straggler("ssp", 400);
  seen s = {.reads = 4};
  o.staleness_bound = 0;
  free(run_to_end(&o, &s));
  /* A hundred rounds of five seconds; the wait before the first gradient is none. */
  ck_assert_double_eq(s.last_s, 500);
  ck_assert_double_eq(s.wait_s[0], 0);
  for (uint32_t m = 1; m < 4; m++) {
    ck_assert_double_eq(s.compute_s[m], 100);
    ck_assert_double_eq(s.wait_s[m], 99 * 4);
  }
  ck_assert_uint_eq(s.staleness, 3);
}
END_TEST

START_TEST(backups_are_not_waited_for) {
  async_options o = straggler("ssgd-backup", 300);
  seen s = {0};
  o.backup_workers = 1;
  o.comm.sim.slow_factor = 4.5;
  free(run_to_end(&o, &s));
  ck_assert_double_eq(s.update_s, 100); /* a second an update, of three gradients */
  ck_assert(s.counted[0] == 0 && s.counted[1] == 100 && s.counted[2] == 100 && s.counted[3] == 100);
  ck_assert_uint_eq(s.late[0], 23); /* the last of them ended after the run */
  o.backup_workers = 0;
  s = (seen){0};
  o.updates = 400;
  free(run_to_end(&o, &s));
  ck_assert_double_eq(s.update_s, 450);
  ck_assert(s.counted[0] == 100 && s.late[0] == 0);
}
END_TEST

START_TEST(thresholds_bound_the_delay) {
  async_options o = straggler("ringmaster", 400);
  seen s = {0};
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  for (o.delay_threshold = 1; o.delay_threshold < 10; o.delay_threshold += 4) {
    s = (seen){0};
    free(run_to_end(&o, &s));
    ck_assert_uint_ge(s.late[0], 1);
    uint64_t counted = s.counted[0] + s.counted[1] + s.counted[2] + s.counted[3];
    ck_assert_uint_eq(counted, 400);
  }
  /* A worker that never comes back costs nothing: the others make every update. */
  o.comm.sim.order = TG_ORDER_ROUND_ROBIN;
  o.comm.sim.slow_factor = 1e6;
  o.delay_threshold = 5;
  s = (seen){0};
  free(run_to_end(&o, &s));
  ck_assert_double_eq_tol(s.update_s, 400.0 / 3, 1);
  ck_assert(s.counted[0] == 0 && s.late[0] == 1);
}
END_TEST

/* ---- what is ssgd ---- */

static void synchronous(const async_options *o, float *w, float *b) {
  async_options ssgd = *o;
  sync_run run;
  ssgd.rule = "ssgd";
  ck_ok(sync_open(&ssgd, "sim", 0, o->workers, &run));
  ck_ok(sync_go(&run, NULL));
  tg_sync_state t = tg_sync_state_of(run.sync);
  memcpy(w, t.w, N * sizeof *w);
  memcpy(b, t.b, 5 * sizeof *b);
  sync_close(&run);
}

/* Round robin, so that gradients come in the order of the workers: every bit, statistics too. */
START_TEST(without_backups_it_is_ssgd) {
  const char *optimizers[] = {"sgd", "momentum", "nesterov"};
  for (uint32_t workers = 1; workers <= 9; workers += 2) {
    async_options o = async_defaults("ssgd-backup", optimizers[_i], workers, N, 60 * workers);
    float w[N], b[5];
    async_run run;
    o.backup_workers = 0;
    o.eval_every = 7;
    synchronous(&o, w, b);
    ck_ok(async_open(&o, "sim", true, true, &run));
    ck_ok(async_serve(&run, NULL));
    ck_assert_mem_eq(async_weights(&run), w, sizeof w);
    ck_assert_mem_eq(tg_server_state_of(run.server).b, b, sizeof b);
    ck_assert_uint_eq(tg_server_state_of(run.server).update, 60);
    async_close(&run);
  }
}
END_TEST

static double difference(const float *a, const float *b) {
  double error = 0, size = 0;
  for (int i = 0; i < N; i++) {
    error += pow((double)a[i] - (double)b[i], 2);
    size += pow((double)b[i], 2);
  }
  return sqrt(error / size);
}

/* In any order: the sum of the steps differs from the step of the mean by rounding. */
START_TEST(a_barrier_is_ssgd) {
  async_options o = async_defaults(_i < 3 ? "ssp" : "ssgd-backup", "sgd", 4, N, 400);
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  float w[N], b[5];
  async_run run;
  seen s = {.reads = _i < 3 ? 4 : 1};
  o.staleness_bound = o.backup_workers = 0;
  o.constant_lr = 0.01;
  synchronous(&o, w, b);
  o.comm.sim.order = orders[_i % 3];
  o.eval_every = _i % 3 == 0 ? 11 : 0;
  if (_i < 3) o.constant_lr /= 4;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_ok(serve(&run, &s));
  double error = difference(async_weights(&run), w);
  ck_assert_msg(error < 1e-6, "%.3g", error);
  async_close(&run);
}
END_TEST

/* ---- recorded, stopped ---- */

static const struct {
  const char *rule, *optimizer;
  uint64_t bound, threshold;
  uint32_t backups;
} variants[] = {{"ssp", "momentum", 0, 0, 0},         {"ssp", "sgd", 2, 0, 0},
                {"ssgd-backup", "nesterov", 0, 0, 0}, {"ssgd-backup", "momentum", 0, 0, 2},
                {"ringmaster", "momentum", 0, 1, 0},  {"ringmaster", "sgd", 0, 4, 0}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static async_options variant(int i) {
  async_options o = async_defaults(variants[i].rule, variants[i].optimizer, 7, N, 300);
  o.staleness_bound = variants[i].bound;
  o.delay_threshold = variants[i].threshold;
  o.backup_workers = variants[i].backups;
  o.comm.sim.slow_workers = 2;
  o.comm.sim.slow_factor = 1.7;
  o.eval_every = 9;
  return o;
}

START_TEST(a_recorded_order_reproduces_the_run) {
  async_options o = variant(_i);
  char path[256];
  uint32_t workers, *records;
  uint64_t seed;
  seen a = {0}, b = {0};
  fixture_path("trace.bin", path, sizeof path);
  o.comm.sim.order = TG_ORDER_EXPONENTIAL;
  o.comm.worker.chaos_nan_at = 3;
  ck_ok(tg_trace_create(path, 7, 1, &o.comm.trace));
  float *recorded = run_to_end(&o, &a);
  tg_trace_close(o.comm.trace);
  ck_ok(tg_trace_read(path, &workers, &seed, &records, NULL, &o.comm.sim.record_count));
  ck_assert_uint_eq(o.comm.sim.record_count, a.handled);
  ck_assert_uint_eq(a.nonfinite, 7);
  o.comm.trace = NULL;
  o.comm.sim.records = records;
  o.comm.sim.order = TG_ORDER_TRACE;
  float *replayed = run_to_end(&o, &b);
  ck_assert_mem_eq(recorded, replayed, N * sizeof *recorded);
  ck_assert_mem_eq(a.counted, b.counted, sizeof a.counted);
  ck_assert_mem_eq(a.late, b.late, sizeof a.late);
  free(recorded), free(replayed), free(records);
}
END_TEST

START_TEST(goes_on_as_if_never_stopped) {
  const tg_sim_order orders[] = {TG_ORDER_ROUND_ROBIN, TG_ORDER_LOGNORMAL, TG_ORDER_EXPONENTIAL};
  async_options o = variant(_i % VARIANTS);
  seen whole = {0}, parts = {0};
  async_run run;
  o.comm.sim.order = orders[_i / VARIANTS];
  float *expected = run_to_end(&o, &whole);
  ck_ok(async_open(&o, "sim", true, true, &run));
  for (uint64_t stop = 3; stop < whole.handled - 5; stop += 11) {
    parts.stop_at = stop;
    ck_assert_int_eq(serve(&run, &parts), TG_EPREEMPTED);
    ck_assert_uint_eq(parts.handled, stop);
    run = async_go_on(&run);
  }
  parts.stop_at = 0;
  ck_ok(serve(&run, &parts));
  ck_assert_mem_eq(expected, async_weights(&run), N * sizeof *expected);
  ck_assert_mem_eq(&whole, &parts, sizeof whole); /* times, waits and counts too */
  async_close(&run);
  free(expected);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sim, pace");
  TCase *tc = tcase_create("pace");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, NULL, fixture_end);
  tcase_add_loop_test(tc, the_bound_is_kept_and_reached, 0, 12);
  tcase_add_test(tc, held_workers_wait);
  tcase_add_test(tc, backups_are_not_waited_for);
  tcase_add_test(tc, thresholds_bound_the_delay);
  tcase_add_loop_test(tc, without_backups_it_is_ssgd, 0, 3);
  tcase_add_loop_test(tc, a_barrier_is_ssgd, 0, 6);
  tcase_add_loop_test(tc, a_recorded_order_reproduces_the_run, 0, VARIANTS);
  tcase_add_loop_test(tc, goes_on_as_if_never_stopped, 0, 3 * VARIANTS);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
