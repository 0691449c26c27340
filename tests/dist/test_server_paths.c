/* G-SGD at the server: late gradients in path space against a separate scalar reference, and
 * vectors whose numbers are known. */
#include <math.h>

#include "path_team.h"

/* ---- against the reference ---- */

static const struct {
  const char *rule;
  ref_path_rule reference;
  float lambda, cap;
  bool global;
} rules[] = {
    {"asgd", REF_PATH_ASGD, 0, 0, false},      {"dc-asgd-c", REF_PATH_DC_C, 0.5f, 0, false},
    {"dc-asgd-c", REF_PATH_DC_C, 5, 1, false}, {"dc-asgd-a", REF_PATH_DC_A, 2, 0, false},
    {"dc-asgd-a", REF_PATH_DC_A, 2, 0, true},  {"dc-asgd-a", REF_PATH_DC_A, 10, 1, true}};
enum { RULES = sizeof rules / sizeof *rules };

static double error_to(const team *t, const double *expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < t->net.n; i++) {
    error += pow(weights(t)[i] - expected[i], 2);
    size += pow(expected[i], 2);
  }
  return sqrt(error / size);
}

/* One answer to the server and to the reference. */
static void answer_both(team *t, ref_path_server *r, uint32_t m) {
  float g[MOST];
  team_gradient(t, m);
  memcpy(g, t->c.g, t->net.n * sizeof *g);
  team_answer(t, m, 0);
  if (t->c.event.applied) ref_path_push(r, (int)m, g, t->c.event.lr);
  if (t->c.event.serves) ref_path_pull(r, (int)m);
}

static void compare(team *t, int net, int rule, bool in_paths, const char *optimizer, float decay) {
  enum { EVENTS = 160, WORKERS = 4 };
  bool moves = strcmp(optimizer, "gsgd-momentum") == 0;
  tg_server_options o = team_options(t, rules[rule].rule, optimizer, in_paths, WORKERS, EVENTS);
  o.schedule = (tg_schedule){.lr = moves ? 0.002 : 0.01, .warmup_epochs = 20};
  o.hyper.lambda = rules[rule].lambda;
  o.hyper.cap = rules[rule].cap;
  o.hyper.weight_decay = decay;
  o.global_state = rules[rule].global;
  o.eval_every = 23; /* so that some pulls come later than their push */
  const ref_path_settings set = {.shape = t->net.shape,
                                 .rule = rules[rule].reference,
                                 .in_paths = in_paths,
                                 .global = rules[rule].global,
                                 .lambda = rules[rule].lambda,
                                 .decay = o.hyper.mean_square_decay,
                                 .epsilon = o.hyper.epsilon,
                                 .cap = rules[rule].cap,
                                 .momentum = moves ? o.hyper.momentum : 0,
                                 .weight_decay = decay,
                                 .workers = WORKERS};
  ref_path_server r;
  float w0[MOST];
  path_net_initial(&t->net, (uint64_t)rule + 3, nets[net].canonical, w0);
  team_start(t, &o, w0);
  ref_path_open(&r, &set, w0);
  for (uint64_t turn = 0; !tg_server_finished(t->c.server); turn++)
    answer_both(t, &r, team_next(t, 5, turn));
  double moved = 0, error = error_to(t, r.w);
  for (size_t i = 0; i < t->net.n; i++) moved += fabs(weights(t)[i] - w0[i]) / (double)t->net.n;
  ck_assert_uint_eq(cluster_state(&t->c).update, EVENTS);
  ck_assert_msg(error <= 1e-5 && moved > 1e-3, "%s, %s, compensation of %s: error %.2g, moved %.2g",
                rules[rule].rule, optimizer, in_paths ? "paths" : "weights", error, moved);
  ref_path_close(&r);
  team_end(t);
}

START_TEST(against_the_reference) {
  team t;
  team_open(&t, _i);
  for (int rule = 0; rule < RULES; rule++)
    for (int in_paths = 0; in_paths < 2; in_paths++) {
      compare(&t, _i, rule, in_paths, "gsgd", 0);
      compare(&t, _i, rule, in_paths, "gsgd", 1e-2f);
      compare(&t, _i, rule, in_paths, "gsgd-momentum", 1e-3f);
    }
  path_net_close(&t.net);
}
END_TEST

/* Rounds of all workers: the mean gradient of all, at weights that all have, is never late. */
START_TEST(rounds_against_the_reference) {
  enum { WORKERS = 3, ROUNDS = 100 };
  team t;
  team_open(&t, _i);
  tg_server_options o = team_options(&t, "ssgd-backup", "gsgd", _i % 2, WORKERS, 0);
  o.epochs = WORKERS * ROUNDS;
  o.schedule.lr = 0.02;
  const ref_path_settings set = {.shape = t.net.shape, .in_paths = true, .workers = 1};
  ref_path_server r;
  float w0[MOST], mean[MOST];
  path_net_initial(&t.net, 4, nets[_i].canonical, w0);
  team_start(&t, &o, w0);
  ref_path_open(&r, &set, w0);
  while (!tg_server_finished(t.c.server)) {
    double sum[MOST] = {0};
    for (uint32_t m = 0; m < WORKERS; m++) {
      if (!cluster_busy(&t.c, m)) continue;
      if (t.c.inbox[m].kind == TG_MSG_WEIGHTS) team_gradient(&t, m);
      for (size_t i = 0; i < t.net.n; i++) sum[i] += t.c.g[i];
      team_answer(&t, m, 0);
    }
    cluster_release(&t.c);
    for (size_t i = 0; i < t.net.n; i++) mean[i] = (float)(sum[i] / WORKERS);
    if (!t.c.event.applied) continue;
    ref_path_push(&r, 0, mean, t.c.event.lr);
    ref_path_pull(&r, 0);
  }
  ck_assert_uint_eq(cluster_state(&t.c).update, ROUNDS);
  ck_assert_msg(error_to(&t, r.w) <= 1e-5, "error %.2g", error_to(&t, r.w));
  ref_path_close(&r);
  team_end(&t);
  path_net_close(&t.net);
}
END_TEST

/* ---- vectors ---- */

/* x = (1, 2), lr 0.1: two workers compute the same gradient at the same weights, and the second is
 * one update late. Expected: weights after the first (nothing is late) and after the second, from a
 * program of its own. */
typedef struct vector {
  size_t widths[4];
  int layers;
  double target[2];
  float start[10];
  double first[10];
} vector;

static const vector vectors[] = {
    {{2, 2, 2, 1},
     3,
     {2, 0},
     {1, 0.5f, -0.5f, 1.25f, 1, 0.25f, -0.5f, 1, 1, 1},
     {0.775, 0.35, -0.6875, 0.935, 1, 0.07754010695187162, -1.032258064516129, 1, 1, 1}},
    {{2, 2, 2},
     2,
     {2, 1},
     {1, 0.5f, -0.25f, 1, 1, 0.5f, -0.75f, 1},
     {0.96875, 0.2125, -0.21875, 1.1390625, 1, 0.30452674897119336, -0.6193548387096774, 1}}};

static const struct {
  int vector;
  bool in_paths;
  float lambda; /* of dc-asgd-c; 0: asgd */
  double second[10], y[2];
} late[] = {{0,
             true,
             0,
             {0.55, 0.2, -0.875, 0.62, 1, -0.27016129032258057, -2, 1, 1, 1},
             {0.851391129032258}},
            {0,
             true,
             0.5f,
             {0.606953125, 0.216875, -0.842041015625, 0.776279375, 1, -0.12673272428499086,
              -1.5899086111468659, 1, 1, 1},
             {0.9506572768698566}},
            {0,
             false,
             0,
             {0.3004162330905308, 0.2, -0.875, 0.5848791787011354, 1, -0.42462721193938774,
              -3.951506754416348, 1, 1, 1},
             {0.5752538135909708}},
            {0,
             false,
             0.5f,
             {0.625766881671478, 0.216875, -0.842041015625, 0.7999275629542507, 1,
              -0.20671062614634345, -1.4031482492796268, 1, 1, 1},
             {0.9028686524322412}},
            {1,
             true,
             0,
             {0.9375, -0.075, -0.1875, 1.278125, 1, 0.15158924205378968, -0.48, 1},
             {1.146577017114914, 1.99075}},
            {1,
             true,
             0.5f,
             {0.937652587890625, 0.043818359375, -0.187652587890625, 1.264678783416748, 1,
              0.1673957178060595, -0.4979189585028478, 1},
             {1.4172806924807901, 1.8311939952162644}},
            {1,
             false,
             0,
             {0.9209001040582726, -0.075, -0.1875, 1.2425002522622455, 1, 0.1709812715046768,
              -0.48339802369531687, 1},
             {1.1637296616045063, 1.9248489177562078}},
            {1,
             false,
             0.5f,
             {0.9147322004020588, 0.043818359375, -0.187652587890625, 1.2336574762356654, 1,
              0.18851510534281135, -0.5032434479403819, 1},
             {1.4321197099570329, 1.7752267735983498}}};
enum { LATE = sizeof late / sizeof *late };

static void same(const team *t, const double *expected) {
  for (size_t i = 0; i < t->net.n; i++)
    ck_assert_msg(fabs(weights(t)[i] - expected[i]) <= 1e-6 * fmax(1, fabs(expected[i])),
                  "weight %zu: %.9g, not %.9g", i, weights(t)[i], expected[i]);
}

START_TEST(vectors_with_a_late_worker) {
  const vector *v = &vectors[late[_i].vector];
  const double x[] = {1, 2};
  double y[PATH_NET_WIDTH];
  team t;
  path_net_open(&t.net, v->widths, v->layers, false);
  tg_server_options o = team_options(&t, late[_i].lambda > 0 ? "dc-asgd-c" : "asgd", "gsgd",
                                     late[_i].in_paths, 2, 10);
  o.hyper.lambda = late[_i].lambda;
  team_start(&t, &o, v->start);
  for (uint32_t m = 0; m < 2; m++) {
    path_net_gradient(&t.net, cluster_state(&t.c).bak[m], x, v->target, t.c.g, NULL);
    team_answer(&t, m, 0);
    ck_assert_uint_eq(t.c.event.staleness, m);
    same(&t, m == 0 ? v->first : late[_i].second);
  }
  path_net_gradient(&t.net, weights(&t), x, v->target, NULL, y);
  for (size_t i = 0; i < v->widths[v->layers]; i++)
    ck_assert_double_eq_tol(y[i], late[_i].y[i], 2e-6);
  team_end(&t);
  path_net_close(&t.net);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server, paths");
  TCase *tc = tcase_create("server, paths");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, NETS);
  tcase_add_loop_test(tc, rounds_against_the_reference, 0, NETS);
  tcase_add_loop_test(tc, vectors_with_a_late_worker, 0, LATE);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
