/* Batch norm with the addition and the ReLU behind it, and gradients that arrive from two sides:
 * against the same ops one by one, in double. */
#include "../ops/networks.h"

/* Shortcuts that are there already, that come later, and that are batch norms themselves. */
static void shortcuts(tg_graph *g, tg_value *x) {
  x = tg_relu(g, unit(g, "stem", x, 16, 1));
  x = tg_relu(g, tg_add(g, unit(g, "before", x, 16, 1), x));
  x = tg_relu(g, tg_add(g, tg_conv2d(g, "later", x, 16, 1, 1, 0, true), unit(g, "b", x, 16, 1)));
  tg_value *down = unit(g, "down", x, 32, 2);
  x = tg_relu(g, tg_add(g, unit(g, "both", x, 32, 2), down));
  classify(g, "loss", x, 1);
}

/* No ReLU behind the sum; then the sum has three readers, and two of them one value. */
static void without_relu(tg_graph *g, tg_value *x) {
  x = tg_conv2d(g, "stem", x, 16, 3, 1, 1, true);
  x = tg_add(g, unit(g, "a", x, 16, 1), x);
  tg_value *y = tg_relu(g, unit(g, "b", x, 16, 1));
  y = tg_add(g, tg_add(g, unit(g, "c", x, 16, 1), x), tg_add(g, y, y));
  classify(g, "loss", y, 1);
}

/* A normalised value with two and three readers, and no addition before it. */
static void many_readers(tg_graph *g, tg_value *x) {
  tg_value *y = tg_relu(g, unit(g, "stem", x, 16, 1));
  tg_value *parts[] = {tg_conv2d(g, "a", y, 16, 1, 1, 0, false),
                       tg_conv2d(g, "b", y, 16, 3, 1, 1, false)};
  y = unit(g, "joined", tg_concat(g, 1, 2, parts), 16, 1);
  tg_value *again[] = {tg_sigmoid(g, y), tg_relu(g, y), tg_leaky_relu(g, y, 0.25f)};
  classify(g, "loss", tg_concat(g, 1, 3, again), 1);
}

/* Addends in another layout than the convolution's: plain, with a gradient and without; and with
 * channels that fill no block. */
static void other_layouts(tg_graph *g, tg_value *x) {
  tg_value *parts[6] = {x, x, x, x, x, x};
  tg_value *wide = tg_concat(g, 1, 6, parts);
  wide = tg_slice(g, wide, 1, 0, 16, 1);
  tg_value *y = tg_relu(g, tg_add(g, unit(g, "data", wide, 16, 1), wide));
  tg_value *plain = tg_batch_norm(g, "plain", tg_sigmoid(g, wide));
  y = tg_relu(g, tg_add(g, unit(g, "learnt", y, 16, 1), tg_sigmoid(g, plain)));
  y = unit(g, "narrow", y, 5, 1);
  y = tg_relu(g, tg_add(g, unit(g, "odd", y, 5, 1), tg_relu(g, y)));
  classify(g, "loss", y, 1);
}

static const struct {
  const char *name;
  network_fn *build;
  int folded; /* additions that batch norm does */
} fused[] = {{"shortcuts", shortcuts, 3},
             {"without ReLU", without_relu, 2},
             {"many readers", many_readers, 0},
             {"other layouts", other_layouts, 3}};
enum { FUSED = sizeof fused / sizeof *fused };

/* Over all parameters, the largest norm of the error over the norm. */
static double worst_error(const network *n, const float *have, const double *want) {
  double worst = 0;
  for (int i = 0; i < n->g->param_count; i++) {
    const tg_param *p = n->g->param[i];
    double square = 1e-6, wrong = 0;
    for (size_t j = p->offset; j < p->offset + p->count; j++) {
      double d = (double)have[j] - want[j];
      square += want[j] * want[j];
      wrong += d * d;
    }
    worst = fmax(worst, sqrt(wrong / square));
  }
  return worst;
}

/* Other numbers in the same network. */
static void draw(network *n, uint64_t seed) {
  random_state = 88172645463325252u * (2 * seed + 1);
  for (int i = 0; i < 6 * 3 * 8 * 8; i++) n->x[i] = random_number();
  for (size_t i = 0; i < n->g->n; i++) n->w[i] *= (random_bits() & 1) ? 1 : -1;
}

static double error_on(const network *n, const char *device, tg_dtype precision,
                       const double *want) {
  step_results s = network_run(n, device, precision, false);
  double error = worst_error(n, s.g, want);
  step_free(&s);
  return error;
}

static double error_of_rounding(const network *n, const double *want) {
  ref_graph r = network_reference(n);
  r.bf16 = true;
  ref_graph_forward(&r, n->labels);
  ref_graph_backward(&r);
  float *g = malloc(n->g->n * sizeof *g);
  for (size_t i = 0; i < n->g->n; i++) g[i] = (float)r.dw[i];
  double error = worst_error(n, g, want);
  free(g);
  ref_graph_free(&r);
  return error;
}

/* float32: 2^-24 a sum, some thousand terms. bf16: rounding before a ReLU turns it on or off here
 * and there, by chance; on average that must not do more than it does to the single ops. */
START_TEST(gradients_are_those_of_the_single_ops) {
  enum { DRAWS = 8 };
  network n = network_create(fused[_i].build);
  double bf16 = 0, rounding = 0;
  for (uint64_t seed = 0; seed < DRAWS; seed++) {
    draw(&n, seed);
    ref_graph exact = network_reference(&n);
    ref_graph_forward(&exact, n.labels);
    ref_graph_backward(&exact);
    double error = error_on(&n, seed & 1 ? "fake" : "cpu", TG_F32, exact.dw);
    ck_assert_msg(error <= 2e-5, "%s: a gradient is off by %g", fused[_i].name, error);
    if (has_bf16()) {
      bf16 += error_on(&n, seed & 1 ? "fake" : "cpu", TG_BF16, exact.dw) / DRAWS;
      rounding += error_of_rounding(&n, exact.dw) / DRAWS;
    }
    ref_graph_free(&exact);
  }
  ck_assert_msg(bf16 <= 1.25 * rounding, "%s: in bf16 gradients are off by %g, rounding gives %g",
                fused[_i].name, bf16, rounding);
  network_free(&n);
}
END_TEST

START_TEST(additions_are_folded) {
  network n = network_create(fused[_i].build);
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_plan_options options = {.train = true};
  MUST(tg_device_open("cpu", &d));
  MUST(tg_plan_create(n.g, d, &options, &p));
  int folded = 0;
  for (int i = 0; i < p->count; i++) folded += p->exec[i].fuse_add;
  ck_assert_int_eq(folded, fused[_i].folded);
  tg_plan_destroy(p);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

START_TEST(own_memory_changes_nothing) {
  network n = network_create(fused[_i].build);
  for (int bf16 = 0; bf16 <= (int)has_bf16(); bf16++) {
    tg_dtype precision = bf16 ? TG_BF16 : TG_F32;
    step_results own = network_run(&n, "cpu", precision, true);
    step_results shared = network_run(&n, "cpu", precision, false);
    ck_assert_msg(steps_equal(&n, &own, &shared), "%s", fused[_i].name);
    step_free(&own);
    step_free(&shared);
  }
  network_free(&n);
}
END_TEST

/* Evaluation: logits with running statistics, against the reference's batch norm by hand. */
static void small(tg_graph *g, tg_value *x) {
  tg_value *y = tg_batch_norm(g, "bn", x);
  tg_mean_squared_error(g, "loss", tg_relu(g, tg_add(g, y, x)), x, 1);
}

START_TEST(evaluation_uses_running_statistics) {
  network n = network_create(small);
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_plan_options options = {.train = false};
  MUST(tg_device_open("cpu", &d));
  MUST(tg_plan_create(n.g, d, &options, &p));
  const float b[6] = {0.5f, -0.25f, 0, 1, 2, 0.75f};
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  tg_plan_place(p, block);
  tg_plan_bind(p, n.w, NULL, b, NULL);
  network_write(&n, p);
  MUST(tg_plan_forward(p));
  double sum = 0;
  for (int i = 0; i < 6 * 3 * 64; i++) {
    int c = i / 64 % 3;
    double x = n.x[i], scale = n.w[c] / sqrt(b[3 + c] + 1e-5);
    double y = fmax(0, (x - b[c]) * scale + n.w[3 + c] + x);
    sum += (y - x) * (y - x);
  }
  tg_loss_result loss;
  MUST(tg_plan_loss(p, "loss", &loss));
  ck_assert_msg(fabs(loss.sum - sum) <= 1e-5 * sum, "%g, must be %g", loss.sum, sum);
  d->backend->free(d, block);
  tg_plan_destroy(p);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

int main(void) {
  Suite *s = suite_create("fused");
  TCase *t = tcase_create("batch norm");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, gradients_are_those_of_the_single_ops, 0, FUSED);
  tcase_add_loop_test(t, additions_are_folded, 0, FUSED);
  tcase_add_loop_test(t, own_memory_changes_nothing, 0, FUSED);
  tcase_add_test(t, evaluation_uses_running_statistics);
  suite_add_tcase(s, t);
  return run_suite(s);
}
