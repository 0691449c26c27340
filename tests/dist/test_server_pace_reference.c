/* ssp, ssgd-backup and ringmaster against a model in double that shares nothing with src/: who is
 * answered when, which gradients count, and every weight, served or current. */
#include <math.h>

#include "pace.h"

enum { N = 23, WORKERS = 7, MESSAGES = 150 };

typedef enum { COMPUTES, EVALUATES, WAITS, STOPPED } doing;

typedef struct model {
  const pace_row *row;
  uint32_t workers, gathers;
  uint64_t total, update, gathered;
  uint64_t clock[WORKERS], version[WORKERS];
  doing now[WORKERS];
  bool in_round[WORKERS];
  double momentum, lr, w[N], v[N], sum[N], bak[WORKERS][N];
} model;

static bool is_rule(const model *o, const char *name) {
  return strcmp(o->row->rule, name) == 0;
}

static void model_open(model *o, const pace_row *row, const tg_server_options *s, bool momentum,
                       const float *w0) {
  *o = (model){.row = row, .workers = s->workers, .gathers = 1, .lr = 0.1};
  if (is_rule(o, "ssgd-backup")) o->gathers = s->workers - (uint32_t)row->number;
  o->total = ((uint64_t)s->epochs + o->gathers - 1) / o->gathers;
  o->momentum = momentum ? 0.9 : 0;
  for (size_t i = 0; i < N; i++) {
    o->w[i] = w0[i];
    for (uint32_t m = 0; m < o->workers; m++) o->bak[m][i] = w0[i];
  }
}

static bool is_late(const model *o, uint32_t m) {
  uint64_t delay = o->update - o->version[m];
  if (o->update == o->total) return true;
  if (is_rule(o, "ssgd-backup")) return delay > 0;
  return is_rule(o, "ringmaster") && delay >= o->row->number;
}

/* Gradients that are still to be asked for, beyond those under way that will do. */
static bool wants_more(const model *o) {
  uint64_t hopes = 0;
  if (is_rule(o, "ssgd-backup")) return o->update < o->total;
  for (uint32_t m = 0; m < o->workers; m++) hopes += o->now[m] == COMPUTES && !is_late(o, m);
  return o->update + hopes < o->total;
}

static bool must_wait(const model *o, uint32_t m) {
  if (o->in_round[m]) return true;
  if (!is_rule(o, "ssp") || o->row->number == PACE_NONE) return false;
  for (uint32_t j = 0; j < o->workers; j++) {
    if (o->now[j] == STOPPED) continue;
    if (o->clock[m] + (o->now[j] == EVALUATES) > o->clock[j] + o->row->number) return true;
  }
  return false;
}

static void go_on(model *o, uint32_t m) {
  o->now[m] = WAITS;
  if (!wants_more(o)) {
    /* Of those under way some may come too late yet. */
    bool perhaps = is_rule(o, "ringmaster") && o->update < o->total;
    if (!perhaps) o->now[m] = STOPPED;
  } else if (!must_wait(o, m)) {
    o->now[m] = COMPUTES;
    o->version[m] = o->update;
    memcpy(o->bak[m], o->w, sizeof o->w);
  }
}

/* The gradient of cluster_gradient, in double, at the weights that this model served. */
static double gradient(const model *o, uint32_t m, uint64_t step, size_t i) {
  return 0.3 * (o->bak[m][i] - cluster_random(i, 2, 78)) + cluster_random(m, step, i);
}

/* A push; true: an update was made. */
static bool push(model *o, uint32_t m, uint64_t step) {
  o->clock[m]++;
  o->in_round[m] = o->gathers > 1;
  for (size_t i = 0; i < N; i++) o->sum[i] += gradient(o, m, step, i) / o->gathers;
  if (++o->gathered < o->gathers) return false;
  for (size_t i = 0; i < N; i++) {
    o->v[i] = o->momentum * o->v[i] + o->sum[i];
    o->w[i] -= o->lr * o->v[i];
    o->sum[i] = 0;
  }
  o->gathered = 0;
  o->update++;
  memset(o->in_round, 0, sizeof o->in_round);
  return true;
}

static void compare_vector(const char *what, const float *have, const double *want) {
  for (size_t i = 0; i < N; i++)
    ck_assert_msg(fabs(have[i] - want[i]) <= 1e-5 * fmax(1, fabs(want[i])),
                  "%s %zu: %.9g, not %.9g", what, i, have[i], want[i]);
}

static void compare(const model *o, const cluster *c) {
  tg_server_state t = cluster_state(c);
  const uint32_t kinds[] = {TG_MSG_WEIGHTS, TG_MSG_EVALUATE, 0, TG_MSG_STOP};
  ck_assert_uint_eq(t.update, o->update);
  compare_vector("weight", t.w, o->w);
  for (uint32_t m = 0; m < o->workers; m++) {
    ck_assert_uint_eq(c->inbox[m].kind, kinds[o->now[m]]);
    ck_assert_uint_eq(t.clock[m], o->clock[m]);
    if (o->now[m] != COMPUTES) continue;
    ck_assert_uint_eq(c->inbox[m].version, o->version[m]);
    compare_vector("served weight", t.bak[m], o->bak[m]);
  }
}

/* One message to both. */
static void answer(model *o, cluster *c, uint32_t m) {
  const tg_msg told = c->inbox[m];
  cluster_must(c, m);
  cluster_release(c);
  bool applied = false;
  if (told.kind == TG_MSG_WEIGHTS) {
    ck_assert(c->event.late == is_late(o, m));
    ck_assert_uint_eq(c->event.staleness, o->update - o->version[m]);
    if (!is_late(o, m)) applied = push(o, m, told.step);
    ck_assert(c->event.counts == !c->event.late && c->event.applied == applied);
  }
  /* When to evaluate is not this model's business. */
  if (c->inbox[m].kind == TG_MSG_EVALUATE) {
    ck_assert(applied);
    o->now[m] = EVALUATES;
  } else {
    go_on(o, m);
  }
  for (uint32_t j = 0; j < o->workers; j++)
    if (o->now[j] == WAITS) go_on(o, j);
  compare(o, c);
}

static void run(const pace_row *row, uint32_t workers, bool momentum, uint64_t seed) {
  tg_server_options o = pace_options(row, momentum ? "momentum" : "sgd", workers, N, MESSAGES);
  o.eval_every = 17;
  cluster c;
  model r;
  cluster_open(&c, &o);
  model_open(&r, row, &o, momentum, c.w0);
  compare(&r, &c);
  uint32_t m = 0;
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    m = pace_next(&c, seed, turn, m);
    ck_assert_uint_lt(m, workers);
    answer(&r, &c, m);
  }
  ck_assert_uint_eq(r.update, r.total);
  cluster_close(&c);
}

START_TEST(against_the_reference) {
  const pace_row *row = &pace_rows[_i];
  for (uint32_t workers = 1; workers <= WORKERS; workers++)
    for (uint64_t seed = 0; seed < 6; seed++)
      if (strcmp(row->rule, "ssgd-backup") != 0 || row->number < workers)
        run(row, workers, seed % 2, seed);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server pace, reference");
  TCase *tc = tcase_create("reference");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, PACE_ROWS);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
