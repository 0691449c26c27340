/* G-SGD at the server: what does not change where hidden units are rescaled, and what does; where
 * nothing is late; pieces of gradients; checkpoints; rules that do not go with it. */
#include <math.h>

#include "path_team.h"

static const char *const optimizers[] = {"gsgd", "gsgd-momentum", "gsgd-rmsprop", "gsgd-adam"};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static bool goes(const tg_rule *rule) {
  return rule->scheme == TG_SCHEME_ASYNC && tg_rule_check(rule, "gsgd", true) == TG_OK;
}

static tg_server_options options(const team *t, const char *rule, int optimizer, bool in_paths,
                                 uint32_t workers, double updates) {
  tg_server_options o = team_options(t, rule, optimizers[optimizer], in_paths, workers, updates);
  o.schedule.lr = optimizer ? 0.0005 : 0.01;
  /* A dead unit's weights, of which decay is all that is left, would become subnormal. */
  o.hyper.weight_decay = optimizer < 2 ? 1e-3f : 0;
  o.hyper.staleness_bound = 2;
  o.hyper.delay_threshold = 3;
  o.hyper.backup_workers = 1;
  o.eval_every = 17;
  return o;
}

static void answer(team *t, uint32_t m, size_t span) {
  if (t->c.inbox[m].kind == TG_MSG_WEIGHTS) team_gradient(t, m);
  team_answer(t, m, span);
  cluster_release(&t->c);
}

/* The weights of a run. */
static void run(team *t, const tg_server_options *o, const float *w0, size_t span, float *w) {
  team_start(t, o, w0);
  for (uint64_t turn = 0; !tg_server_finished(t->c.server); turn++)
    answer(t, team_next(t, 9, turn), span);
  memcpy(w, weights(t), t->net.n * sizeof *w);
  team_end(t);
}

/* ---- rescaled units ---- */

/* Whether two runs stay the same network for `updates` updates, one of them rescaled; to the bit:
 * every weight is what its unit's scale makes of the other's, and so every path and every output.
 * Both have the messages in the same order, and gradients computed by themselves. */
static bool same_network(team *a, const tg_server_options *o, uint64_t seed) {
  team b = {.net = a->net};
  float w0[MOST], rescaled[MOST], back[MOST];
  double x[PATH_NET_WIDTH], y[2][PATH_NET_WIDTH] = {{0}}, none[PATH_NET_WIDTH] = {0};
  bool same = true, late = false;
  for (size_t i = 0; i < PATH_NET_WIDTH; i++) x[i] = cluster_random(3, 3, i);
  path_net_initial(&a->net, seed, false, w0);
  memcpy(rescaled, w0, sizeof rescaled);
  path_net_rescale(&a->net, seed, false, rescaled);
  ck_assert_mem_ne(rescaled, w0, a->net.n * sizeof *w0);
  team_start(a, o, w0);
  team_start(&b, o, rescaled);
  for (uint64_t turn = 0; same && !tg_server_finished(a->c.server); turn++) {
    uint32_t m = team_next(a, seed, turn);
    answer(a, m, 0);
    answer(&b, m, 0);
    late |= a->c.event.staleness > 0;
    memcpy(back, weights(&b), a->net.n * sizeof *back);
    path_net_rescale(&a->net, seed, true, back);
    path_net_gradient(&a->net, weights(a), x, none, NULL, y[0]);
    path_net_gradient(&b.net, weights(&b), x, none, NULL, y[1]);
    same = memcmp(back, weights(a), a->net.n * sizeof *back) == 0 &&
           memcmp(y[0], y[1], sizeof y[0]) == 0;
  }
  ck_assert(late || !same);
  team_end(a);
  team_end(&b);
  return same;
}

START_TEST(rescaled_runs_are_the_same_in_paths) {
  team t;
  int rules = 0;
  team_open(&t, _i);
  for (size_t r = 0; r < tg_rule_count; r++)
    for (int optimizer = 0; optimizer < OPTIMIZERS && goes(tg_rules[r]); optimizer++, rules++) {
      tg_server_options o = options(&t, tg_rules[r]->name, optimizer, true, 4, 60);
      ck_assert_msg(same_network(&t, &o, r + 1), "%s, %s", tg_rules[r]->name,
                    optimizers[optimizer]);
      o.hyper.cap = 0.5f;
      o.hyper.keys.path_clamp = 0.95;
      o.hyper.keys.path_norm = false;
      ck_assert_msg(same_network(&t, &o, r + 1), "%s, %s, bounded", tg_rules[r]->name,
                    optimizers[optimizer]);
    }
  ck_assert_int_ge(rules,
                   7 * OPTIMIZERS); /* asgd, dc-asgd-c and -a, staleness-lr and waiting ones */
  path_net_close(&t.net);
}
END_TEST

/* A correction lambda g g dw of weights scales as g does. With lambda / sqrt(mean g g) it does not.
 */
START_TEST(rescaled_runs_in_weights) {
  team t;
  team_open(&t, _i);
  tg_server_options o = options(&t, "asgd", 0, false, 4, 60);
  ck_assert(same_network(&t, &o, 5));
  o = options(&t, "dc-asgd-c", 0, false, 4, 60);
  o.hyper.lambda = 1;
  ck_assert(same_network(&t, &o, 5));
  o = options(&t, "dc-asgd-a", 0, false, 4, 60);
  ck_assert(!same_network(&t, &o, 5));
  o.hyper.epsilon = 0; /* which is not the reason */
  ck_assert(!same_network(&t, &o, 5));
  /* Another function is trained. */
  float w0[MOST], w[2][MOST];
  double x[PATH_NET_WIDTH] = {1, 1, 1, 1, 1, 1}, none[PATH_NET_WIDTH] = {0}, y[2][PATH_NET_WIDTH];
  path_net_initial(&t.net, 5, false, w0);
  for (int rescaled = 0; rescaled < 2; rescaled++) {
    if (rescaled) path_net_rescale(&t.net, 5, false, w0);
    run(&t, &o, w0, 0, w[rescaled]);
    path_net_gradient(&t.net, w[rescaled], x, none, NULL, y[rescaled]);
  }
  ck_assert(!(fabs(y[0][0] - y[1][0]) <= 1e-4)); /* it may be no number any more */
  path_net_close(&t.net);
}
END_TEST

/* ---- identities, bit for bit ---- */

START_TEST(one_worker_is_gsgd) {
  static const char *const rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};
  team t;
  float w0[MOST], expected[MOST], w[MOST];
  team_open(&t, _i);
  path_net_initial(&t.net, 8, false, w0);
  for (int optimizer = 0; optimizer < OPTIMIZERS; optimizer++) {
    tg_server_options o = options(&t, "sgd", optimizer, false, 1, 40);
    run(&t, &o, w0, 0, expected);
    for (int k = 0; k < 6; k++) {
      o = options(&t, rules[k / 2], optimizer, k % 2, 1, 40);
      o.hyper.lambda = 5;
      run(&t, &o, w0, 0, w);
      ck_assert_msg(memcmp(w, expected, t.net.n * sizeof *w) == 0, "%s, %s, %d", rules[k / 2],
                    optimizers[optimizer], k % 2);
    }
  }
  path_net_close(&t.net);
}
END_TEST

START_TEST(lambda_zero_is_asgd) {
  team t;
  float w0[MOST], expected[MOST], w[MOST];
  team_open(&t, _i);
  path_net_initial(&t.net, 8, false, w0);
  for (int k = 0; k < 4; k++) {
    tg_server_options o = options(&t, "asgd", 1, k % 2, 4, 60);
    run(&t, &o, w0, 0, expected);
    o = options(&t, k / 2 ? "dc-asgd-a" : "dc-asgd-c", 1, k % 2, 4, 60);
    o.hyper.lambda = 0;
    run(&t, &o, w0, 0, w);
    ck_assert_mem_eq(w, expected, t.net.n * sizeof *w);
    o.hyper.lambda = 1; /* and the comparison is not empty */
    run(&t, &o, w0, 0, w);
    ck_assert_mem_ne(w, expected, t.net.n * sizeof *w);
  }
  path_net_close(&t.net);
}
END_TEST

/* ---- pieces and checkpoints ---- */

START_TEST(pieces_change_no_bit) {
  static const size_t spans[] = {1, 7, 64, MOST};
  team t;
  float w0[MOST], expected[MOST], w[MOST];
  team_open(&t, _i);
  path_net_initial(&t.net, 2, true, w0);
  for (size_t r = 0; r < tg_rule_count; r++)
    for (int k = 0; k < 4 && goes(tg_rules[r]); k++) {
      tg_server_options o = options(&t, tg_rules[r]->name, k / 2, k % 2, 4, 40);
      run(&t, &o, w0, 0, expected);
      for (int i = 0; i < 4; i++) {
        run(&t, &o, w0, spans[i], w);
        ck_assert_msg(memcmp(w, expected, t.net.n * sizeof *w) == 0, "%s in pieces of %zu",
                      tg_rules[r]->name, spans[i]);
      }
    }
  path_net_close(&t.net);
}
END_TEST

/* The same messages to both, to the end. */
static void continue_both(team *a, team *b) {
  for (uint64_t turn = 0; !tg_server_finished(a->c.server); turn++) {
    uint32_t m = team_next(a, 6, turn);
    answer(a, m, 0);
    answer(b, m, 0);
    ck_assert_mem_eq(&a->c.event, &b->c.event, sizeof a->c.event);
    ck_assert_mem_eq(weights(a), weights(b), a->net.n * sizeof(float));
  }
  ck_assert(tg_server_finished(b->c.server));
}

START_TEST(restored_bit_for_bit) {
  team a;
  float w0[MOST];
  team_open(&a, _i);
  path_net_initial(&a.net, 2, false, w0);
  for (int k = 0; k < 2 * OPTIMIZERS; k++)
    for (uint64_t at = 0; at <= 60; at += 13) {
      tg_server_options o = options(&a, k < 6 ? "dc-asgd-a" : "dc-asgd-c", k / 2, k % 2, 4, 60);
      team b = {.net = a.net};
      team_start(&a, &o, w0);
      for (uint64_t turn = 0; cluster_state(&a.c).update < at; turn++)
        answer(&a, team_next(&a, 4, turn), 0);
      cluster_saved s = cluster_save(&a.c);
      team_start(&b, &o, w0);
      ck_assert_msg(cluster_load(&b.c, &s) == TG_OK, "%s", tg_status_message());
      cluster_start(&b.c);
      continue_both(&a, &b);
      cluster_drop(&s);
      team_end(&a);
      team_end(&b);
    }
  path_net_close(&a.net);
}
END_TEST

/* ---- what does not go ---- */

START_TEST(refused) {
  static const struct {
    const char *rule, *says;
  } rows[] = {{"gap-aware", "sync.rule=gap-aware does not go with optimizer.name=gsgd"},
              {"xgrad", "sync.rule=xgrad does not go with optimizer.name=gsgd"},
              {"dana-slim", "goes with optimizer.name=sgd only, not with gsgd"},
              {"easgd", "sync.rule=easgd does not go with optimizer.name=gsgd"},
              {"dave-rpg", "goes with optimizer.name=sgd only, not with gsgd"}};
  team t;
  float w0[MOST];
  team_open(&t, 0);
  path_net_initial(&t.net, 1, true, w0);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tg_server_options o = options(&t, rows[i].rule, 0, false, 4, 10);
    tg_server *server;
    ck_assert_int_eq(tg_server_create(&o, w0, w0, &server), TG_ECONFIG);
    ck_assert_msg(strstr(tg_status_message(), rows[i].says), "'%s'", tg_status_message());
  }
  tg_server_options o = options(&t, "asgd", 0, false, 4, 10);
  tg_server *server;
  o.layout.paths = NULL;
  ck_assert_int_eq(tg_server_create(&o, w0, w0, &server), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), "optimizer gsgd"), "'%s'", tg_status_message());
  path_net_close(&t.net);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server, gauge");
  TCase *tc = tcase_create("server, gauge");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, rescaled_runs_are_the_same_in_paths, 0, NETS);
  tcase_add_loop_test(tc, rescaled_runs_in_weights, 0, NETS);
  tcase_add_loop_test(tc, one_worker_is_gsgd, 0, NETS);
  tcase_add_loop_test(tc, lambda_zero_is_asgd, 0, NETS);
  tcase_add_loop_test(tc, pieces_change_no_bit, 0, NETS);
  tcase_add_loop_test(tc, restored_bit_for_bit, 0, NETS);
  tcase_add_test(tc, refused);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
