/* The server's protocol: who is asked what and when, and when the run ends. */
#include <math.h>
#include <stdio.h>

#include "cluster.h"

/* ---- beginning and end ---- */

START_TEST(first_messages) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 3, 4, 10);
  o.k = o.ks = 2;
  cluster c;
  cluster_open(&c, &o);
  tg_server_state t = cluster_state(&c);
  for (uint32_t m = 0; m < 3; m++) {
    ck_assert_uint_eq(c.inbox[m].kind, TG_MSG_WEIGHTS);
    ck_assert_uint_eq(c.inbox[m].worker, m);
    ck_assert(c.inbox[m].version == 0 && c.inbox[m].step == 0 && c.inbox[m].flags == 0);
    ck_assert_mem_eq(t.bak[m], c.w0, 4 * sizeof(float)); /* w_bak(m) = w_0, not zero */
    ck_assert(t.step[m] == 1 && t.pending[m] == TG_MSG_WEIGHTS);
    for (int i = 0; i < 4; i++) ck_assert(t.rule_state[m][i] == 0);
  }
  ck_assert_mem_eq(t.b, c.b0, 2 * sizeof(float));
  ck_assert(t.rule_state_count == 3 && t.slot_count == 1 && t.issued == 3 && t.update == 0);
  for (uint32_t m = 0; m < 3; m++)
    for (uint32_t l = 0; l < m; l++) ck_assert_ptr_ne(t.bak[m], t.bak[l]);
  cluster_close(&c);
  o.global_state = true;
  cluster_open(&c, &o);
  ck_assert_uint_eq(cluster_state(&c).rule_state_count, 1);
  cluster_close(&c);
}
END_TEST

START_TEST(steps_and_versions) {
  tg_server_options o = cluster_options("asgd", "sgd", 2, 4, 10);
  cluster c;
  cluster_open(&c, &o);
  const uint32_t order[] = {0, 0, 1, 0, 1, 1};
  uint64_t steps[2] = {0, 0};
  for (uint64_t i = 0; i < 6; i++) {
    uint32_t m = order[i];
    cluster_must(&c, m);
    ck_assert(c.inbox[m].kind == TG_MSG_WEIGHTS && c.inbox[m].worker == m);
    ck_assert_uint_eq(c.inbox[m].version, i + 1);
    ck_assert_uint_eq(c.inbox[m].step, ++steps[m]);
    ck_assert_mem_eq(cluster_state(&c).bak[m], cluster_state(&c).w, 4 * sizeof(float));
  }
  cluster_close(&c);
}
END_TEST

/* How many updates a run makes, and that it ends well. */
static uint64_t updates_of(tg_server_options *o, uint64_t seed) {
  cluster c;
  cluster_open(&c, o);
  float last[CLUSTER_WORKERS]; /* w_bak of every worker, [1] */
  uint64_t applied = 0, stops = 0, finals = 0;
  for (uint32_t m = 0; m < o->workers; m++) stops += c.inbox[m].kind == TG_MSG_STOP;
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(seed, turn, 3) + 1) * 100) % o->workers;
    while (!cluster_busy(&c, m)) m = (m + 1) % o->workers;
    ck_assert(!c.event.finished);
    last[m] = *cluster_state(&c).bak[m];
    cluster_must(&c, m);
    applied += c.event.applied;
    /* w_bak is written where weights are served, and only there. */
    ck_assert(*cluster_state(&c).bak[m] == (c.event.serves ? *cluster_state(&c).w : last[m]));
    stops += c.inbox[m].kind == TG_MSG_STOP;
    finals += c.event.applied && c.inbox[m].kind == TG_MSG_EVALUATE;
    ck_assert_uint_eq(c.event.update, applied);
    ck_assert(c.event.serves == (c.inbox[m].kind != TG_MSG_STOP));
    ck_assert(c.event.finished == tg_server_finished(c.server));
    ck_assert(c.event.checkpoint_due == c.event.finished);
  }
  ck_assert_uint_eq(stops, o->workers);
  ck_assert_uint_eq(cluster_state(&c).update, applied);
  ck_assert_uint_eq(cluster_state(&c).samples, applied * o->batch);
  ck_assert_uint_eq(cluster_state(&c).issued, applied);
  ck_assert_uint_eq(finals, applied > 0); /* evaluated once, after the last update */
  cluster_close(&c);
  return applied;
}

START_TEST(runs_end_exactly) {
  struct {
    double epochs;
    uint64_t train_count;
    uint32_t batch;
    uint64_t updates;
  } rows[] = {{1, 100, 10, 10},     {1, 101, 10, 11},   {2.5, 100, 10, 25},
              {0.1, 100, 10, 1},    {0.01, 100, 10, 1}, {1.1, 10, 1, 11},
              {0.3, 10, 1, 3},      {0, 100, 10, 0},    {10, 60000, 128, 4688},
              {3, 1, 7, 1},         {1, 1000, 1000, 1}, {0.7, 1000, 100, 7},
              {2.3, 1000, 100, 23}, {1.1, 100, 10, 11}, {16.1, 1000, 100, 161}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    for (uint32_t workers = 1; workers <= 16; workers += 5) {
      tg_server_options o = cluster_options("asgd", "sgd", workers, 1, rows[i].epochs);
      o.train_count = rows[i].train_count;
      o.batch = rows[i].batch;
      ck_assert_uint_eq(updates_of(&o, i), rows[i].updates);
    }
}
END_TEST

START_TEST(a_run_of_nothing_is_evaluated) {
  tg_server_options o = cluster_options("asgd", "sgd", 3, 2, 0);
  o.k = 3;
  cluster c;
  cluster_open(&c, &o);
  ck_assert_mem_eq(cluster_state(&c).b_bak[0], c.b0, 3 * sizeof(float));
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_EVALUATE);
  ck_assert_uint_eq(c.inbox[1].kind, TG_MSG_STOP);
  ck_assert_uint_eq(c.inbox[2].kind, TG_MSG_STOP);
  cluster_must(&c, 0);
  ck_assert(c.event.evaluated && c.event.finished && c.event.checkpoint_due && !c.event.serves);
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_STOP);
  ck_assert_mem_eq(cluster_state(&c).w, c.w0, 2 * sizeof(float));
  cluster_close(&c);
}
END_TEST

START_TEST(bad_options) {
  const tg_fold outside = {3, 0, 2, 0.1f};
  tg_server_options good = cluster_options("asgd", "sgd", 2, 4, 10), o;
  struct {
    const char *expected;
    tg_server_options o;
  } rows[9];
  int count = 0;
#define ROW(text, change)                                                                          \
  o = good;                                                                                        \
  change;                                                                                          \
  rows[count].expected = text;                                                                     \
  rows[count++].o = o
  ROW("rule ssgd is not for a server with 2 workers",
      ck_assert(tg_rule_find("ssgd", &o.rule) == TG_OK));
  ROW("rule sgd is not for a server with 2 workers",
      ck_assert(tg_rule_find("sgd", &o.rule) == TG_OK));
  ROW("0 workers", o.workers = 0);
  ROW("0 parameters", o.n = 0);
  ROW("a batch of 0", o.batch = 0);
  ROW("0 training samples", o.train_count = 0);
  ROW("-1 epochs", o.epochs = -1);
  ROW("nan epochs", o.epochs = NAN);
  ROW("statistics [0,2) folded into [3,5), there are 2 and 4",
      (o.k = 4, o.ks = 2, o.folds = &outside, o.fold_count = 1));
#undef ROW
  float w0[4] = {0}, b0[4] = {0};
  for (int i = 0; i < count; i++) {
    tg_server *server;
    ck_assert_int_eq(tg_server_create(&rows[i].o, w0, b0, &server), TG_ECONFIG);
    ck_assert_ptr_null(server);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "'%s' does not say '%s'",
                  tg_status_message(), rows[i].expected);
  }
}
END_TEST

START_TEST(options_are_copied) {
  tg_schedule_step step = {0, 0.5};
  tg_fold fold = {0, 0, 1, 0.5f};
  tg_server_options o = cluster_options("asgd", "sgd", 1, 2, 10);
  o.schedule.steps = &step;
  o.schedule.count = 1;
  o.k = o.ks = 1;
  o.folds = &fold;
  o.fold_count = 1;
  cluster c;
  cluster_open(&c, &o);
  step.factor = fold.momentum = 1e9f;
  cluster_must(&c, 0);
  ck_assert(c.event.lr == 0.05);
  ck_assert(cluster_state(&c).b[0] == 0.5f * c.b0[0] + 0.5f * c.s[0]);
  cluster_close(&c);
}
END_TEST

/* ---- evaluations and checkpoints ---- */

START_TEST(evaluations_and_checkpoints) {
  /* 100 samples in batches of 10; evaluate every half epoch, checkpoint every .8. */
  tg_server_options o = cluster_options("asgd", "sgd", 3, 2, 2.05);
  o.train_count = 100;
  o.batch = 10;
  o.eval_every = 0.5;
  o.checkpoint_every = 0.8;
  cluster c;
  cluster_open(&c, &o);
  uint64_t evaluations[9], checkpoints[9];
  size_t evals = 0, saves = 0, results = 0;
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = turn % 3;
    if (!cluster_busy(&c, m)) continue;
    bool was_evaluation = c.inbox[m].kind == TG_MSG_EVALUATE;
    cluster_must(&c, m);
    ck_assert(c.event.evaluated == was_evaluation);
    results += c.event.evaluated;
    if (c.inbox[m].kind == TG_MSG_EVALUATE) evaluations[evals++] = c.event.update;
    if (c.event.checkpoint_due) checkpoints[saves++] = c.event.update;
  }
  const uint64_t eval_at[] = {5, 10, 15, 20, 21}, save_at[] = {8, 16, 21};
  ck_assert_uint_eq(evals, 5);
  ck_assert_mem_eq(evaluations, eval_at, sizeof eval_at);
  ck_assert_uint_eq(saves, 3);
  ck_assert_mem_eq(checkpoints, save_at, sizeof save_at);
  ck_assert_uint_eq(results, 5);
  uint64_t samples = cluster_state(&c).samples;
  ck_assert_uint_eq(tg_progress_boundaries(o.eval_every, o.train_count, samples), 4);
  ck_assert_uint_eq(tg_progress_boundaries(o.checkpoint_every, o.train_count, samples), 2);
  cluster_close(&c);
}
END_TEST

START_TEST(no_boundary_is_missed) {
  /* 30 / 100 / .1 is a little less than 3. */
  ck_assert_uint_eq(tg_progress_boundaries(0.1, 100, 30), 3);
  ck_assert_uint_eq(tg_progress_boundaries(0.1, 100, 29), 2);
  ck_assert_uint_eq(tg_progress_boundaries(1.1, 50000, 165000), 3);
  ck_assert_uint_eq(tg_progress_boundaries(1, 60000, 59999), 0);
  ck_assert_uint_eq(tg_progress_boundaries(0, 60000, 60000), 0);
  tg_server_options o = cluster_options("asgd", "sgd", 1, 2, 2);
  o.train_count = 100;
  o.batch = 10;
  o.eval_every = 0.1;
  o.checkpoint_every = 1;
  cluster c;
  cluster_open(&c, &o);
  for (uint64_t i = 1; i <= 20; i++) {
    cluster_must(&c, 0);
    ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_EVALUATE);
    ck_assert(c.event.update == i && c.event.checkpoint_due == (i == 10));
    cluster_must(&c, 0);
    ck_assert(c.event.evaluated && c.event.checkpoint_due == (i == 20));
  }
  ck_assert(c.event.finished);
  cluster_close(&c);
}
END_TEST

START_TEST(rate_of_each_update) {
  /* 4 updates an epoch: ramp over the first, a tenth from epoch 2 on. */
  tg_schedule_step drop = {2, 0.1};
  tg_server_options o = cluster_options("asgd", "sgd", 3, 2, 3);
  o.train_count = 40;
  o.batch = 10;
  o.schedule = (tg_schedule){.lr = 1, .steps = &drop, .count = 1, .warmup_epochs = 1};
  const double expected[] = {0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1};
  cluster c;
  cluster_open(&c, &o);
  for (uint32_t i = 0; i < 12; i++) {
    cluster_must(&c, i % 3);
    ck_assert_double_eq_tol(c.event.lr, expected[i], 1e-12);
    ck_assert_double_eq_tol(c.event.epoch, (i + 1) / 4.0, 1e-12);
  }
  cluster_close(&c);
}
END_TEST

START_TEST(evaluations_overlap) {
  /* A slow evaluation does not hold up the next one, and the snapshots stay apart. */
  const tg_fold fold = {0, 0, 1, 0.5f};
  tg_server_options o = cluster_options("asgd", "sgd", 3, 2, 10);
  o.k = o.ks = 1;
  o.folds = &fold;
  o.fold_count = 1;
  o.eval_every = 2;
  cluster c;
  cluster_open(&c, &o);
  tg_server_state t = cluster_state(&c);
  float w[2][2], b[2];
  for (uint32_t m = 0; m < 2; m++) {
    cluster_must(&c, 2);
    ck_assert_uint_eq(c.inbox[2].kind, TG_MSG_WEIGHTS);
    cluster_must(&c, m);
    ck_assert_uint_eq(c.inbox[m].kind, TG_MSG_EVALUATE);
    ck_assert_uint_eq(c.inbox[m].version, 2 * m + 2);
    memcpy(w[m], t.w, sizeof w[m]);
    b[m] = t.b[0];
  }
  cluster_must(&c, 2);
  for (int m = 0; m < 2; m++) {
    ck_assert_mem_eq(t.bak[m], w[m], sizeof w[m]);
    ck_assert(t.b_bak[m][0] == b[m]);
  }
  ck_assert(b[0] != b[1] && t.b[0] != b[1]);
  cluster_must(&c, 0);
  ck_assert(c.event.evaluated && c.event.serves && c.inbox[0].kind == TG_MSG_WEIGHTS);
  ck_assert_uint_eq(c.inbox[0].version, 5);
  ck_assert_mem_eq(t.bak[0], t.w, sizeof w[0]);
  cluster_run(&c, 4, UINT64_MAX);
  ck_assert_uint_eq(cluster_state(&c).update, 10);
  cluster_close(&c);
}
END_TEST

/* ---- gradients that are not finite ---- */

START_TEST(nonfinite_is_dropped) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 2, 3, 6);
  cluster c;
  cluster_open(&c, &o);
  cluster_must(&c, 1);
  float before[3];
  memcpy(before, cluster_state(&c).w, sizeof before);
  ck_assert(cluster_push_nonfinite(&c, 0) == TG_OK);
  ck_assert(c.event.nonfinite && c.event.serves && !c.event.applied && !c.event.checkpoint_due);
  ck_assert(c.event.update == 1 && cluster_state(&c).update == 1 &&
            cluster_state(&c).nonfinite == 1);
  ck_assert_mem_eq(cluster_state(&c).w, before, sizeof before);
  ck_assert_mem_eq(cluster_state(&c).bak[0], before,
                   sizeof before); /* still answered with weights */
  ck_assert(c.inbox[0].kind == TG_MSG_WEIGHTS && c.inbox[0].version == 1);
  ck_assert_uint_eq(c.inbox[0].step, 1); /* of the next batch */
  /* Near the end, when the other worker has stopped, the run still gets all of its updates. */
  while (cluster_busy(&c, 1) && c.inbox[1].kind == TG_MSG_WEIGHTS) cluster_must(&c, 1);
  ck_assert_uint_eq(cluster_state(&c).update, 5);
  ck_assert(cluster_push_nonfinite(&c, 0) == TG_OK && c.inbox[0].kind == TG_MSG_WEIGHTS);
  ck_assert(cluster_push_nonfinite(&c, 0) == TG_OK && c.inbox[0].kind == TG_MSG_WEIGHTS);
  cluster_run(&c, 1, UINT64_MAX);
  ck_assert(cluster_state(&c).update == 6 && cluster_state(&c).nonfinite == 3 && c.event.finished);
  cluster_close(&c);
}
END_TEST

START_TEST(too_many_nonfinite) {
  tg_server_options o = cluster_options("asgd", "sgd", 3, 3, 100);
  o.max_nonfinite = 2;
  cluster c;
  cluster_open(&c, &o);
  cluster_run(&c, 9, 20);
  for (int i = 0; i < 3; i++) cluster_must(&c, 0); /* so that worker 2 is late */
  uint64_t late = cluster_state(&c).update - c.inbox[2].version;
  ck_assert(cluster_push_nonfinite(&c, 0) == TG_OK);
  ck_assert(cluster_push_nonfinite(&c, 1) == TG_OK);
  ck_assert_int_eq(cluster_push_nonfinite(&c, 2), TG_EDIVERGED);
  char expected[200];
  snprintf(expected, sizeof expected,
           "diverged: 3 gradients were not finite (train.max_nonfinite = 2); the last one from "
           "worker 2 at update 23, staleness %d (mean ",
           (int)late);
  ck_assert_msg(strncmp(tg_status_message(), expected, strlen(expected)) == 0, "%s",
                tg_status_message());
  ck_assert(c.event.nonfinite && !c.event.applied && !c.event.serves && c.event.update == 23);
  /* What is saved now is whole: the server takes its own state back. */
  tg_server_state t = cluster_state(&c);
  ck_assert_msg(tg_server_restored(c.server, &t) == TG_OK, "%s", tg_status_message());
  cluster_close(&c);
  o.max_nonfinite = 0;
  cluster_open(&c, &o);
  ck_assert_int_eq(cluster_push_nonfinite(&c, 1), TG_EDIVERGED);
  ck_assert(strstr(tg_status_message(), "worker 1 at update 0, staleness 0 (mean 0.00)"));
  cluster_close(&c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server protocol");
  TCase *tc = tcase_create("protocol");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, first_messages);
  tcase_add_test(tc, steps_and_versions);
  tcase_add_test(tc, runs_end_exactly);
  tcase_add_test(tc, a_run_of_nothing_is_evaluated);
  tcase_add_test(tc, bad_options);
  tcase_add_test(tc, options_are_copied);
  tcase_add_test(tc, evaluations_and_checkpoints);
  tcase_add_test(tc, no_boundary_is_missed);
  tcase_add_test(tc, rate_of_each_update);
  tcase_add_test(tc, evaluations_overlap);
  tcase_add_test(tc, nonfinite_is_dropped);
  tcase_add_test(tc, too_many_nonfinite);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
