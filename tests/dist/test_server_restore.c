/* What a checkpoint of the server holds: a run that was preempted, or restored at any point, goes
 * on bit for bit; what contradicts itself is refused. */
#include "cluster.h"

/* The same messages to both, in the same order: every event and every bit must agree. */
static void continue_both(cluster *a, cluster *b) {
  for (uint64_t turn = 0; !tg_server_finished(a->server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(6, turn, 6) + 1) * 100) % a->o.workers;
    while (!cluster_busy(a, m)) m = (m + 1) % a->o.workers;
    cluster_must(a, m);
    cluster_must(b, m);
    ck_assert_mem_eq(&a->event, &b->event, sizeof a->event);
    ck_assert_mem_eq(&a->inbox[m], &b->inbox[m], sizeof a->inbox[m]);
    ck_assert_mem_eq(cluster_state(a).w, cluster_state(b).w, a->o.n * sizeof(float));
    ck_assert_mem_eq(cluster_state(a).b, cluster_state(b).b, a->o.k * sizeof(float));
    ck_assert_mem_eq(cluster_state(a).b_bak[m], cluster_state(b).b_bak[m], a->o.k * sizeof(float));
  }
  ck_assert(tg_server_finished(b->server));
}

static const struct {
  const char *rule, *optimizer;
} variants[] = {{"asgd", "sgd"},      {"dc-asgd-c", "momentum"}, {"dc-asgd-a", "nesterov"},
                {"dc-asgd-a", "sgd"}, {"staleness-lr", "sgd"},   {"gap-aware", "momentum"},
                {"dana-slim", "sgd"}, {"xgrad", "nesterov"},     {"xgrad", "sgd"},
                {"dave-rpg", "sgd"},  {"easgd", "sgd"}};

enum { VARIANTS = sizeof variants / sizeof *variants };

/* Those, then every optimiser. */
START_TEST(restored_bit_for_bit) {
  static const tg_fold fold = {0, 0, 2, 0.1f};
  bool listed = _i < VARIANTS;
  tg_server_options o = cluster_options(
      listed ? variants[_i].rule : "dc-asgd-a",
      listed ? variants[_i].optimizer : tg_optimizers[_i - VARIANTS]->name, 5, 33, 120);
  o.global_state = _i == 3;
  o.k = o.ks = 2;
  o.folds = &fold;
  o.fold_count = 1;
  o.eval_every = 9;
  o.checkpoint_every = 20;
  bool evaluating = false;
  for (uint64_t at = 0; at <= 120; at += 7) {
    cluster a, b;
    cluster_open(&a, &o);
    cluster_run(&a, 11, at);
    if (cluster_busy(&a, 2) && a.inbox[2].kind == TG_MSG_WEIGHTS)
      ck_assert(cluster_push_nonfinite(&a, 2) == TG_OK);
    cluster_saved s = cluster_save(&a);
    for (uint32_t m = 0; m < 5; m++) evaluating |= cluster_state(&a).pending[m] == TG_MSG_EVALUATE;
    tg_msg told[5];
    memcpy(told, a.inbox, sizeof told);
    cluster_open(&b, &o);
    ck_assert_msg(cluster_load(&b, &s) == TG_OK, "%s", tg_status_message());
    cluster_start(&b);
    ck_assert_mem_eq(b.inbox, told, sizeof told); /* asked the same, of the same version and step */
    continue_both(&a, &b);
    ck_assert_uint_eq(cluster_state(&a).nonfinite, cluster_state(&b).nonfinite);
    ck_assert_uint_eq(cluster_state(&b).samples, 120);
    cluster_drop(&s);
    cluster_close(&a);
    cluster_close(&b);
  }
  ck_assert(evaluating); /* some of the checkpoints fell into an evaluation */
}
END_TEST

START_TEST(preempted_state_is_whole) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 4, 9, 60);
  o.eval_every = 10;
  cluster a, b;
  cluster_open(&a, &o);
  cluster_run(&a, 3, 30); /* the 30th update: some worker evaluates */
  tg_server_preempt(a.server);
  cluster_saved now = cluster_save(&a);
  tg_msg told[4];
  memcpy(told, a.inbox, sizeof told);
  for (uint32_t m = 0; m < 4; m++) {
    if (m == 1) {
      ck_assert(cluster_push_nonfinite(&a, 1) == TG_OK); /* not counted either */
    } else {
      cluster_must(&a, m);
    }
    ck_assert(a.inbox[m].kind == TG_MSG_STOP && a.inbox[m].flags == TG_FLAG_PREEMPT);
    ck_assert(!a.event.applied && !a.event.serves && !a.event.evaluated && !a.event.nonfinite);
    ck_assert(a.event.finished == (m == 3) && a.event.checkpoint_due == (m == 3));
    ck_assert_uint_eq(a.event.update, 30);
  }
  cluster_saved later = cluster_save(&a); /* saving now or at the end is the same */
  ck_assert_mem_eq(now.numbers, later.numbers, 12 * sizeof(uint64_t));
  ck_assert_mem_eq(now.vectors, later.vectors, 9 * 10 * sizeof(float));
  ck_assert(now.counters.issued == later.counters.issued && later.counters.nonfinite == 0);
  cluster_close(&a);
  cluster_open(&a, &o); /* never interrupted */
  cluster_run(&a, 3, 30);
  cluster_open(&b, &o);
  ck_assert(cluster_load(&b, &later) == TG_OK);
  cluster_start(&b);
  ck_assert_mem_eq(b.inbox, told, sizeof told);
  continue_both(&a, &b);
  cluster_drop(&now);
  cluster_drop(&later);
  cluster_close(&a);
  cluster_close(&b);
}
END_TEST

START_TEST(preempted_by_a_worker) {
  tg_server_options o = cluster_options("asgd", "sgd", 2, 3, 60);
  cluster c;
  cluster_open(&c, &o);
  cluster_must(&c, 0);
  tg_msg in = cluster_reply(&c, 1);
  in.flags = TG_FLAG_PREEMPT;
  ck_assert(tg_server_step(c.server, &in, c.g, NULL, &c.inbox[1], &c.event) == TG_OK);
  ck_assert(c.inbox[1].kind == TG_MSG_STOP && c.inbox[1].flags == TG_FLAG_PREEMPT);
  ck_assert(!c.event.applied && !c.event.finished && cluster_state(&c).update == 1);
  cluster_must(&c, 0);
  ck_assert(c.event.finished && c.event.checkpoint_due && c.inbox[0].flags == TG_FLAG_PREEMPT);
  tg_msg late;
  tg_server_start(c.server, 0, &late);
  ck_assert(late.kind == TG_MSG_STOP && late.flags == TG_FLAG_PREEMPT);
  cluster_close(&c);
}
END_TEST

START_TEST(finished_runs_are_resumed) {
  tg_server_options o = cluster_options("dc-asgd-a", "sgd", 3, 5, 10);
  cluster a, b;
  cluster_open(&a, &o);
  cluster_run(&a, 1, UINT64_MAX);
  cluster_saved s = cluster_save(&a);
  cluster_open(&b, &o);
  ck_assert(cluster_load(&b, &s) == TG_OK);
  cluster_start(&b);
  for (uint32_t m = 0; m < 3; m++) ck_assert_uint_eq(b.inbox[m].kind, TG_MSG_STOP);
  ck_assert(tg_server_finished(b.server));
  cluster_close(&b);
  /* A longer one goes on: everybody pulls what there is. */
  o.epochs = 25;
  cluster_open(&b, &o);
  ck_assert(cluster_load(&b, &s) == TG_OK);
  cluster_start(&b);
  for (uint32_t m = 0; m < 3; m++) {
    ck_assert(b.inbox[m].kind == TG_MSG_WEIGHTS && b.inbox[m].version == 10);
    ck_assert_mem_eq(cluster_state(&b).bak[m], cluster_state(&a).w, 5 * sizeof(float));
  }
  cluster_run(&b, 1, UINT64_MAX);
  ck_assert_uint_eq(cluster_state(&b).update, 25);
  cluster_drop(&s);
  cluster_close(&a);
  cluster_close(&b);
}
END_TEST

START_TEST(bad_checkpoints) {
  struct {
    tg_status code;
    const char *expected;
  } rows[] = {
      {TG_EDATA, "worker 1 is said to owe an answer to a message of kind 7"},
      {TG_EDATA, "worker 2 at version 1000"},
      {TG_EDATA, "worker 0 at version 0 and step 0"},
      {TG_EDATA, "gradients issued, 10 applied and 3 outstanding"},
      {TG_ECONFIG, "20 samples in 10 updates, train.batch is 1"},
      {TG_ECONFIG, "13 gradients issued, train.epochs asks for 12 updates"},
  };
  tg_server_options o = cluster_options("asgd", "sgd", 3, 5, 20);
  for (int i = 0; i < 6; i++) {
    cluster a, b;
    cluster_open(&a, &o);
    for (uint32_t turn = 0; turn < 10; turn++) cluster_must(&a, 1 + turn % 2);
    cluster_saved s = cluster_save(&a);
    uint64_t *version = s.numbers, *step = version + 3, *pending = step + 3;
    if (i == 0) pending[1] = 7;
    if (i == 1) version[2] = 1000;
    if (i == 2) step[0] = 0;
    if (i == 3) s.counters.issued = 99;
    if (i == 4) s.counters.samples = 20;
    tg_server_options other = o;
    if (i == 5) other.epochs = 12;
    cluster_open(&b, &other);
    ck_assert_int_eq(cluster_load(&b, &s), rows[i].code);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "%s", tg_status_message());
    cluster_drop(&s);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server restore");
  TCase *tc = tcase_create("restore");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, restored_bit_for_bit, 0, VARIANTS + (int)tg_optimizer_count);
  tcase_add_test(tc, preempted_state_is_whole);
  tcase_add_test(tc, preempted_by_a_worker);
  tcase_add_test(tc, finished_runs_are_resumed);
  tcase_add_test(tc, bad_checkpoints);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
