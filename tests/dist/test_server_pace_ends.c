/* However many workers, whatever their order: with rules that hold, drop or gather every run ends,
 * after exactly its updates, with nobody forgotten; and it can be stopped and restored anywhere. */
#include <stdio.h>

#include "pace.h"

enum { MOST_TURNS = 20000, N = 3 };

static const tg_fold fold = {0, 0, 1, 0.1f};

typedef struct setting {
  pace_row row;
  uint32_t workers;
  uint64_t samples, eval_every, seed;
  bool faults; /* some gradients are not finite */
} setting;

/* A setting for every number. */
static setting setting_of(uint64_t i) {
  static const uint64_t bounds[] = {0, 1, 2, 5, PACE_NONE}, thresholds[] = {1, 2, 3, 10, PACE_NONE};
  static const uint64_t evaluations[] = {0, 0, 1, 3, 7};
  setting s = {.workers = 1 + pace_random(i, 1, 8), .samples = pace_random(i, 2, 60), .seed = i};
  const pace_row rows[] = {{"ssp", bounds[pace_random(i, 3, 5)]},
                           {"ssgd-backup", pace_random(i, 4, s.workers)},
                           {"ringmaster", thresholds[pace_random(i, 5, 5)]}};
  s.row = rows[i % 3];
  s.eval_every = evaluations[pace_random(i, 6, 5)];
  s.faults = pace_random(i, 7, 3) == 0;
  return s;
}

static tg_server_options options_of(const setting *s) {
  tg_server_options o = pace_options(&s->row, "momentum", s->workers, N, (double)s->samples);
  o.eval_every = (double)s->eval_every;
  o.max_nonfinite = UINT64_MAX;
  o.k = o.ks = 1;
  o.folds = &fold;
  o.fold_count = 1;
  return o;
}

static const char *describe(const setting *s) {
  static char text[200];
  snprintf(text, sizeof text,
           "%s %lld, %u workers, %llu samples, evaluations every %llu, seed %llu", s->row.rule,
           (long long)s->row.number, s->workers, (unsigned long long)s->samples,
           (unsigned long long)s->eval_every, (unsigned long long)s->seed);
  return text;
}

/* Nobody who computes is further ahead of the slowest than the bound. */
static uint64_t check_gap(const setting *s, const cluster *c, uint32_t m) {
  tg_server_state t = cluster_state(c);
  uint64_t least = UINT64_MAX;
  for (uint32_t j = 0; j < s->workers; j++)
    if (t.pending[j] && t.clock[j] < least) least = t.clock[j];
  if (c->inbox[m].kind != TG_MSG_WEIGHTS || strcmp(s->row.rule, "ssp") != 0) return 0;
  ck_assert_msg(t.clock[m] <= least || t.clock[m] - least <= s->row.number, "%s: worker %u",
                describe(s), m);
  return t.clock[m] - least;
}

typedef struct tally {
  uint64_t applied, counted, late, evaluations, ends, most_gap;
} tally;

/* The next message of a schedule that depends on the turn alone. */
static void step(const setting *s, cluster *c, uint64_t turn, uint32_t *last, tally *t) {
  uint32_t m = pace_next(c, s->seed, turn, *last);
  ck_assert_msg(m < s->workers, "%s: nobody owes an answer", describe(s));
  bool faulty = s->faults && pace_random(s->seed + 3, turn, 8) == 0;
  if (faulty && c->inbox[m].kind == TG_MSG_WEIGHTS)
    ck_assert(cluster_push_nonfinite(c, m) == TG_OK);
  else
    cluster_must(c, m);
  tg_server_event e = c->event;
  ck_assert(e.held == (c->inbox[m].kind == 0));
  ck_assert(e.counts + e.late + e.nonfinite + e.evaluated == 1);
  t->applied += e.applied;
  t->counted += e.counts;
  t->late += e.late;
  t->evaluations += e.evaluated;
  t->ends += e.finished;
  cluster_release(c);
  for (uint32_t j = 0; j < s->workers; j++) {
    uint64_t gap = check_gap(s, c, j);
    if (gap > t->most_gap) t->most_gap = gap;
  }
  *last = m;
}

static void check_end(const setting *s, const cluster *c, const tally *t) {
  const char *text = describe(s);
  tg_server_state now = cluster_state(c);
  uint64_t gathers = strcmp(s->row.rule, "ssgd-backup") ? 1 : s->workers - s->row.number;
  uint64_t total = (s->samples + gathers - 1) / gathers, clocks = 0;
  for (uint32_t m = 0; m < s->workers; m++) {
    ck_assert_msg(now.pending[m] == 0 && c->inbox[m].kind == TG_MSG_STOP, "%s: worker %u", text, m);
    clocks += now.clock[m];
  }
  ck_assert_msg(now.update == total && t->applied == total, "%s: %llu updates", text,
                (unsigned long long)now.update);
  ck_assert_msg(now.samples == total * gathers && t->counted == total * gathers, "%s", text);
  ck_assert_msg(clocks == t->counted && now.issued == t->counted && now.gathered == 0, "%s", text);
  ck_assert_msg(now.late == t->late && t->ends == 1, "%s: %llu ends", text,
                (unsigned long long)t->ends);
  ck_assert_msg(t->evaluations > 0 && (s->eval_every || t->evaluations == 1), "%s", text);
}

START_TEST(every_run_ends) {
  uint64_t gaps[6] = {0};
  for (uint64_t i = 0; i < 6000; i++) {
    setting s = setting_of(i);
    tg_server_options o = options_of(&s);
    tally t = {0};
    cluster c;
    cluster_open(&c, &o);
    uint32_t last = 0;
    for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
      ck_assert_msg(turn < MOST_TURNS, "%s: no end", describe(&s));
      step(&s, &c, turn, &last, &t);
    }
    check_end(&s, &c, &t);
    if (strcmp(s.row.rule, "ssp") == 0 && s.row.number < 6 && t.most_gap > gaps[s.row.number])
      gaps[s.row.number] = t.most_gap;
    cluster_close(&c);
  }
  /* The bound is reached, not only kept. */
  ck_assert(gaps[1] == 1 && gaps[2] == 2 && gaps[5] == 5);
}
END_TEST

/* ---- stopped and restored ---- */

static void same_state(const setting *s, const cluster *a, const cluster *b) {
  tg_server_state x = cluster_state(a), y = cluster_state(b);
  const char *text = describe(s);
  for (uint32_t m = 0; m < s->workers; m++) {
    ck_assert_msg(memcmp(&a->inbox[m], &b->inbox[m], sizeof a->inbox[m]) == 0, "%s", text);
    ck_assert_msg(memcmp(x.bak[m], y.bak[m], N * sizeof(float)) == 0, "%s", text);
  }
  ck_assert_msg(memcmp(x.w, y.w, N * sizeof(float)) == 0 && x.b[0] == y.b[0], "%s", text);
  ck_assert_msg(x.late == y.late && x.nonfinite == y.nonfinite, "%s", text);
}

/* Stops everybody; who is held is told without having said anything. */
static void preempt(const setting *s, cluster *c) {
  uint64_t held = 0, ends = 0;
  for (uint32_t m = 0; m < s->workers; m++) held += cluster_state(c).pending[m] == TG_SERVER_HELD;
  bool alone = tg_server_finished(c->server);
  tg_server_preempt(c->server);
  ck_assert_uint_eq(cluster_release(c), held);
  for (uint32_t m = 0; m < s->workers; m++) {
    if (!cluster_busy(c, m)) continue;
    cluster_must(c, m);
    ck_assert(!c->event.counts && !c->event.serves && !c->event.held);
    ends += c->event.finished;
  }
  ck_assert_msg(tg_server_finished(c->server) && ends == !alone, "%s", describe(s));
  for (uint32_t m = 0; m < s->workers; m++) ck_assert_uint_eq(c->inbox[m].kind, TG_MSG_STOP);
}

/* After `at` messages a is saved, stopped or simply forgotten, and goes on as b; an undisturbed run
 * is beside it. */
static bool stop_at(const setting *s, uint64_t at) {
  tg_server_options o = options_of(s);
  cluster a, b, whole;
  tally t = {0}, u = {0};
  uint32_t last = 0, other = 0;
  cluster_open(&a, &o);
  cluster_open(&whole, &o);
  for (uint64_t turn = 0; turn < at && !tg_server_finished(a.server); turn++) {
    step(s, &a, turn, &last, &t);
    step(s, &whole, turn, &other, &u);
  }
  bool interesting = cluster_state(&a).gathered > 0;
  for (uint32_t m = 0; m < s->workers; m++)
    interesting |= cluster_state(&a).pending[m] == TG_SERVER_HELD;
  if (at % 2) preempt(s, &a);
  cluster_saved saved = cluster_save(&a);
  cluster_open(&b, &o);
  ck_assert_msg(cluster_load(&b, &saved) == TG_OK, "%s: %s", describe(s), tg_status_message());
  cluster_start(&b);
  cluster_release(&b);
  for (uint64_t turn = at; !tg_server_finished(whole.server); turn++) {
    same_state(s, &b, &whole);
    step(s, &b, turn, &last, &t);
    step(s, &whole, turn, &other, &u);
  }
  same_state(s, &b, &whole);
  ck_assert(tg_server_finished(b.server));
  cluster_drop(&saved);
  cluster_close(&a);
  cluster_close(&b);
  cluster_close(&whole);
  return interesting;
}

START_TEST(stopped_and_restored_anywhere) {
  int interesting = 0;
  for (uint64_t i = 0; i < 900; i++) {
    setting s = setting_of(i);
    interesting += stop_at(&s, pace_random(i, 9, (uint32_t)s.samples + 5));
  }
  ck_assert_int_gt(interesting, 150);
}
END_TEST

/* A message was handled, but who may go on was not told yet: that is the first thing after. */
START_TEST(saved_before_the_release) {
  const pace_row rows[] = {{"ssp", 0}, {"ssgd-backup", 1}};
  for (int i = 0; i < 2; i++) {
    tg_server_options o = pace_options(&rows[i], "sgd", 3, N, 60);
    cluster a, b;
    cluster_open(&a, &o);
    cluster_must(&a, 2);
    cluster_must(&a, 0);
    if (i == 0) cluster_must(&a, 1);
    cluster_saved saved = cluster_save(&a);
    cluster_open(&b, &o);
    ck_assert_msg(cluster_load(&b, &saved) == TG_OK, "%s", tg_status_message());
    cluster_start(&b);
    ck_assert_uint_eq(b.inbox[2].kind, 0);
    ck_assert_uint_eq(cluster_release(&a), i ? 1 : 2);
    ck_assert_uint_eq(cluster_release(&b), i ? 1 : 2);
    for (uint32_t m = 0; m < 3; m++) {
      ck_assert_mem_eq(&a.inbox[m], &b.inbox[m], sizeof a.inbox[m]);
      ck_assert_mem_eq(cluster_state(&b).bak[m], cluster_state(&a).bak[m], N * sizeof(float));
    }
    cluster_drop(&saved);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

/* A finished run that is made longer: everybody pulls what there is, within the bound. */
START_TEST(finished_runs_are_made_longer) {
  for (uint64_t i = 0; i < 300; i++) {
    setting s = setting_of(i);
    tg_server_options o = options_of(&s);
    cluster a, b;
    tally t = {0};
    uint32_t last = 0;
    cluster_open(&a, &o);
    for (uint64_t turn = 0; !tg_server_finished(a.server); turn++) step(&s, &a, turn, &last, &t);
    cluster_saved saved = cluster_save(&a);
    s.samples += 40;
    t.ends = t.evaluations = 0;
    o = options_of(&s);
    cluster_open(&b, &o);
    ck_assert_msg(cluster_load(&b, &saved) == TG_OK, "%s", tg_status_message());
    cluster_start(&b);
    cluster_release(&b);
    for (uint64_t turn = 0; !tg_server_finished(b.server); turn++) step(&s, &b, turn, &last, &t);
    check_end(&s, &b, &t);
    cluster_drop(&saved);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

START_TEST(bad_checkpoints) {
  const char *expected[] = {"owe an answer to a message of kind 64", "1 gradients gathered",
                            "3 gradients gathered, an update takes 3", "clock 9",
                            "6 samples in 2 updates, train.batch is 1 and an update takes 2"};
  for (int i = 0; i < 5; i++) {
    const pace_row rows[] = {{"ssgd-backup", 0}, {"asgd", 0}, {"ssgd-backup", 1}};
    tg_server_options o = pace_options(&rows[0], "sgd", 3, N, 60);
    tg_server_options other = pace_options(&rows[i == 0 ? 1 : i == 4 ? 2 : 0], "sgd", 3, N, 60);
    cluster a, b;
    cluster_open(&a, &o);
    for (int round = 0; round < 2; round++)
      for (uint32_t m = 0; m < 3; m++) {
        cluster_must(&a, m);
        cluster_release(&a);
      }
    if (i == 0) cluster_must(&a, 0);
    cluster_saved s = cluster_save(&a);
    uint64_t *clock = s.numbers + 9;
    if (i == 1) s.counters.gathered = 1;
    if (i == 2) s.counters.gathered = 3;
    if (i == 3) clock[1] = 9;
    cluster_open(&b, &other);
    tg_server_state t = cluster_state(&b);
    /* Numbers alone: another rule has other vectors. */
    memcpy(t.version, s.numbers, 3 * sizeof *t.version);
    memcpy(t.step, s.numbers + 3, 3 * sizeof *t.step);
    memcpy(t.pending, s.numbers + 6, 3 * sizeof *t.pending);
    memcpy(t.clock, clock, 3 * sizeof *t.clock);
    ck_assert(tg_server_restored(b.server, &s.counters) != TG_OK);
    ck_assert_msg(strstr(tg_status_message(), expected[i]), "%s", tg_status_message());
    cluster_drop(&s);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("server pace, ends");
  TCase *tc = tcase_create("ends");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, every_run_ends);
  tcase_add_test(tc, stopped_and_restored_anywhere);
  tcase_add_test(tc, saved_before_the_release);
  tcase_add_test(tc, finished_runs_are_made_longer);
  tcase_add_test(tc, bad_checkpoints);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
