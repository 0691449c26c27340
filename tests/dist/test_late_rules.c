/* Rules that are more than a change of the gradient, through server, simulator and worker, against
 * a scalar reference in double. */
#include <math.h>

#include "../support/async.h"
#include "../support/fixture.h"
#include "../support/ref_late.h"
#include "cluster.h"
#include "late.h"

enum { PARAMETERS = 61, PUSHES = 300 };

typedef struct beside {
  async_run run;
  tg_schedule schedule;
  ref_late ref, one; /* over the whole run; over one step at a time */
  uint64_t applied, evaluated;
} beside;

/* The learning rate of the schedule for update number t. */
static double scheduled(const beside *b, uint64_t t) {
  return tg_schedule_lr(&b->schedule, (double)t / ASYNC_EPOCH, (double)(t + 1) / ASYNC_EPOCH);
}

/* What worker m brings, computed at what the reference sent it. */
static void bring(const beside *b, const ref_late *r, const tg_msg *in, double *g) {
  const uint32_t steps = b->run.o.comm.worker.local_steps, m = in->worker;
  const float noise = b->run.o.problem.noise;
  double x[PARAMETERS];
  memcpy(x, r->sent[m], r->n * sizeof *x);
  if (!steps) quadratic_gradient(r->n, m, in->step, noise, x, g);
  for (uint32_t k = 0; k < steps; k++) {
    quadratic_gradient(r->n, m, in->step * steps + k, noise, x, g);
    for (size_t i = 0; i < r->n; i++)
      x[i] -= scheduled(b, in->version) * (g[i] + r->weight_decay * x[i]);
  }
  if (steps) memcpy(g, x, r->n * sizeof *x);
}

static double distance(const float *x, const double *expected, size_t n) {
  double error = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    error += pow(x[i] - expected[i], 2);
    size += pow(expected[i], 2);
  }
  return sqrt(error / size);
}

/* The reference `one`, about to make the same step from the server's own state. */
static void same_state(beside *b) {
  tg_server_state t = tg_server_state_of(b->run.server);
  ref_late *r = &b->one;
  const bool last = strcmp(r->rule, "xgrad") == 0, squares = strcmp(r->rule, "gap-aware") == 0;
  r->updates = (double)t.update;
  for (size_t i = 0; i < r->n; i++) {
    r->w[i] = t.w[i];
    if (r->velocity) r->v[i] = t.slot[0][i];
    if (last) r->last[i] = -t.rule_state[0][i];
    if (squares) r->squares[i] = t.rule_state[0][i];
    for (int m = 0; m < r->workers; m++) {
      r->sent[m][i] = t.bak[m][i];
      if (!last && !squares && t.rule_state_count) r->own[m][i] = t.rule_state[m][i];
    }
  }
}

/* Every weight after one step, relative to what was added up. */
static void check_step(beside *b, const tg_msg *in, double lr, double staleness) {
  const float *w = tg_server_state_of(b->run.server).w;
  double brought[PARAMETERS];
  bring(b, &b->one, in, brought);
  ref_late_push(&b->one, (int)in->worker, brought, lr, staleness);
  for (size_t i = 0; i < b->one.n; i++) {
    double size = fabs(b->one.w[i]) + lr * (fabs(brought[i]) + 10 * fabs(b->one.v[i])) + 1e-2;
    ck_assert_msg(fabs(w[i] - b->one.w[i]) <= 1e-6 * size, "%s, weight %zu: %.9g, not %.9g",
                  b->one.rule, i, w[i], b->one.w[i]);
  }
}

static tg_status follow(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  beside *b = self;
  tg_server_state t = tg_server_state_of(b->run.server);
  double brought[PARAMETERS];
  (void)preempt;
  if (event->applied) {
    uint64_t update = event->update - 1;
    double lr = scheduled(b, update), staleness = (double)(update - in->version);
    bring(b, &b->ref, in, brought);
    ref_late_push(&b->ref, (int)in->worker, brought, lr, staleness);
    check_step(b, in, lr, staleness);
    ck_assert_uint_eq(event->staleness, update - in->version);
    b->applied++;
  }
  b->evaluated += event->evaluated;
  if (event->serves) {
    ref_late_pull(&b->ref, (int)in->worker, t.pending[in->worker] == TG_MSG_EVALUATE);
    double apart = distance(t.bak[in->worker], b->ref.sent[in->worker], b->ref.n);
    ck_assert_msg(apart <= 1e-5, "%s, update %llu: sent %.3g apart", b->ref.rule,
                  (unsigned long long)event->update, apart);
  }
  double apart = distance(t.w, b->ref.w, b->ref.n);
  ck_assert_msg(apart <= 1e-5, "%s, update %llu: %.3g apart", b->ref.rule,
                (unsigned long long)event->update, apart);
  same_state(b);
  return TG_OK;
}

static void compare(const char *rule, const char *optimizer, uint32_t workers, tg_sim_order order) {
  async_options o = async_defaults(rule, optimizer, workers, PARAMETERS, PUSHES);
  tg_server_options server;
  beside b = {.applied = 0};
  /* Stable: with momentum .9 a step is ten times as long in the end, and at a delay of 6 updates
   * and curvatures up to 1.5 a descent whose rate is above 2 sin(pi / 26) / 1.5 = .16 swings ever
   * wider, so that what float32 rounds grows with it. */
  o.lr = strcmp(optimizer, "momentum") == 0 ? 0.01 : 0.04;
  /* A gap-aware step changes with w_bak lr |g| / C times as much: where a gradient is suddenly much
   * larger than the average step, differences of the last bit grow. */
  if (strcmp(rule, "gap-aware") == 0) o.problem.noise = 0.1f;
  o.eval_every = 17;
  o.comm.sim.order = order;
  o.comm.sim.slow_workers = 1;
  o.comm.sim.slow_factor = 6;
  ck_ok(async_server_options(&o, &server));
  b.schedule = server.schedule;
  b.ref = (ref_late){.rule = rule,
                     .velocity = strcmp(optimizer, "momentum") == 0,
                     .n = PARAMETERS,
                     .workers = (int)workers,
                     .momentum = server.hyper.momentum,
                     .weight_decay = server.hyper.weight_decay,
                     .step_decay = server.hyper.step_decay,
                     .steps_ahead = server.hyper.prediction_steps,
                     .elasticity = server.hyper.elasticity};
  ck_ok(async_open(&o, "sim", true, true, &b.run));
  b.one = b.ref;
  ref_late_open(&b.ref, async_weights(&b.run));
  ref_late_open(&b.one, async_weights(&b.run));
  tg_observer observer = {.self = &b, .handled = follow};
  ck_ok(async_serve(&b.run, &observer));
  ck_assert_uint_eq(b.applied, PUSHES);
  ck_assert_uint_gt(b.evaluated, PUSHES / 17);
  ref_late_close(&b.ref);
  ref_late_close(&b.one);
  async_close(&b.run);
}

START_TEST(against_the_reference) {
  for (uint32_t workers = 1; workers <= 7; workers += 3) {
    compare(late_rows[_i].rule, late_rows[_i].optimizer, workers, TG_ORDER_ROUND_ROBIN);
    compare(late_rows[_i].rule, late_rows[_i].optimizer, workers, TG_ORDER_EXPONENTIAL);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("late rules");
  TCase *tc = tcase_create("late rules");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, LATE_ROWS);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0);
}
