/* Rules that hold workers, drop gradients or gather them: by hand, identities to the bit, what is
 * refused; on a device too. DEVICE: yes */
#include <math.h>
#include <stdlib.h>

#include "pace.h"
#include "tardigrad/backend.h"

/* Worker m pushes the gradient x, of one parameter, and everybody hears what follows. */
static void push(cluster *c, uint32_t m, float x) {
  tg_msg in = cluster_reply(c, m);
  ck_assert_uint_eq(c->inbox[m].kind, TG_MSG_WEIGHTS);
  ck_assert_msg(tg_server_step(c->server, &in, &x, c->s, &c->inbox[m], &c->event) == TG_OK, "%s",
                tg_status_message());
}

static float w_of(const cluster *c) {
  return cluster_state(c).w[0];
}

static float bak_of(const cluster *c, uint32_t m) {
  return cluster_state(c).bak[m][0];
}

static cluster small(const char *rule, uint64_t number, uint32_t workers, double samples) {
  const pace_row row = {rule, number};
  tg_server_options o = pace_options(&row, "sgd", workers, 1, samples);
  cluster c;
  o.schedule.lr = 0.5;
  cluster_open(&c, &o);
  return c;
}

/* ---- by hand ---- */

START_TEST(ssp_by_hand) {
  cluster c = small("ssp", 1, 3, 100);
  float w0 = w_of(&c);
  push(&c, 0, 1); /* clocks 1 0 0: one ahead is allowed */
  ck_assert(c.event.counts && c.event.applied && c.event.serves && !c.event.held);
  push(&c, 0, 1); /* 2 0 0 */
  ck_assert(c.event.applied && c.event.held && !c.event.serves && c.inbox[0].kind == 0);
  ck_assert_uint_eq(cluster_state(&c).pending[0], TG_SERVER_HELD);
  ck_assert_uint_eq(cluster_release(&c), 0);
  push(&c, 1, 1); /* 2 1 0 */
  ck_assert(c.event.serves);
  push(&c, 1, 1); /* 2 2 0 */
  ck_assert(c.event.held);
  float before = bak_of(&c, 0);
  ck_assert_uint_eq(cluster_release(&c), 0);
  push(&c, 2, 1); /* 2 2 1: one message lets both go on, with the weights of now */
  ck_assert(c.event.serves);
  ck_assert(bak_of(&c, 0) == before);
  ck_assert_uint_eq(cluster_release(&c), 2);
  for (uint32_t m = 0; m < 3; m++) {
    ck_assert_uint_eq(c.inbox[m].kind, TG_MSG_WEIGHTS);
    ck_assert_uint_eq(c.inbox[m].version, 5);
    ck_assert(bak_of(&c, m) == w_of(&c) && w_of(&c) == w0 - 5 * 0.5f);
  }
  ck_assert_uint_eq(c.inbox[0].step, 2);
  push(&c, 0, 1);
  ck_assert(c.event.staleness == 0 && c.event.held);
  push(&c, 2, 1);
  ck_assert(c.event.staleness == 1 && c.event.serves);
  cluster_close(&c);
}
END_TEST

START_TEST(backup_by_hand) {
  const tg_fold fold = {0, 0, 1, 0.5f};
  const pace_row row = {"ssgd-backup", 1};
  tg_server_options o = pace_options(&row, "sgd", 3, 1, 100);
  o.schedule.lr = 0.5;
  o.k = o.ks = 1;
  o.folds = &fold;
  o.fold_count = 1;
  cluster c;
  cluster_open(&c, &o);
  float w0 = w_of(&c), b0 = cluster_state(&c).b[0];
  c.s[0] = 3;
  push(&c, 2, 4);
  ck_assert(c.event.counts && !c.event.applied && c.event.held && c.event.update == 0);
  ck_assert(c.event.epoch == 0 && w_of(&c) == w0 && cluster_state(&c).b[0] == b0);
  ck_assert_uint_eq(cluster_state(&c).gathered, 1);
  ck_assert_uint_eq(cluster_release(&c), 0);
  c.s[0] = 5;
  push(&c, 0, 8); /* the second of two: the mean is applied, both go on */
  ck_assert(c.event.applied && c.event.serves && c.event.update == 1 && c.event.lr == 0.5);
  ck_assert(c.event.epoch == 2 && cluster_state(&c).samples == 2);
  ck_assert(w_of(&c) == w0 - 0.5f * 6);
  ck_assert(cluster_state(&c).b[0] == 0.5f * b0 + 0.5f * 4);
  ck_assert_uint_eq(cluster_release(&c), 1);
  ck_assert(c.inbox[2].kind == TG_MSG_WEIGHTS && c.inbox[2].version == 1);
  push(&c, 1, 1000); /* too late: dropped, and answered at once */
  ck_assert(c.event.late && !c.event.counts && !c.event.applied && c.event.serves);
  ck_assert(c.event.staleness == 1 && cluster_state(&c).late == 1);
  ck_assert(w_of(&c) == w0 - 3 && bak_of(&c, 1) == w_of(&c));
  ck_assert(cluster_state(&c).b[0] == 0.5f * b0 + 2 && cluster_state(&c).samples == 2);
  ck_assert(c.inbox[1].version == 1 && c.inbox[1].step == 1);
  push(&c, 1, 2); /* in time for this round */
  push(&c, 2, 4);
  ck_assert(c.event.applied && w_of(&c) == w0 - 3 - 0.5f * 3);
  cluster_close(&c);
}
END_TEST

START_TEST(ringmaster_by_hand) {
  cluster c = small("ringmaster", 2, 3, 100);
  float w0 = w_of(&c);
  push(&c, 0, 1);
  push(&c, 1, 1); /* delay 1 < 2 */
  ck_assert(c.event.applied && c.event.staleness == 1);
  push(&c, 2, 1000); /* delay 2 */
  ck_assert(c.event.late && c.event.serves && !c.event.counts && c.event.staleness == 2);
  ck_assert(w_of(&c) == w0 - 1 && bak_of(&c, 2) == w_of(&c) && c.inbox[2].version == 2);
  push(&c, 2, 1);
  ck_assert(c.event.applied && c.event.staleness == 0);
  tg_server_state t = cluster_state(&c);
  ck_assert(t.update == 3 && t.samples == 3 && t.late == 1 && t.issued == 6);
  cluster_close(&c);
}
END_TEST

/* A gradient that is not finite is asked for again, whatever the rule; it is no turn of the clock.
 */
START_TEST(nonfinite_by_hand) {
  cluster c = small("ssp", 0, 2, 100);
  push(&c, 0, 1);
  ck_assert(c.event.held && cluster_push_nonfinite(&c, 1) == TG_OK);
  ck_assert(c.event.serves && c.event.nonfinite && cluster_state(&c).clock[1] == 0);
  ck_assert_uint_eq(cluster_release(&c), 0);
  push(&c, 1, 1);
  ck_assert_uint_eq(cluster_release(&c), 1);
  cluster_close(&c);
  c = small("ssgd-backup", 0, 2, 100);
  push(&c, 0, 1);
  ck_assert(cluster_push_nonfinite(&c, 1) == TG_OK && c.event.serves);
  ck_assert_uint_eq(cluster_release(&c), 0);
  push(&c, 1, 1);
  ck_assert(c.event.applied && cluster_release(&c) == 1);
  cluster_close(&c);
}
END_TEST

/* With s = 0 everybody reads the weights of the barrier, also while one of them evaluates. */
START_TEST(a_barrier_waits_for_an_evaluation) {
  const pace_row row = {"ssp", 0};
  tg_server_options o = pace_options(&row, "sgd", 3, 1, 100);
  cluster c;
  o.eval_every = 2;
  cluster_open(&c, &o);
  push(&c, 0, 1);
  push(&c, 1, 1);
  ck_assert_uint_eq(c.inbox[1].kind, TG_MSG_EVALUATE);
  push(&c, 2, 1);
  ck_assert(c.event.held && cluster_release(&c) == 0);
  cluster_must(&c, 1);
  ck_assert(c.event.evaluated && c.event.serves && cluster_release(&c) == 2);
  for (uint32_t m = 0; m < 3; m++) ck_assert(c.inbox[m].version == 3 && bak_of(&c, m) == w_of(&c));
  cluster_close(&c);
}
END_TEST

/* ---- identities ---- */

enum { PARAMETERS = 1100, GRADIENTS = 240 };

static const char *const optimizers[] = {"sgd", "momentum", "nesterov"};

/* Final weights of a run; lr is divided by `part`. */
static void run_to(const pace_row *row, const char *optimizer, uint32_t workers, uint64_t seed,
                   float part, float *w) {
  tg_server_options o = pace_options(row, optimizer, workers, PARAMETERS, GRADIENTS);
  cluster c;
  o.schedule.lr /= part;
  o.hyper.weight_decay = 1e-3f;
  cluster_open(&c, &o);
  cluster_run(&c, seed, UINT64_MAX);
  memcpy(w, cluster_state(&c).w, PARAMETERS * sizeof *w);
  cluster_close(&c);
}

START_TEST(without_a_bound_is_asgd) {
  const pace_row asgd = {"asgd", 0}, rows[] = {{"ssp", PACE_NONE}, {"ringmaster", PACE_NONE}};
  float expected[PARAMETERS], w[PARAMETERS];
  for (int k = 0; k < 3; k++)
    for (uint32_t workers = 1; workers <= 9; workers += 4) {
      run_to(&asgd, optimizers[k], workers, 5, 1, expected);
      for (int i = 0; i < 2; i++) {
        run_to(&rows[i], optimizers[k], workers, 5, 1, w);
        ck_assert_mem_eq(w, expected, sizeof w);
      }
    }
  /* And the comparison is not empty. */
  const pace_row bound = {"ssp", 1}, threshold = {"ringmaster", 3};
  run_to(&bound, "sgd", 9, 5, 1, w);
  ck_assert_mem_ne(w, expected, sizeof w);
  run_to(&threshold, "sgd", 9, 5, 1, w);
  ck_assert_mem_ne(w, expected, sizeof w);
}
END_TEST

START_TEST(one_worker_is_sgd) {
  const pace_row sgd = {"sgd", 0}, rows[] = {{"ssp", 0}, {"ssgd-backup", 0}, {"ringmaster", 1}};
  float expected[PARAMETERS], w[PARAMETERS];
  for (int k = 0; k < 3; k++) {
    run_to(&sgd, optimizers[k], 1, 5, 1, expected);
    for (int i = 0; i < 3; i++) {
      run_to(&rows[i], optimizers[k], 1, 5, 1, w);
      ck_assert_mem_eq(w, expected, sizeof w);
    }
  }
}
END_TEST

/* Steps of lr/M one after the other at frozen reads are one step with the mean: plain sgd, up to
 * the order of additions. (That ssgd-backup without backups is ssgd is for test_sim_pace.c.) */
START_TEST(a_barrier_is_a_round) {
  const pace_row ssp = {"ssp", 0}, rounds = {"ssgd-backup", 0};
  float expected[PARAMETERS], w[PARAMETERS];
  for (uint32_t workers = 1; workers <= 8; workers++) {
    tg_server_options o =
        pace_options(&rounds, "sgd", workers, PARAMETERS, GRADIENTS / 8 * workers);
    cluster c;
    cluster_open(&c, &o);
    cluster_run(&c, 7, UINT64_MAX);
    memcpy(expected, cluster_state(&c).w, sizeof expected);
    cluster_close(&c);
    o = pace_options(&ssp, "sgd", workers, PARAMETERS, GRADIENTS / 8 * workers);
    o.schedule.lr /= workers;
    cluster_open(&c, &o);
    cluster_run(&c, 9, UINT64_MAX); /* in another order */
    memcpy(w, cluster_state(&c).w, sizeof w);
    cluster_close(&c);
    double error = 0, size = 0;
    for (int i = 0; i < PARAMETERS; i++) {
      error += pow((double)w[i] - (double)expected[i], 2);
      size += pow((double)expected[i], 2);
    }
    ck_assert_msg(sqrt(error / size) < 1e-6, "%u workers: %.3g", workers, sqrt(error / size));
  }
}
END_TEST

/* ---- how it is carried out ---- */

enum { LARGE = 140003 };

/* A few updates of many parameters, in spans of `span`, on a device or on the host. */
static void run_large(const pace_row *row, size_t span, tg_device *device, float *w) {
  tg_server_options o = pace_options(row, "momentum", 4, LARGE, 16);
  cluster c;
  o.device = device;
  o.eval_every = 5;
  cluster_open(&c, &o);
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = pace_next(&c, 4, turn, 0);
    ck_assert_uint_lt(m, 4);
    ck_assert_msg(cluster_answer(&c, m, span) == TG_OK, "%s", tg_status_message());
    cluster_release(&c);
  }
  ck_assert(tg_server_fetch(c.server) == TG_OK);
  memcpy(w, cluster_state(&c).w, LARGE * sizeof *w);
  cluster_close(&c);
}

START_TEST(spans_and_devices_change_no_bit) {
  const pace_row *row = &pace_rows[_i];
  const char *name = getenv("TARDIGRAD_TEST_DEVICE");
  const size_t spans[] = {65536, 1000};
  float *expected = malloc(LARGE * sizeof *expected), *w = malloc(LARGE * sizeof *w);
  tg_device *device = NULL;
  ck_assert_msg(tg_device_open(name ? name : "fake", &device) == TG_OK, "%s", tg_status_message());
  run_large(row, 0, NULL, expected);
  for (int i = 0; i < 2; i++) {
    run_large(row, spans[i], NULL, w);
    ck_assert_mem_eq(w, expected, LARGE * sizeof *w);
  }
  for (int i = 0; i < 2; i++) {
    run_large(row, i ? spans[0] : 0, device, w);
    ck_assert_mem_eq(w, expected, LARGE * sizeof *w);
  }
  tg_device_close(device);
  free(expected);
  free(w);
}
END_TEST

/* ---- what is refused ---- */

START_TEST(bad_options) {
  const struct {
    pace_row row;
    const char *expected;
  } rows[] = {
      {{"ringmaster", 0}, "rule ringmaster would drop every gradient"},
      {{"ssgd-backup", 3}, "rule ssgd-backup: of 3 workers none is left"},
      {{"ssgd-backup", 4}, "rule ssgd-backup: of 3 workers none is left"},
  };
  float w0[4] = {0};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tg_server_options o = pace_options(&rows[i].row, "sgd", 3, 4, 10);
    tg_server *server;
    ck_assert_int_eq(tg_server_create(&o, w0, NULL, &server), TG_ECONFIG);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "%s", tg_status_message());
  }
}
END_TEST

START_TEST(held_workers_may_not_speak) {
  cluster c = small("ssp", 0, 2, 10);
  push(&c, 0, 1);
  tg_msg in = {.kind = TG_MSG_PUSH, .samples = 1, .version = 0, .step = 0}, reply;
  float g = 1;
  ck_assert_int_eq(tg_server_step(c.server, &in, &g, NULL, &reply, &c.event), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(),
                   "server: worker 0 sent a gradient that it was not asked for");
  cluster_close(&c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server pace");
  TCase *tc = tcase_create("pace");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, ssp_by_hand);
  tcase_add_test(tc, backup_by_hand);
  tcase_add_test(tc, ringmaster_by_hand);
  tcase_add_test(tc, nonfinite_by_hand);
  tcase_add_test(tc, a_barrier_waits_for_an_evaluation);
  tcase_add_test(tc, without_a_bound_is_asgd);
  tcase_add_test(tc, one_worker_is_sgd);
  tcase_add_test(tc, a_barrier_is_a_round);
  tcase_add_loop_test(tc, spans_and_devices_change_no_bit, 0, PACE_ROWS);
  tcase_add_test(tc, bad_options);
  tcase_add_test(tc, held_workers_may_not_speak);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
