/* The server's protocol: who is asked what, when the run ends, what a checkpoint holds, and which
 * messages are refused. */
#include <math.h>
#include <stdio.h>

#include "cluster.h"

static tg_server_state state(const cluster *c) {
  return tg_server_state_of(c->server);
}

static void answer(cluster *c, uint32_t m) {
  ck_assert_msg(cluster_answer(c, m, 0) == TG_OK, "%s", tg_status_message());
}

/* A message that answers what worker m was told. */
static tg_msg reply_of(const cluster *c, uint32_t m) {
  const tg_msg *told = &c->inbox[m];
  return (tg_msg){.kind = told->kind == TG_MSG_WEIGHTS ? TG_MSG_PUSH : TG_MSG_EVALUATED,
                  .worker = m,
                  .samples = c->o.batch,
                  .version = told->version,
                  .step = told->step};
}

/* ---- beginning and end ---- */

START_TEST(first_messages) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 3, 4, 10);
  o.k = o.ks = 2;
  cluster c;
  cluster_open(&c, &o);
  tg_server_state t = state(&c);
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
  ck_assert_uint_eq(state(&c).rule_state_count, 1);
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
    answer(&c, m);
    ck_assert(c.inbox[m].kind == TG_MSG_WEIGHTS && c.inbox[m].worker == m);
    ck_assert_uint_eq(c.inbox[m].version, i + 1);
    ck_assert_uint_eq(c.inbox[m].step, ++steps[m]);
    ck_assert_mem_eq(state(&c).bak[m], state(&c).w, 4 * sizeof(float));
  }
  cluster_close(&c);
}
END_TEST

/* How many updates a run makes, and that it ends well. */
static uint64_t updates_of(tg_server_options *o, uint64_t seed) {
  cluster c;
  cluster_open(&c, o);
  uint64_t applied = 0, stops = 0, finals = 0;
  for (uint32_t m = 0; m < o->workers; m++) stops += c.inbox[m].kind == TG_MSG_STOP;
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(seed, turn, 3) + 1) * 100) % o->workers;
    while (!cluster_busy(&c, m)) m = (m + 1) % o->workers;
    ck_assert(!c.event.finished);
    answer(&c, m);
    applied += c.event.applied;
    stops += c.inbox[m].kind == TG_MSG_STOP;
    finals += c.event.applied && c.inbox[m].kind == TG_MSG_EVALUATE;
    ck_assert_uint_eq(c.event.update, applied);
    ck_assert(c.event.serves == (c.inbox[m].kind != TG_MSG_STOP));
    ck_assert(c.event.finished == tg_server_finished(c.server));
    ck_assert(c.event.checkpoint_due == c.event.finished);
  }
  ck_assert_uint_eq(stops, o->workers);
  ck_assert_uint_eq(state(&c).update, applied);
  ck_assert_uint_eq(state(&c).samples, applied * o->batch);
  ck_assert_uint_eq(state(&c).issued, applied);
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
  } rows[] = {{1, 100, 10, 10},       {1, 101, 10, 11}, {2.5, 100, 10, 25}, {0.1, 100, 10, 1},
              {0.01, 100, 10, 1},     {1.1, 10, 1, 11}, {0.3, 10, 1, 3},    {0, 100, 10, 0},
              {10, 60000, 128, 4688}, {3, 1, 7, 1},     {1, 1000, 1000, 1}, {0.7, 1000, 100, 7},
              {2.3, 1000, 100, 23}};
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
  cluster c;
  cluster_open(&c, &o);
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_EVALUATE);
  ck_assert_uint_eq(c.inbox[1].kind, TG_MSG_STOP);
  ck_assert_uint_eq(c.inbox[2].kind, TG_MSG_STOP);
  answer(&c, 0);
  ck_assert(c.event.evaluated && c.event.finished && c.event.checkpoint_due && !c.event.serves);
  ck_assert_uint_eq(c.inbox[0].kind, TG_MSG_STOP);
  ck_assert_mem_eq(state(&c).w, c.w0, 2 * sizeof(float));
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
  answer(&c, 0);
  ck_assert(c.event.lr == 0.05);
  ck_assert(state(&c).b[0] == 0.5f * c.b0[0] + 0.5f * c.s[0]);
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
    answer(&c, m);
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
  ck_assert_uint_eq(state(&c).next_eval, 5);
  ck_assert_uint_eq(state(&c).next_checkpoint, 3);
  cluster_close(&c);
}
END_TEST

START_TEST(boundaries_that_coincide_with_the_end) {
  tg_server_options o = cluster_options("asgd", "sgd", 1, 2, 0.6);
  o.train_count = 100;
  o.batch = 10;
  o.eval_every = o.checkpoint_every = 0.3; /* 2 * .3 and .6 are neighbours, not equals */
  cluster c;
  cluster_open(&c, &o);
  uint64_t evals = 0, saves = 0;
  while (!tg_server_finished(c.server)) {
    answer(&c, 0);
    evals += c.event.evaluated;
    saves += c.event.checkpoint_due;
    if (c.event.checkpoint_due && !c.event.finished) ck_assert_uint_eq(c.event.update, 3);
  }
  ck_assert_uint_eq(evals, 2);
  ck_assert_uint_eq(saves, 2);
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
  tg_server_state t = state(&c);
  float w[2][2], b[2];
  for (uint32_t m = 0; m < 2; m++) {
    answer(&c, 2);
    ck_assert_uint_eq(c.inbox[2].kind, TG_MSG_WEIGHTS);
    answer(&c, m);
    ck_assert_uint_eq(c.inbox[m].kind, TG_MSG_EVALUATE);
    ck_assert_uint_eq(c.inbox[m].version, 2 * m + 2);
    memcpy(w[m], t.w, sizeof w[m]);
    b[m] = t.b[0];
  }
  answer(&c, 2);
  for (int m = 0; m < 2; m++) {
    ck_assert_mem_eq(t.bak[m], w[m], sizeof w[m]);
    ck_assert(t.b_bak[m][0] == b[m]);
  }
  ck_assert(b[0] != b[1] && t.b[0] != b[1]);
  answer(&c, 0);
  ck_assert(c.event.evaluated && c.event.serves && c.inbox[0].kind == TG_MSG_WEIGHTS);
  ck_assert_uint_eq(c.inbox[0].version, 5);
  ck_assert_mem_eq(t.bak[0], t.w, sizeof w[0]);
  cluster_run(&c, 4, UINT64_MAX);
  ck_assert_uint_eq(state(&c).update, 10);
  cluster_close(&c);
}
END_TEST

/* ---- gradients that are not finite ---- */

static tg_status push_nonfinite(cluster *c, uint32_t m) {
  tg_msg in = reply_of(c, m);
  in.flags = TG_FLAG_NONFINITE;
  in.samples = 0;
  return tg_server_step(c->server, &in, NULL, NULL, &c->inbox[m], &c->event);
}

START_TEST(nonfinite_is_dropped) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 2, 3, 6);
  cluster c;
  cluster_open(&c, &o);
  answer(&c, 1);
  float before[3];
  memcpy(before, state(&c).w, sizeof before);
  ck_assert(push_nonfinite(&c, 0) == TG_OK);
  ck_assert(c.event.nonfinite && c.event.serves && !c.event.applied && !c.event.checkpoint_due);
  ck_assert(c.event.update == 1 && state(&c).update == 1 && state(&c).nonfinite == 1);
  ck_assert_mem_eq(state(&c).w, before, sizeof before);
  ck_assert_mem_eq(state(&c).bak[0], before, sizeof before); /* still answered with weights */
  ck_assert(c.inbox[0].kind == TG_MSG_WEIGHTS && c.inbox[0].version == 1);
  ck_assert_uint_eq(c.inbox[0].step, 1); /* of the next batch */
  /* Near the end, when the other worker has stopped, the run still gets all of its updates. */
  while (cluster_busy(&c, 1) && c.inbox[1].kind == TG_MSG_WEIGHTS) answer(&c, 1);
  ck_assert_uint_eq(state(&c).update, 5);
  ck_assert(push_nonfinite(&c, 0) == TG_OK && c.inbox[0].kind == TG_MSG_WEIGHTS);
  ck_assert(push_nonfinite(&c, 0) == TG_OK && c.inbox[0].kind == TG_MSG_WEIGHTS);
  cluster_run(&c, 1, UINT64_MAX);
  ck_assert(state(&c).update == 6 && state(&c).nonfinite == 3 && c.event.finished);
  cluster_close(&c);
}
END_TEST

START_TEST(too_many_nonfinite) {
  tg_server_options o = cluster_options("asgd", "sgd", 3, 3, 100);
  o.max_nonfinite = 2;
  cluster c;
  cluster_open(&c, &o);
  cluster_run(&c, 9, 20);
  for (int i = 0; i < 3; i++) answer(&c, 0); /* so that worker 2 is late */
  uint64_t late = state(&c).update - c.inbox[2].version;
  ck_assert(push_nonfinite(&c, 0) == TG_OK);
  ck_assert(push_nonfinite(&c, 1) == TG_OK);
  ck_assert_int_eq(push_nonfinite(&c, 2), TG_EDIVERGED);
  char expected[200];
  snprintf(expected, sizeof expected,
           "diverged: 3 gradients were not finite (train.max_nonfinite = 2); the last one from "
           "worker 2 at update 23, staleness %d (mean ",
           (int)late);
  ck_assert_msg(strncmp(tg_status_message(), expected, strlen(expected)) == 0, "%s",
                tg_status_message());
  ck_assert(c.event.nonfinite && !c.event.applied && !c.event.serves && c.event.update == 23);
  /* What is saved now is whole: the server takes its own state back. */
  tg_server_state t = state(&c);
  ck_assert_msg(tg_server_restored(c.server, &t) == TG_OK, "%s", tg_status_message());
  cluster_close(&c);
  o.max_nonfinite = 0;
  cluster_open(&c, &o);
  ck_assert_int_eq(push_nonfinite(&c, 1), TG_EDIVERGED);
  ck_assert(strstr(tg_status_message(), "worker 1 at update 0, staleness 0 (mean 0.00)"));
  cluster_close(&c);
}
END_TEST

/* ---- preempt and restore ---- */

/* A copy of everything that a checkpoint holds. */
typedef struct saved {
  float *vectors;
  uint64_t *numbers;
  tg_server_state counters;
} saved;

/* Copies between the server's arrays and the saved ones. */
static void transfer(const tg_server_options *o, tg_server_state *t, saved *s, bool load) {
  float *v = s->vectors;
  uint64_t *u = s->numbers;
  float *arrays[4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 2];
  size_t lengths[4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 2], count = 0;
#define ADD(array, length) (arrays[count] = (array), lengths[count++] = (length))
  ADD(t->w, o->n);
  ADD(t->b, o->k);
  for (uint32_t m = 0; m < o->workers; m++) {
    ADD(t->bak[m], o->n);
    ADD(t->b_bak[m], o->k);
    if (m < t->rule_state_count) ADD(t->rule_state[m], o->n);
  }
  for (size_t i = 0; i < t->slot_count; i++) ADD(t->slot[i], o->n);
#undef ADD
  for (size_t i = 0; i < count; v += lengths[i++])
    memcpy(load ? arrays[i] : v, load ? v : arrays[i], lengths[i] * sizeof *v);
  uint64_t *lists[] = {t->version, t->step, t->pending};
  for (int i = 0; i < 3; i++, u += o->workers)
    memcpy(load ? lists[i] : u, load ? u : lists[i], o->workers * sizeof *u);
}

static saved save(const cluster *c) {
  size_t floats = (c->o.n + c->o.k) * (4 * CLUSTER_WORKERS + TG_MAX_SLOTS + 2);
  saved s = {calloc(floats, sizeof(float)), calloc(3 * CLUSTER_WORKERS, sizeof(uint64_t)),
             state(c)};
  transfer(&c->o, &s.counters, &s, false);
  return s;
}

static tg_status load(cluster *c, saved *s) {
  tg_server_state t = state(c);
  transfer(&c->o, &t, s, true);
  return tg_server_restored(c->server, &s->counters);
}

static void drop(saved *s) {
  free(s->vectors);
  free(s->numbers);
}

/* The same messages to both, in the same order: every event and every bit must agree. */
static void continue_both(cluster *a, cluster *b) {
  for (uint64_t turn = 0; !tg_server_finished(a->server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(6, turn, 6) + 1) * 100) % a->o.workers;
    while (!cluster_busy(a, m)) m = (m + 1) % a->o.workers;
    answer(a, m);
    answer(b, m);
    ck_assert_mem_eq(&a->event, &b->event, sizeof a->event);
    ck_assert_mem_eq(&a->inbox[m], &b->inbox[m], sizeof a->inbox[m]);
    ck_assert_mem_eq(state(a).w, state(b).w, a->o.n * sizeof(float));
    ck_assert_mem_eq(state(a).b, state(b).b, a->o.k * sizeof(float));
    ck_assert_mem_eq(state(a).b_bak[m], state(b).b_bak[m], a->o.k * sizeof(float));
  }
  ck_assert(tg_server_finished(b->server));
}

START_TEST(restored_bit_for_bit) {
  static const tg_fold fold = {0, 0, 2, 0.1f};
  const char *rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a", "dc-asgd-a"};
  const char *optimizers[] = {"sgd", "momentum", "nesterov"};
  tg_server_options o = cluster_options(rules[_i], optimizers[_i % 3], 5, 33, 120);
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
    saved s = save(&a);
    for (uint32_t m = 0; m < 5; m++) evaluating |= state(&a).pending[m] == TG_MSG_EVALUATE;
    tg_msg told[5];
    memcpy(told, a.inbox, sizeof told);
    cluster_open(&b, &o);
    ck_assert_msg(load(&b, &s) == TG_OK, "%s", tg_status_message());
    cluster_start(&b);
    ck_assert_mem_eq(b.inbox, told, sizeof told); /* asked the same, of the same version and step */
    continue_both(&a, &b);
    drop(&s);
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
  saved now = save(&a);
  tg_msg told[4];
  memcpy(told, a.inbox, sizeof told);
  for (uint32_t m = 0; m < 4; m++) {
    if (m == 1) {
      ck_assert(push_nonfinite(&a, 1) == TG_OK); /* not counted either */
    } else {
      answer(&a, m);
    }
    ck_assert(a.inbox[m].kind == TG_MSG_STOP && a.inbox[m].flags == TG_FLAG_PREEMPT);
    ck_assert(!a.event.applied && !a.event.serves && !a.event.evaluated && !a.event.nonfinite);
    ck_assert(a.event.finished == (m == 3) && a.event.checkpoint_due == (m == 3));
    ck_assert_uint_eq(a.event.update, 30);
  }
  saved later = save(&a); /* saving now or at the end is the same */
  ck_assert_mem_eq(now.numbers, later.numbers, 12 * sizeof(uint64_t));
  ck_assert_mem_eq(now.vectors, later.vectors, 9 * 10 * sizeof(float));
  ck_assert(now.counters.issued == later.counters.issued && later.counters.nonfinite == 0);
  cluster_close(&a);
  cluster_open(&a, &o); /* never interrupted */
  cluster_run(&a, 3, 30);
  cluster_open(&b, &o);
  ck_assert(load(&b, &later) == TG_OK);
  cluster_start(&b);
  ck_assert_mem_eq(b.inbox, told, sizeof told);
  continue_both(&a, &b);
  drop(&now);
  drop(&later);
  cluster_close(&a);
  cluster_close(&b);
}
END_TEST

START_TEST(preempted_by_a_worker) {
  tg_server_options o = cluster_options("asgd", "sgd", 2, 3, 60);
  cluster c;
  cluster_open(&c, &o);
  answer(&c, 0);
  tg_msg in = reply_of(&c, 1);
  in.flags = TG_FLAG_PREEMPT;
  ck_assert(tg_server_step(c.server, &in, c.g, NULL, &c.inbox[1], &c.event) == TG_OK);
  ck_assert(c.inbox[1].kind == TG_MSG_STOP && c.inbox[1].flags == TG_FLAG_PREEMPT);
  ck_assert(!c.event.applied && !c.event.finished && state(&c).update == 1);
  answer(&c, 0);
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
  saved s = save(&a);
  cluster_open(&b, &o);
  ck_assert(load(&b, &s) == TG_OK);
  cluster_start(&b);
  for (uint32_t m = 0; m < 3; m++) ck_assert_uint_eq(b.inbox[m].kind, TG_MSG_STOP);
  ck_assert(tg_server_finished(b.server));
  cluster_close(&b);
  /* A longer one goes on: everybody pulls what there is. */
  o.epochs = 25;
  cluster_open(&b, &o);
  ck_assert(load(&b, &s) == TG_OK);
  cluster_start(&b);
  for (uint32_t m = 0; m < 3; m++) {
    ck_assert(b.inbox[m].kind == TG_MSG_WEIGHTS && b.inbox[m].version == 10);
    ck_assert_mem_eq(state(&b).bak[m], state(&a).w, 5 * sizeof(float));
  }
  cluster_run(&b, 1, UINT64_MAX);
  ck_assert_uint_eq(state(&b).update, 25);
  drop(&s);
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
    for (uint32_t turn = 0; turn < 10; turn++) answer(&a, 1 + turn % 2);
    saved s = save(&a);
    uint64_t *version = s.numbers, *step = version + 3, *pending = step + 3;
    if (i == 0) pending[1] = 7;
    if (i == 1) version[2] = 1000;
    if (i == 2) step[0] = 0;
    if (i == 3) s.counters.issued = 99;
    if (i == 4) s.counters.samples = 20;
    tg_server_options other = o;
    if (i == 5) other.epochs = 12;
    cluster_open(&b, &other);
    ck_assert_int_eq(load(&b, &s), rows[i].code);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "%s", tg_status_message());
    drop(&s);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

/* ---- messages that no worker may send ---- */

/* Worker 0 owes a gradient, worker 1 an evaluation, worker 2 nothing. */
static void three_cases(cluster *c) {
  tg_server_options o = cluster_options("dc-asgd-a", "momentum", 3, 2, 4);
  o.batch = 8;
  o.train_count = 8;
  o.eval_every = 2;
  cluster_open(c, &o);
  answer(c, 2);
  answer(c, 1);
  answer(c, 2);
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
  saved before = save(&c);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    tg_msg reply;
    ck_assert_int_eq(tg_server_begin(c.server, &rows[i].in, &reply, &c.event), TG_ERUNTIME);
    ck_assert_msg(strstr(tg_status_message(), rows[i].expected), "'%s' does not say '%s'",
                  tg_status_message(), rows[i].expected);
    ck_assert(!c.event.applied && !c.event.serves && reply.kind == 0);
    saved after = save(&c); /* and nothing changed */
    ck_assert_mem_eq(before.numbers, after.numbers, 9 * sizeof(uint64_t));
    ck_assert_mem_eq(before.vectors, after.vectors, 2 * 8 * sizeof(float));
    ck_assert_uint_eq(after.counters.update, before.counters.update);
    ck_assert_uint_eq(after.counters.issued, before.counters.issued);
    drop(&after);
  }
  drop(&before);
  cluster_run(&c, 1, UINT64_MAX); /* the right ones are still taken */
  ck_assert_uint_eq(state(&c).update, 4);
  cluster_close(&c);
}
END_TEST

START_TEST(stopped_workers_are_silent) {
  tg_server_options o = cluster_options("asgd", "sgd", 2, 2, 50);
  cluster c;
  cluster_open(&c, &o);
  tg_msg in = reply_of(&c, 0), reply;
  tg_server_preempt(c.server);
  answer(&c, 0);
  ck_assert_int_eq(tg_server_begin(c.server, &in, &reply, &c.event), TG_ERUNTIME);
  ck_assert(strstr(tg_status_message(), "worker 0 sent a gradient that it was not asked for"));
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
  tcase_add_test(tc, boundaries_that_coincide_with_the_end);
  tcase_add_test(tc, evaluations_overlap);
  tcase_add_test(tc, nonfinite_is_dropped);
  tcase_add_test(tc, too_many_nonfinite);
  tcase_add_loop_test(tc, restored_bit_for_bit, 0, 4);
  tcase_add_test(tc, preempted_state_is_whole);
  tcase_add_test(tc, preempted_by_a_worker);
  tcase_add_test(tc, finished_runs_are_resumed);
  tcase_add_test(tc, bad_checkpoints);
  tcase_add_test(tc, bad_messages);
  tcase_add_test(tc, stopped_workers_are_silent);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
