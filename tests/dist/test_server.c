/* The server's arithmetic: every rule and optimiser against a separate scalar reference over
 * schedules of hundreds of pushes, and identities bit for bit. */
#include <math.h>
#include <omp.h>

#include "../support/ref_update.h"
#include "cluster.h"

/* ---- against the reference ---- */

enum { PARAMETERS = 61, PUSHES = 400 };

typedef struct variant {
  const char *rule;
  ref_rule reference;
  bool global;
  float lambda, cap;
} variant;

static const variant variants[] = {
    {"asgd", REF_ASGD, false, 0, 0},         {"dc-asgd-c", REF_DC_C, false, 0.04f, 0},
    {"dc-asgd-c", REF_DC_C, false, 3, 0.5f}, {"dc-asgd-a", REF_DC_A, false, 2, 0},
    {"dc-asgd-a", REF_DC_A, true, 2, 0},     {"dc-asgd-a", REF_DC_A, false, 10, 0.25f},
    {"dc-asgd-a", REF_DC_A, true, 10, 1},
};
static const char *const optimizers[] = {"sgd", "momentum", "nesterov"};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* |w - expected| / |expected| */
static double error_to(const cluster *c, const double *expected) {
  const float *w = tg_server_state_of(c->server).w;
  double error = 0, size = 0;
  for (size_t i = 0; i < c->o.n; i++) {
    error += pow(w[i] - expected[i], 2);
    size += pow(expected[i], 2);
  }
  return sqrt(error / size);
}

static double error_to_float(const cluster *c, const float *expected) {
  double wide[PARAMETERS];
  for (size_t i = 0; i < c->o.n; i++) wide[i] = expected[i];
  return error_to(c, wide);
}

static void widen(double *to, const float *from, size_t n) {
  for (size_t i = 0; from && i < n; i++) to[i] = from[i];
}

/* The reference, about to do the same step from the same state. */
static void follow(ref_double *r, cluster *c) {
  tg_server_state t = tg_server_state_of(c->server);
  widen(r->w, t.w, c->o.n);
  widen(r->v, t.slot[0], c->o.n);
  for (uint32_t m = 0; m < c->o.workers; m++) {
    widen(r->bak[m], t.bak[m], c->o.n);
    if (m < t.rule_state_count) widen(r->ms[m], t.rule_state[m], c->o.n);
  }
}

/* Every weight after that one step, relative to what was added up: weight, gradient, velocity. */
static void same_step(const ref_double *r, cluster *c, const double *operands) {
  const float *w = tg_server_state_of(c->server).w;
  for (size_t i = 0; i < c->o.n; i++)
    ck_assert_msg(fabs(w[i] - r->w[i]) <= 1e-6 * operands[i], "%s, weight %zu: %.9g, not %.9g",
                  c->o.rule->name, i, w[i], r->w[i]);
}

/* One answer to the server and to both references: a push, or an evaluation after which the worker
 * pulls. Gradients are random and do not look at the weights. */
static void answer_all(cluster *c, ref_double *d, ref_float *f, ref_double *step, uint32_t m) {
  const tg_msg told = c->inbox[m];
  tg_msg in = {.kind = told.kind == TG_MSG_WEIGHTS ? TG_MSG_PUSH : TG_MSG_EVALUATED,
               .worker = m,
               .samples = c->o.batch,
               .version = told.version,
               .step = told.step};
  float raw[PARAMETERS];
  double operands[PARAMETERS];
  for (size_t i = 0; i < c->o.n; i++) c->g[i] = raw[i] = cluster_random(m, told.step, i);
  if (step) follow(step, c);
  for (size_t i = 0; step && i < c->o.n; i++)
    operands[i] = fabs(step->w[i]) + 0.05 * (fabs(raw[i]) + fabs(step->v[i]));
  ck_assert(tg_server_step(c->server, &in, c->g, NULL, &c->inbox[m], &c->event) == TG_OK);
  if (c->event.applied) {
    ref_double_push(d, (int)m, raw, c->event.lr);
    ref_float_push(f, (int)m, raw, c->event.lr);
    if (step) {
      ref_double_push(step, (int)m, raw, c->event.lr);
      same_step(step, c, operands);
    }
  }
  if (c->event.serves) {
    ref_double_pull(d, (int)m);
    ref_float_pull(f, (int)m);
  }
}

static void compare(const variant *v, int optimizer, uint32_t workers, float weight_decay) {
  tg_schedule_step drops[] = {{150, 0.5}, {300, 0.1}};
  tg_server_options o =
      cluster_options(v->rule, optimizers[optimizer], workers, PARAMETERS, PUSHES);
  o.schedule = (tg_schedule){.lr = 0.05, .steps = drops, .count = 2, .warmup_epochs = 50};
  o.hyper.lambda = v->lambda;
  o.hyper.cap = v->cap;
  o.hyper.weight_decay = weight_decay;
  o.global_state = v->global;
  o.eval_every = 37; /* so that some pulls come later than their push */
  ref_settings set = {
      v->reference, (ref_optimizer)optimizer, v->global,  v->lambda,   0.95, 1e-7, v->cap,
      0.9,          o.hyper.weight_decay,     PARAMETERS, (int)workers};
  cluster c;
  ref_double d, step;
  ref_float f;
  cluster_open(&c, &o);
  ref_double_open(&d, &set, c.w0);
  ref_double_open(&step, &set, c.w0);
  ref_float_open(&f, &set, c.w0);
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(workers, turn, 6) + 1) / 2 * (float)workers) % workers;
    while (!cluster_busy(&c, m)) m = (m + 1) % workers;
    answer_all(&c, &d, &f, &step, m);
  }
  ck_assert_uint_eq(tg_server_state_of(c.server).update, PUSHES);
  double to_double = error_to(&c, d.w), to_float = error_to_float(&c, f.w);
  ck_assert_msg(to_double <= 1e-6 && to_float <= 1e-6,
                "%s, %s, %u workers: error %.2g to double, %.2g to float", v->rule,
                optimizers[optimizer], workers, to_double, to_float);
  ref_double_close(&d);
  ref_double_close(&step);
  ref_float_close(&f);
  cluster_close(&c);
}

START_TEST(against_the_reference) {
  for (int optimizer = 0; optimizer < 3; optimizer++)
    for (uint32_t workers = 4; workers <= 8; workers += 4)
      for (int decay = 0; decay < 2; decay++)
        compare(&variants[_i], optimizer, workers, decay ? 1e-2f : 0);
}
END_TEST

/* What our weights would be with another implementation's mistake. */
static double mistaken(ref_rule rule, uint32_t workers) {
  tg_server_options o = cluster_options("dc-asgd-c", "sgd", workers, PARAMETERS, 200);
  o.hyper.lambda = 1;
  ref_settings set = {.rule = rule, .lambda = 1, .n = PARAMETERS, .workers = (int)workers};
  cluster c;
  ref_double d;
  ref_float f;
  cluster_open(&c, &o);
  ref_double_open(&d, &set, c.w0);
  ref_float_open(&f, &set, c.w0);
  for (uint32_t turn = 0; !tg_server_finished(c.server); turn++)
    if (cluster_busy(&c, turn % workers)) answer_all(&c, &d, &f, NULL, turn % workers);
  double error = error_to(&c, d.w);
  ref_double_close(&d);
  ref_float_close(&f);
  cluster_close(&c);
  return error;
}

START_TEST(mistakes_of_others) {
  ck_assert(mistaken(REF_DC_C, 4) <= 1e-6);
  ck_assert(mistaken(REF_DC_C, 1) <= 1e-6);
  /* MXNet keeps one backup for all workers: it compensates the last step only, and does so even
   * where nothing is late. */
  ck_assert(mistaken(REF_MXNET, 4) > 1e-3);
  ck_assert(mistaken(REF_MXNET, 1) > 1e-3);
  /* The authors' code begins with backups of zero: the first gap is the whole of the weights. */
  ck_assert(mistaken(REF_MULTIVERSO, 4) > 1e-3);
  ck_assert(mistaken(REF_MULTIVERSO, 1) > 1e-3);
}
END_TEST

/* The backup is what the worker pulled, also where another's push came between push and pull. */
START_TEST(backup_is_written_at_the_pull) {
  tg_server_options o = cluster_options("dc-asgd-c", "sgd", 2, 1, 100);
  o.eval_every = 1;
  cluster c;
  cluster_open(&c, &o);
  tg_server_state t = tg_server_state_of(c.server);
  ck_assert(cluster_answer(&c, 0, 0) == TG_OK); /* worker 0 is asked to evaluate */
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_EVALUATE);
  float snapshot = t.w[0];
  ck_assert(t.bak[0][0] == snapshot);
  ck_assert(cluster_answer(&c, 1, 0) == TG_OK); /* another push */
  ck_assert(t.w[0] != snapshot && t.bak[0][0] == snapshot);
  ck_assert(cluster_answer(&c, 0, 0) == TG_OK); /* evaluated: worker 0 pulls */
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_WEIGHTS);
  ck_assert(c.event.serves && !c.event.applied);
  ck_assert(t.bak[0][0] == t.w[0]);
  ck_assert_uint_eq(c.inbox[0].version, 2);
  cluster_close(&c);
}
END_TEST

/* ---- identities, bit for bit ---- */

/* Final weights after a whole run. */
static void run_to(tg_server_options *o, uint64_t seed, float *w) {
  cluster c;
  cluster_open(&c, o);
  cluster_run(&c, seed, UINT64_MAX);
  memcpy(w, tg_server_state_of(c.server).w, o->n * sizeof *w);
  cluster_close(&c);
}

START_TEST(one_worker_is_sgd) {
  const char *rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};
  for (int k = 0; k < 3; k++) {
    tg_server_options o = cluster_options("sgd", optimizers[k], 1, 1100, 80);
    float expected[1100], w[1100];
    o.hyper.weight_decay = 1e-3f;
    run_to(&o, 1, expected);
    for (int i = 0; i < 3; i++) {
      ck_assert_int_eq(tg_rule_find(rules[i], &o.rule), TG_OK);
      o.hyper.lambda = 5;
      run_to(&o, 1, w);
      ck_assert_msg(memcmp(w, expected, sizeof w) == 0, "%s is not sgd", rules[i]);
    }
  }
}
END_TEST

START_TEST(lambda_zero_is_asgd) {
  const char *rules[] = {"dc-asgd-c", "dc-asgd-a"};
  for (int k = 0; k < 3; k++) {
    tg_server_options o = cluster_options("asgd", optimizers[k], 5, 1100, 80);
    float expected[1100], w[1100];
    run_to(&o, 2, expected);
    for (int i = 0; i < 2; i++) {
      ck_assert_int_eq(tg_rule_find(rules[i], &o.rule), TG_OK);
      o.hyper.lambda = 0;
      run_to(&o, 2, w);
      ck_assert_mem_eq(w, expected, sizeof w);
      o.hyper.lambda = 1; /* and the comparison is not empty */
      run_to(&o, 2, w);
      ck_assert_mem_ne(w, expected, sizeof w);
    }
  }
}
END_TEST

enum { LARGE = 140003 }; /* more than two threads' worth */

/* A few updates of many parameters, in spans of `span`, on `threads` threads. */
static void run_large(size_t span, int threads, float *w, tg_server_event *last) {
  tg_server_options o = cluster_options("dc-asgd-a", "nesterov", 2, LARGE, 4);
  o.hyper.weight_decay = 1e-4f;
  omp_set_num_threads(threads);
  cluster c;
  cluster_open(&c, &o);
  for (uint32_t turn = 0; !tg_server_finished(c.server); turn++)
    if (cluster_busy(&c, turn % 2)) {
      ck_assert(cluster_answer(&c, turn % 2, span) == TG_OK);
      if (c.event.applied) *last = c.event;
    }
  memcpy(w, tg_server_state_of(c.server).w, LARGE * sizeof *w);
  cluster_close(&c);
}

START_TEST(spans_and_threads_change_no_bit) {
  enum { BYTES = LARGE * sizeof(float) };
  const size_t spans[] = {LARGE, 65536, 65537, 1024, 1000, 333};
  float *expected = malloc(BYTES), *w = malloc(BYTES);
  tg_server_event first, event;
  run_large(0, 1, expected, &first);
  ck_assert(first.correction_ratio > 0 && first.gap > 0);
  for (int i = 0; i < 9; i++) {
    int threads = i < 6 ? 2 : i - 5; /* 1, 2, 3 on the whole */
    size_t span = i < 6 ? spans[i] : 0;
    run_large(span, threads, w, &event);
    ck_assert_msg(memcmp(w, expected, BYTES) == 0, "spans of %zu, %d threads", span, threads);
    ck_assert(fabs(event.correction_ratio / first.correction_ratio - 1) < 1e-6);
    ck_assert(fabs(event.gap / first.gap - 1) < 1e-6);
  }
  free(expected);
  free(w);
}
END_TEST

/* ---- what events say ---- */

START_TEST(events_by_hand) {
  /* Two workers, two parameters, lr .5: r, gap, epoch and lr of the second push. */
  tg_server_options o = cluster_options("dc-asgd-c", "sgd", 2, 2, 10);
  o.hyper.lambda = 0.5f;
  o.schedule.lr = 0.5;
  o.batch = 3;
  o.train_count = 12;
  cluster c;
  cluster_open(&c, &o);
  tg_server_state t = tg_server_state_of(c.server);
  float w0[2] = {t.w[0], t.w[1]}, first[2] = {1, -2}, second[2] = {4, 1};
  tg_msg in = {.kind = TG_MSG_PUSH, .samples = 3};
  ck_assert(tg_server_step(c.server, &in, first, NULL, &c.inbox[0], &c.event) == TG_OK);
  ck_assert(c.event.applied && c.event.serves && c.event.update == 1 && c.event.staleness == 0);
  ck_assert(c.event.correction_ratio == 0 && c.event.gap == 0 && c.event.epoch == 0.25);
  in.worker = 1;
  ck_assert(tg_server_step(c.server, &in, second, NULL, &c.inbox[1], &c.event) == TG_OK);
  /* w - w_bak = (-.5, 1); corrections .5*16*-.5 = -4 and .5*1*1 = .5 */
  ck_assert_double_eq_tol(c.event.gap, sqrt((0.25 + 1) / 2), 1e-6);
  ck_assert_double_eq_tol(c.event.correction_ratio, sqrt((16 + 0.25) / (16 + 1)), 1e-6);
  ck_assert_double_eq_tol(t.w[0], w0[0] - 0.5 - 0.5 * (4 - 4), 1e-6);
  ck_assert_double_eq_tol(t.w[1], w0[1] + 1 - 0.5 * (1 + 0.5), 1e-6);
  ck_assert(c.event.staleness == 1 && c.event.epoch == 0.5 && c.event.lr == 0.5);
  cluster_close(&c);
}
END_TEST

START_TEST(statistics_are_folded_in_arrival_order) {
  /* b <- (1-a) b + a s by fold, never through lr, rule or momentum. */
  const tg_fold folds[] = {{0, 2, 2, 0.1f}, {3, 0, 1, 0.5f}};
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 3, 5, 40);
  o.k = 4;
  o.ks = 4;
  o.folds = folds;
  o.fold_count = 2;
  o.schedule.lr = 1e-3;
  cluster c;
  cluster_open(&c, &o);
  float expected[4];
  memcpy(expected, c.b0, sizeof expected);
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)((turn * 7 + turn / 5) % 3);
    if (!cluster_busy(&c, m)) continue;
    ck_assert(cluster_answer(&c, m, 2) == TG_OK);
    if (!c.event.applied) continue;
    expected[0] = (1 - 0.1f) * expected[0] + 0.1f * c.s[2];
    expected[1] = (1 - 0.1f) * expected[1] + 0.1f * c.s[3];
    expected[3] = (1 - 0.5f) * expected[3] + 0.5f * c.s[0];
    ck_assert_mem_eq(tg_server_state_of(c.server).b, expected, sizeof expected);
  }
  ck_assert(expected[2] == c.b0[2]);
  cluster_close(&c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server");
  TCase *tc = tcase_create("server");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, VARIANTS);
  tcase_add_test(tc, mistakes_of_others);
  tcase_add_test(tc, backup_is_written_at_the_pull);
  tcase_add_test(tc, one_worker_is_sgd);
  tcase_add_test(tc, lambda_zero_is_asgd);
  tcase_add_test(tc, spans_and_threads_change_no_bit);
  tcase_add_test(tc, events_by_hand);
  tcase_add_test(tc, statistics_are_folded_in_arrival_order);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
