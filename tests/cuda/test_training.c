/* DEVICE: yes. VALGRIND: no: it trains. Training on a device against training on the cpu; the same
 * bits in every run, recorded or not; plans that share memory. */
#include "../support/training.h"

typedef struct course {
  const char *model;
  float lr;
  /* float32 on both sides, so that sums differ in their order only. A step's gradient: of norms.
   * Losses: of the first one's. On the cpu weights that differ by 2^-20 change the mlp's gradients
   * by 1e-6 and its losses by 1e-6; resnet20's by 1e-5 at first, and where one of them turns a ReLU
   * over its losses by up to 1e-4 from the 20th step on. Larger or smaller rates part sooner. */
  double gradient, first_losses, losses;
} course;

static const course courses[] = {{"mlp", 0.02f, 1e-5, 1e-5, 1e-5},
                                 {"resnet20", 0.01f, 1e-4, 1e-4, 1e-3}};
enum { COURSES = sizeof courses / sizeof *courses, MLP = 0, STEPS = 100, FIRST = 10, FEW = 6 };

static batch data[BATCHES];

/* Tests of what a device cannot do pass. */
static bool has_precision(tg_dtype precision) {
  return precision == TG_F32 || has_bf16();
}

/* ---- against the cpu ---- */

static double norm_of_error(const tg_param *p, const float *have, const float *want) {
  double square = 1e-12, wrong = 0;
  for (size_t i = p->offset; i < p->offset + p->count; i++) {
    double d = (double)have[i] - (double)want[i];
    if (!isfinite(d)) return INFINITY;
    square += (double)want[i] * (double)want[i];
    wrong += d * d;
  }
  return sqrt(wrong / square);
}

/* The largest, and its parameter. */
static double gradient_error(const trainer *a, const trainer *b, const char **where) {
  float *have = to_host(a->d, a->g, a->graph->n), *want = to_host(b->d, b->g, b->graph->n);
  double worst = 0;
  for (int i = 0; i < a->graph->param_count; i++) {
    double error = norm_of_error(a->graph->param[i], have, want);
    if (error < worst) continue;
    worst = error;
    *where = a->graph->param[i]->name;
  }
  free(have);
  free(want);
  return worst;
}

/* In one of some thousand batches a ReLU's input is so near 0 that rounding decides, and what is
 * behind it is off by some per cent: one of the five may be such a batch. */
START_TEST(gradients_are_the_cpus) {
  const course *t = &courses[_i];
  trainer here = trainer_open(t->model, other_device(), TG_F32);
  trainer there = trainer_open(t->model, "cpu", TG_F32);
  int off = 0;
  for (int i = 0; i < BATCHES; i++) {
    const char *where = "";
    double loss = trainer_gradient(&here, &data[i]), want = trainer_gradient(&there, &data[i]);
    double error = gradient_error(&here, &there, &where);
    ck_assert_msg(fabs(loss - want) <= t->first_losses * want, "%s: loss %.9g, must be %.9g",
                  t->model, loss, want);
    off += !(error <= t->gradient);
    ck_assert_msg(off <= 1 && error <= 0.1, "%s, batch %d: gradient of %s is off by %g", t->model,
                  i, where, error);
  }
  trainer_close(&here);
  trainer_close(&there);
}
END_TEST

START_TEST(a_hundred_steps_follow_the_cpus) {
  const course *t = &courses[_i];
  double have[STEPS], want[STEPS];
  trainer here = trainer_open(t->model, other_device(), TG_F32);
  trainer there = trainer_open(t->model, "cpu", TG_F32);
  train(&here, data, STEPS, t->lr, have);
  train(&there, data, STEPS, t->lr, want);
  for (int i = 0; i < STEPS; i++) {
    double tolerance = i < FIRST ? t->first_losses : t->losses;
    ck_assert_msg(fabs(have[i] - want[i]) <= tolerance * want[0],
                  "%s: the loss of step %d is %.9g, must be %.9g", t->model, i, have[i], want[i]);
  }
  ck_assert_msg(have[STEPS - 1] < 0.1 * have[0], "%s: learnt nothing: loss %g", t->model,
                have[STEPS - 1]);
  trainer_close(&here);
  trainer_close(&there);
}
END_TEST

START_TEST(not_a_number_reaches_the_gradient) {
  for (int in_weights = 0; in_weights < 2; in_weights++) {
    trainer t = trainer_open(courses[_i].model, other_device(), TG_F32);
    batch from = data[0];
    float nan = NAN;
    if (in_weights)
      MUST(t.d->backend->to_device(t.d, t.w, &nan, sizeof nan));
    else
      from.x[0] = nan;
    (void)trainer_gradient(&t, &from);
    double sum = 0;
    MUST(t.d->backend->square_sum(t.d, t.graph->n, t.g, &sum));
    ck_assert_msg(!isfinite(sum), "%s, %s", courses[_i].model, in_weights ? "weights" : "x");
    trainer_close(&t);
  }
}
END_TEST

/* ---- the same bits ---- */

typedef struct outcome {
  double loss[FEW];
  float *w;
} outcome;

static outcome run(const course *t, tg_dtype precision, bool one_by_one) {
  outcome o;
  trainer a = trainer_open(t->model, other_device(), precision);
  a.one_by_one = one_by_one;
  train(&a, data, FEW, t->lr, o.loss);
  o.w = to_host(a.d, a.w, a.graph->n);
  trainer_close(&a);
  return o;
}

static void check_equal(const char *what, const course *t, const outcome *a, const outcome *b) {
  tg_graph *g = make_model(t->model, BATCH);
  for (int i = 0; i < FEW; i++)
    ck_assert_msg(memcmp(&a->loss[i], &b->loss[i], sizeof(double)) == 0,
                  "%s, %s: the loss of step %d is %.17g or %.17g", t->model, what, i, a->loss[i],
                  b->loss[i]);
  ck_assert_msg(memcmp(a->w, b->w, g->n * sizeof(float)) == 0, "%s, %s: weights differ", t->model,
                what);
  tg_graph_destroy(g);
}

/* Two runs; and one of which no step was recorded. */
START_TEST(runs_repeat_to_the_bit) {
  const course *t = &courses[_i];
  for (tg_dtype precision = TG_F32; precision <= TG_BF16; precision++) {
    if (!has_precision(precision)) continue;
    outcome once = run(t, precision, false), again = run(t, precision, false);
    outcome apart = run(t, precision, true);
    check_equal("again", t, &once, &again);
    check_equal("one kernel after the other", t, &once, &apart);
    free(once.w);
    free(again.w);
    free(apart.w);
  }
}
END_TEST

static void same_gradient(const trainer *t, const float *g, const float *want, const char *what) {
  float *have = to_host(t->d, g, t->graph->n);
  ck_assert_msg(memcmp(have, want, t->graph->n * sizeof *have) == 0, "%s", what);
  free(have);
}

/* The gradient at these weights, of a plan that records nothing. */
static float *gradient_at(const course *of, const float *w, const batch *from) {
  trainer t = trainer_open(of->model, other_device(), TG_F32);
  t.one_by_one = true;
  MUST(t.d->backend->to_device(t.d, t.w, w, t.graph->n * sizeof *w));
  (void)trainer_gradient(&t, from);
  float *g = to_host(t.d, t.g, t.graph->n);
  trainer_close(&t);
  return g;
}

/* A recorded step knows addresses: other contents are seen, other addresses forget it. */
START_TEST(a_recorded_step_honours_what_is_bound) {
  const course *of = &courses[_i];
  trainer t = trainer_open(of->model, other_device(), TG_F32);
  size_t n = t.graph->n, bytes = n * sizeof(float);
  float *first = to_host(t.d, t.w, n), *second = malloc(bytes);
  for (size_t i = 0; i < n; i++) second[i] = 0.75f * first[i];
  float *of_first = gradient_at(of, first, &data[1]),
        *of_second = gradient_at(of, second, &data[1]);
  float *other_w = on_device(t.d, second, bytes), *other_g = on_device(t.d, NULL, bytes);
  for (int i = 0; i < 3; i++) (void)trainer_gradient(&t, &data[i]); /* recorded by now */
  (void)trainer_gradient(&t, &data[1]);
  same_gradient(&t, t.g, of_first, "played");
  tg_plan_bind(t.plan, other_w, other_g, NULL, t.s);
  for (int i = 0; i < 2; i++) (void)trainer_gradient(&t, &data[1]);
  same_gradient(&t, other_g, of_second, "other weights bound");
  same_gradient(&t, t.g, of_first, "what is not bound any more");
  MUST(t.d->backend->to_device(t.d, other_w, first, bytes));
  (void)trainer_gradient(&t, &data[1]);
  same_gradient(&t, other_g, of_first, "other contents");
  void *elsewhere = on_device(t.d, NULL, tg_plan_bytes(t.plan));
  tg_plan_place(t.plan, elsewhere);
  tg_plan_bind(t.plan, t.w, t.g, NULL, t.s);
  for (int i = 0; i < 2; i++) (void)trainer_gradient(&t, &data[1]);
  same_gradient(&t, t.g, of_first, "in other memory");
  void *used[] = {elsewhere, other_w, other_g};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) t.d->backend->free(t.d, used[i]);
  trainer_close(&t);
  free(first);
  free(second);
  free(of_first);
  free(of_second);
}
END_TEST

/* ---- gradients that leave while the step goes on ---- */

typedef struct leaving {
  const trainer *t;
  float *to; /* host memory, pinned */
} leaving;

static tg_status leave(void *self, tg_span span) {
  const leaving *l = self;
  const trainer *t = l->t;
  return t->d->backend->to_host_beside(t->d, l->to + span.lo, t->g + span.lo,
                                       (span.hi - span.lo) * sizeof(float));
}

/* Copied piece by piece, beside the kernels, also by a step that is recorded. */
START_TEST(gradients_leave_whole) {
  trainer t = trainer_open(courses[_i].model, other_device(), TG_F32);
  const tg_backend *backend = t.d->backend;
  if (!backend->to_host_beside) {
    trainer_close(&t);
    return;
  }
  size_t bytes = t.graph->n * sizeof(float);
  float *to = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  leaving l = {&t, to};
  MUST(backend->pin(t.d, to, bytes));
  tg_plan_watch(t.plan, 1000, leave, &l);
  for (int i = 0; i < BATCHES; i++) {
    memset(to, 0xff, bytes);
    (void)trainer_gradient(&t, &data[i]);
    same_gradient(&t, t.g, to, "what has left");
    trainer_update(&t, courses[_i].lr);
  }
  tg_plan_watch(t.plan, 0, NULL, NULL);
  backend->unpin(t.d, to);
  trainer_close(&t);
  free(to);
}
END_TEST

/* ---- plans that share memory ---- */

enum { EVALUATED = 5 };

typedef struct evaluation {
  tg_graph *graph;
  tg_plan *plan;
  float *b; /* device memory */
} evaluation;

static evaluation evaluation_open(const course *of, const trainer *t) {
  evaluation e = {.graph = make_model(of->model, EVALUATED)};
  tg_plan_options options = {.train = false, .precision = TG_F32};
  float *w = malloc(e.graph->n * sizeof *w), *b = malloc((e.graph->k + 1) * sizeof *b);
  tg_model_init(e.graph, TG_HE, 1, w, b);
  MUST(tg_plan_create(e.graph, t->d, &options, &e.plan));
  e.b = on_device(t->d, b, e.graph->k * sizeof *b);
  free(w);
  free(b);
  return e;
}

static double evaluate(const trainer *t, const evaluation *e, const batch *from) {
  tg_loss_result loss;
  tg_plan_bind(e->plan, t->w, t->g, e->b, t->s);
  MUST(tg_plan_write(e->plan, "x", from->x, EVALUATED * IMAGE * sizeof(float)));
  MUST(tg_plan_write(e->plan, "y", from->y, EVALUATED * sizeof(int32_t)));
  MUST(tg_plan_run(e->plan));
  MUST(tg_plan_loss(e->plan, "loss", &loss));
  return loss.sum;
}

/* Losses of steps and evaluations that take turns. */
static void take_turns(const course *of, bool share, double out[2 * FEW]) {
  trainer t = trainer_open(of->model, other_device(), TG_F32);
  evaluation e = evaluation_open(of, &t);
  size_t bytes = tg_plan_bytes(t.plan), of_evaluation = tg_plan_bytes(e.plan);
  void *block = on_device(t.d, NULL, bytes > of_evaluation ? bytes : of_evaluation);
  if (share) tg_plan_place(t.plan, block);
  tg_plan_bind(t.plan, t.w, t.g, NULL, t.s);
  tg_plan_place(e.plan, block);
  for (int i = 0; i < FEW; i++) {
    out[2 * i] = trainer_gradient(&t, &data[i % BATCHES]);
    trainer_update(&t, of->lr);
    out[2 * i + 1] = evaluate(&t, &e, &data[(i + 1) % BATCHES]);
  }
  tg_plan_destroy(e.plan);
  t.d->backend->free(t.d, e.b);
  t.d->backend->free(t.d, block);
  trainer_close(&t);
  tg_graph_destroy(e.graph);
}

START_TEST(recorded_plans_share_a_block) {
  double alone[2 * FEW], shared[2 * FEW];
  take_turns(&courses[_i], false, alone);
  take_turns(&courses[_i], true, shared);
  for (int i = 0; i < 2 * FEW; i++)
    ck_assert_msg(memcmp(&alone[i], &shared[i], sizeof(double)) == 0,
                  "%s, %s %d: loss %.17g alone, %.17g in shared memory", courses[_i].model,
                  i % 2 ? "evaluation" : "step", i / 2, alone[i], shared[i]);
}
END_TEST

/* A request that cannot be met fails with a message, and nothing else is lost. */
START_TEST(memory_that_is_not_there) {
  trainer t = trainer_open(courses[MLP].model, other_device(), TG_F32);
  void *p = NULL;
  double before = trainer_gradient(&t, &data[0]);
  ck_assert_int_eq(t.d->backend->alloc(t.d, (size_t)1 << 52, &p), TG_ERUNTIME);
  ck_assert_msg(strstr(tg_status_message(), "4503599627370496"), "%s", tg_status_message());
  ck_assert(trainer_gradient(&t, &data[0]) == before);
  trainer_close(&t);
}
END_TEST

int main(void) {
  Suite *s = suite_create("training");
  TCase *t = tcase_create("training");
  make_batches(data);
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, gradients_are_the_cpus, 0, COURSES);
  tcase_add_loop_test(t, a_hundred_steps_follow_the_cpus, 0, COURSES);
  tcase_add_loop_test(t, not_a_number_reaches_the_gradient, 0, COURSES);
  tcase_add_loop_test(t, runs_repeat_to_the_bit, 0, COURSES);
  tcase_add_loop_test(t, a_recorded_step_honours_what_is_bound, 0, COURSES);
  tcase_add_loop_test(t, gradients_leave_whole, 0, COURSES);
  tcase_add_loop_test(t, recorded_plans_share_a_block, 0, COURSES);
  tcase_add_test(t, memory_that_is_not_there);
  suite_add_tcase(s, t);
  return run_suite(s);
}
