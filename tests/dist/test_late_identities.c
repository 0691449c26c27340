/* Rules that are more than a change of the gradient: identities, bit for bit, and what defines
 * each, by hand. */
#include <math.h>

#include "../support/fixture.h"
#include "cluster.h"
#include "late.h"

/* ---- identities, bit for bit ---- */

/* Final weights after a whole run of `workers`. */
static void run_to(const char *rule, const char *optimizer, tg_server_options o, float *w) {
  cluster c;
  ck_ok(tg_rule_find(rule, &o.rule));
  ck_ok(tg_optimizer_find(optimizer, &o.optimizer));
  cluster_open(&c, &o);
  cluster_run(&c, 4, UINT64_MAX);
  memcpy(w, cluster_state(&c).w, o.n * sizeof *w);
  cluster_close(&c);
}

static const char *const optimizers[] = {"sgd", "momentum", "nesterov"};

START_TEST(one_worker_is_sgd) {
  const char *rules[] = {"staleness-lr", "gap-aware", "xgrad"};
  float expected[700], w[700];
  for (int k = 0; k < 3; k++) {
    tg_server_options o = cluster_options("asgd", optimizers[k], 1, 700, 90);
    o.hyper.weight_decay = 1e-3f;
    o.eval_every = 8;
    run_to("sgd", optimizers[k], o, expected);
    for (int i = 0; i < 3; i++) {
      run_to(rules[i], optimizers[k], o, w);
      ck_assert_msg(memcmp(w, expected, sizeof w) == 0, "%s, %s is not sgd", rules[i],
                    optimizers[k]);
    }
  }
}
END_TEST

START_TEST(one_worker_of_dana_is_nesterov) {
  tg_server_options o = cluster_options("asgd", "sgd", 1, 700, 90);
  float expected[700], w[700];
  o.hyper.weight_decay = 1e-2f;
  o.eval_every = 8;
  run_to("sgd", "nesterov", o, expected);
  run_to("dana-slim", "sgd", o, w);
  ck_assert_mem_eq(w, expected, sizeof w);
}
END_TEST

/* The paper's form: the worker keeps the velocity and sends g + mu v; the server is plain asgd. */
START_TEST(dana_at_the_worker_is_the_same) {
  enum { N = 40, WORKERS = 5 };
  tg_server_options o = cluster_options("dana-slim", "sgd", WORKERS, N, 200);
  cluster server, worker;
  float velocity[WORKERS][N] = {{0}};
  cluster_open(&server, &o);
  ck_ok(tg_rule_find("asgd", &o.rule));
  cluster_open(&worker, &o);
  for (uint64_t turn = 0; !tg_server_finished(server.server); turn++) {
    uint32_t m = (uint32_t)((turn * 7 + turn / 5 + turn / 11) % WORKERS);
    if (!cluster_busy(&server, m)) continue;
    if (server.inbox[m].kind == TG_MSG_WEIGHTS) {
      tg_msg in = cluster_reply(&worker, m);
      cluster_gradient(&worker, m, worker.g);
      for (int i = 0; i < N; i++) {
        velocity[m][i] = 0.9f * velocity[m][i] + worker.g[i];
        worker.g[i] += 0.9f * velocity[m][i];
      }
      ck_ok(tg_server_step(worker.server, &in, worker.g, NULL, &worker.inbox[m], &worker.event));
    } else {
      cluster_must(&worker, m);
    }
    cluster_must(&server, m);
    ck_assert_mem_eq(cluster_state(&server).w, cluster_state(&worker).w, N * sizeof(float));
  }
  cluster_close(&server);
  cluster_close(&worker);
}
END_TEST

START_TEST(no_prediction_is_asgd) {
  float expected[700], w[700];
  for (int k = 0; k < 3; k++) {
    tg_server_options o = cluster_options("asgd", optimizers[k], 5, 700, 90);
    o.eval_every = 8;
    run_to("asgd", optimizers[k], o, expected);
    o.hyper.prediction_steps = 0;
    run_to("xgrad", optimizers[k], o, w);
    ck_assert_mem_eq(w, expected, sizeof w);
    o.hyper.prediction_steps = 4; /* and the comparison is not empty */
    run_to("xgrad", optimizers[k], o, w);
    ck_assert_mem_ne(w, expected, sizeof w);
  }
}
END_TEST

/* Whatever the spans in which a push comes. */
START_TEST(spans_change_no_bit) {
  enum { N = 1700 };
  tg_server_options o = cluster_options(late_rows[_i].rule, late_rows[_i].optimizer, 3, N, 30);
  cluster whole, spans;
  o.eval_every = 7;
  cluster_open(&whole, &o);
  cluster_open(&spans, &o);
  for (uint32_t turn = 0; !tg_server_finished(whole.server); turn++) {
    uint32_t m = (turn + turn / 4) % 3;
    if (!cluster_busy(&whole, m)) continue;
    cluster_must(&whole, m);
    ck_ok(cluster_answer(&spans, m, 333));
    tg_server_state a = cluster_state(&whole), b = cluster_state(&spans);
    ck_assert_mem_eq(a.w, b.w, N * sizeof(float));
    for (uint32_t k = 0; k < 3; k++) ck_assert_mem_eq(a.bak[k], b.bak[k], N * sizeof(float));
    for (size_t k = 0; k < a.rule_state_count; k++)
      ck_assert_mem_eq(a.rule_state[k], b.rule_state[k], N * sizeof(float));
  }
  cluster_close(&whole);
  cluster_close(&spans);
}
END_TEST

/* ---- what defines them ---- */

START_TEST(the_rate_is_divided_by_the_staleness) {
  tg_schedule_step half = {60, 0.5};
  tg_server_options o = cluster_options("staleness-lr", "sgd", 6, 3, 120);
  cluster c;
  uint64_t late = 0;
  o.schedule = (tg_schedule){.lr = 0.3, .steps = &half, .count = 1};
  cluster_open(&c, &o);
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)(turn % 9 < 6 ? turn % 9 : turn % 2);
    if (!cluster_busy(&c, m)) continue;
    float before = cluster_state(&c).w[0], g[3];
    cluster_gradient(&c, m, g);
    cluster_must(&c, m);
    if (!c.event.applied) continue;
    double lr = c.event.update <= 60 ? 0.3 : 0.15, tau = (double)c.event.staleness;
    lr = tau < 1 ? lr : lr / tau;
    ck_assert(c.event.lr == lr);
    ck_assert_double_eq_tol(cluster_state(&c).w[0], before - lr * g[0], 1e-6);
    late += tau > 1;
  }
  ck_assert_uint_gt(late, 60);
  cluster_close(&c);
}
END_TEST

/* Fixed staleness, a constant gradient, plain SGD: a gradient is applied to the very weights that
 * it was computed at. All numbers are small multiples of powers of two. */
START_TEST(predicted_weights_are_those_applied_to) {
  enum { N = 30, WORKERS = 5 };
  tg_server_options o = cluster_options("xgrad", "sgd", WORKERS, N, 300);
  cluster c;
  o.schedule.lr = 0.125;
  o.eval_every = 0;
  cluster_open(&c, &o);
  for (size_t i = 0; i < N; i++) cluster_state(&c).w[i] = (float)i;
  for (uint32_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = turn % WORKERS;
    if (!cluster_busy(&c, m)) continue;
    tg_msg in = cluster_reply(&c, m);
    for (size_t i = 0; i < N; i++) c.g[i] = (float)i - 15;
    ck_ok(tg_server_step(c.server, &in, c.g, NULL, &c.inbox[m], &c.event));
    if (!c.event.applied || turn < WORKERS) continue;
    ck_assert(turn + 1 == 300 || c.event.staleness == WORKERS - 1);
    ck_assert(c.event.gap == 0);
  }
  cluster_close(&c);
}
END_TEST

/* Penalties by hand: the mean of squared steps, and 1 + gap / its root. */
START_TEST(penalty_by_hand) {
  tg_server_options o = cluster_options("gap-aware", "sgd", 3, 1, 10);
  cluster c;
  o.schedule.lr = 0.5;
  o.hyper.step_decay = 0.75f;
  cluster_open(&c, &o);
  tg_server_state t = cluster_state(&c);
  double w = t.w[0], start = w;
  const float gs[] = {1, 3, -2};
  double squares = 0, gap[3] = {0, 0.5, 0};
  for (uint32_t m = 0; m < 3; m++) {
    float g = gs[m];
    tg_msg in = cluster_reply(&c, m);
    gap[m] = fabs(w - start);
    double penalised = gs[m] / (1 + (m ? gap[m] / sqrt(squares) : 0)), step = 0.5 * penalised;
    double take = m < 3 ? 1.0 / (m + 1) : 0.25;
    squares = (1 - take) * squares + take * step * step;
    w -= step;
    ck_ok(tg_server_step(c.server, &in, &g, NULL, &c.inbox[m], &c.event));
    ck_assert_double_eq_tol(t.w[0], w, 1e-6);
    ck_assert_double_eq_tol(t.rule_state[0][0], squares, 1e-6);
    ck_assert_double_eq_tol(c.event.correction_ratio, fabs(penalised / gs[m] - 1), 1e-6);
    ck_assert_double_eq_tol(c.event.gap, gap[m], 1e-6);
  }
  cluster_close(&c);
}
END_TEST

/* Evaluations are of w, whatever is served. */
START_TEST(evaluates_the_weights) {
  tg_server_options o = cluster_options(late_rows[_i].rule, late_rows[_i].optimizer, 3, 20, 60);
  cluster c;
  uint64_t evaluations = 0;
  o.eval_every = 4;
  cluster_open(&c, &o);
  for (uint32_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = turn % 3;
    if (!cluster_busy(&c, m)) continue;
    cluster_must(&c, m);
    if (c.inbox[m].kind != TG_MSG_EVALUATE) continue;
    ck_assert_mem_eq(cluster_state(&c).bak[m], cluster_state(&c).w, 20 * sizeof(float));
    evaluations++;
  }
  ck_assert_uint_eq(evaluations, 15);
  cluster_close(&c);
}
END_TEST

START_TEST(refuses_other_optimisers) {
  const char *rules[] = {"dana-slim", "dave-rpg", "easgd"};
  tg_server_options o = cluster_options("asgd", "momentum", 2, 3, 10);
  tg_server *server;
  float w[3] = {0};
  for (int i = 0; i < 3; i++) {
    ck_ok(tg_rule_find(rules[i], &o.rule));
    ck_assert_int_eq(tg_server_create(&o, w, NULL, &server), TG_ECONFIG);
    ck_assert_ptr_nonnull(strstr(tg_status_message(), "optimizer.name=sgd only"));
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("late rules, identities");
  TCase *tc = tcase_create("late rules, identities");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, one_worker_is_sgd);
  tcase_add_test(tc, one_worker_of_dana_is_nesterov);
  tcase_add_test(tc, dana_at_the_worker_is_the_same);
  tcase_add_test(tc, no_prediction_is_asgd);
  tcase_add_loop_test(tc, spans_change_no_bit, 0, LATE_ROWS);
  tcase_add_test(tc, the_rate_is_divided_by_the_staleness);
  tcase_add_test(tc, predicted_weights_are_those_applied_to);
  tcase_add_test(tc, penalty_by_hand);
  tcase_add_loop_test(tc, evaluates_the_weights, 0, LATE_ROWS);
  tcase_add_test(tc, refuses_other_optimisers);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0);
}
