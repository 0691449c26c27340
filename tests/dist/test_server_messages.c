/* Messages that no worker may send are refused by name, and change nothing. */
#include "cluster.h"

/* Worker 0 owes a gradient, worker 1 an evaluation, worker 2 nothing. */
static void three_cases(cluster *c) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 3, 2, 4);
  o.batch = 8;
  o.train_count = 8;
  o.eval_every = 2;
  cluster_open(c, &o);
  cluster_must(c, 2);
  cluster_must(c, 1);
  cluster_must(c, 2);
  ck_assert_uint_eq(c->inbox[0].kind, TG_MSG_WEIGHTS);
  ck_assert_uint_eq(c->inbox[1].kind, TG_MSG_EVALUATE);
  ck_assert_uint_eq(c->inbox[2].kind, TG_MSG_STOP);
}

START_TEST(bad_messages) {
  struct {
    const char *expected;
    tg_msg in;
  } rows[] = {
      {"from worker 3, there are 3 workers", {.kind = TG_MSG_PUSH, .worker = 3, .samples = 8}},
      {"from worker 4294967295", {.kind = TG_MSG_PUSH, .worker = UINT32_MAX, .samples = 8}},
      {"a message of kind 0, which no worker may send", {.kind = 0, .samples = 8}},
      {"a message of kind 3,", {.kind = 3, .samples = 8}},
      {"a message of kind 16,", {.kind = TG_MSG_WEIGHTS, .samples = 8}},
      {"a message of kind 18,", {.kind = TG_MSG_STOP, .samples = 8}},
      {"unknown flags 0x4", {.kind = TG_MSG_PUSH, .flags = 4, .samples = 8}},
      {"worker 0 sent an evaluation that it was not asked for", {.kind = TG_MSG_EVALUATED}},
      {"worker 1 sent a gradient that it was not asked for",
       {.kind = TG_MSG_PUSH, .worker = 1, .samples = 8, .version = 2, .step = 1}},
      {"worker 2 sent a gradient that it was not asked for",
       {.kind = TG_MSG_PUSH, .worker = 2, .samples = 8, .version = 1, .step = 1}},
      {"worker 2 sent an evaluation that it was not asked for",
       {.kind = TG_MSG_EVALUATED, .worker = 2, .version = 1}},
      {"worker 0 sent a gradient for weights of version 1, it has 0",
       {.kind = TG_MSG_PUSH, .samples = 8, .version = 1}},
      {"worker 1 sent an evaluation for weights of version 1, it has 2",
       {.kind = TG_MSG_EVALUATED, .worker = 1, .version = 1}},
      {"the gradient of step 1, its step is 0", {.kind = TG_MSG_PUSH, .samples = 8, .step = 1}},
      {"the gradient of step 18446744073709551615",
       {.kind = TG_MSG_PUSH, .samples = 8, .step = UINT64_MAX}},
      {"a gradient of 7 samples, a batch has 8", {.kind = TG_MSG_PUSH, .samples = 7}},
      {"a gradient of 0 samples", {.kind = TG_MSG_PUSH}},
  };
  cluster c;
  three_cases(&c);
  cluster_saved before = cluster_save(&c);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    tg_msg reply;
    ck_assert_int_eq(tg_server_begin(c.server, &rows[i].in, &reply, &c.event), TG_ERUNTIME);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "'%s' does not say '%s'",
                  tg_status_message(), rows[i].expected);
    ck_assert(!c.event.applied && !c.event.serves && reply.kind == 0);
    cluster_saved after = cluster_save(&c); /* and nothing changed */
    ck_assert_mem_eq(before.numbers, after.numbers, 9 * sizeof(uint64_t));
    ck_assert_mem_eq(before.vectors, after.vectors, 2 * 8 * sizeof(float));
    ck_assert_uint_eq(after.counters.update, before.counters.update);
    ck_assert_uint_eq(after.counters.issued, before.counters.issued);
    cluster_drop(&after);
  }
  cluster_drop(&before);
  cluster_run(&c, 1, UINT64_MAX); /* the right ones are still taken */
  ck_assert_uint_eq(cluster_state(&c).update, 4);
  cluster_close(&c);
}
END_TEST

START_TEST(stopped_workers_are_silent) {
  tg_server_options o = cluster_options("asgd", "sgd", 2, 2, 50);
  cluster c;
  cluster_open(&c, &o);
  tg_msg in = cluster_reply(&c, 0), reply;
  tg_server_preempt(c.server);
  cluster_must(&c, 0);
  ck_assert_int_eq(tg_server_begin(c.server, &in, &reply, &c.event), TG_ERUNTIME);
  ck_assert(strstr(tg_status_message(), "worker 0 sent a gradient that it was not asked for"));
  cluster_close(&c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server messages");
  TCase *tc = tcase_create("server messages");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, bad_messages);
  tcase_add_test(tc, stopped_workers_are_silent);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
