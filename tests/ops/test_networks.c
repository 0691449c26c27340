/* DEVICE: yes. Small networks through the real plan against the same in double: fan-out, shared
 * parameters, several losses and heads, environments in one batch, fused ReLUs. */
#include "networks.h"

/* Largest error of a parameter's gradient over its largest magnitude. */
static double largest_error(const tg_param *p, const float *have, const double *want) {
  double largest = 1e-3, worst = 0;
  for (size_t i = p->offset; i < p->offset + p->count; i++) {
    double d = (double)have[i] - want[i];
    if (!isfinite(d)) return INFINITY;
    largest = fmax(largest, fabs(want[i]));
    worst = fmax(worst, fabs(d));
  }
  return worst / largest;
}

/* Norm of the error over the norm. */
static double norm_of_error(const tg_param *p, const float *have, const double *want) {
  double square = 1e-6, wrong = 0;
  for (size_t i = p->offset; i < p->offset + p->count; i++) {
    double d = (double)have[i] - want[i];
    if (!isfinite(d)) return INFINITY;
    square += want[i] * want[i];
    wrong += d * d;
  }
  return sqrt(wrong / square);
}

static void compare_losses(const network *n, const step_results *s, const ref_graph *r,
                           double tolerance) {
  for (int i = 0; i < n->g->node_count; i++) {
    if (!n->g->node[i]->op->loss) continue;
    ck_assert_msg(fabs(s->loss[i].sum - r->call[i].loss) <= tolerance * fabs(r->call[i].loss),
                  "%s is %g, must be %g", n->g->node[i]->name, s->loss[i].sum, r->call[i].loss);
    ck_assert_int_eq((int64_t)s->loss[i].counted, r->call[i].counted);
  }
}

/* Alone, in shared memory and on the fake device: equal to the bit. */
static step_results step_everywhere(const network *n, tg_dtype precision, const char *what) {
  step_results own = network_run(n, tested_device(), precision, true);
  step_results shared = network_run(n, tested_device(), precision, false);
  step_results fake = network_run(n, other_device(), precision, false);
  ck_assert_msg(steps_equal(n, &own, &shared), "%s: shared memory", what);
  ck_assert_msg(steps_equal(n, &own, &fake), "%s: fake device", what);
  step_free(&shared);
  step_free(&fake);
  return own;
}

/* float32: sums of some thousand products through up to 20 layers, 2^-24 each. */
START_TEST(in_float32) {
  network n = network_create(networks[_i].build);
  ref_graph r = network_reference(&n);
  ref_graph_forward(&r, n.labels);
  ref_graph_backward(&r);
  step_results s = step_everywhere(&n, TG_F32, networks[_i].name);
  compare_losses(&n, &s, &r, 1e-6);
  for (int i = 0; i < n.g->param_count; i++) {
    double error = largest_error(n.g->param[i], s.g, r.dw);
    ck_assert_msg(error <= 2e-5, "%s: gradient of %s is off by %g", networks[_i].name,
                  n.g->param[i]->name, error);
  }
  step_free(&s);
  ref_graph_free(&r);
  network_free(&n);
}
END_TEST

/* bf16: rounding before a ReLU turns it on or off for about 2^-9 of its inputs, and gradients are
 * then off by some per cent. How many is seen in the reference with its values rounded; kernels may
 * be off by twice as much. */
START_TEST(in_bf16) {
  if (!has_bf16()) return;
  network n = network_create(networks[_i].build);
  ref_graph exact = network_reference(&n), rounded = network_reference(&n);
  rounded.bf16 = true;
  ref_graph_forward(&exact, n.labels);
  ref_graph_backward(&exact);
  ref_graph_forward(&rounded, n.labels);
  ref_graph_backward(&rounded);
  float *by_rounding = malloc(n.g->n * sizeof *by_rounding);
  for (size_t i = 0; i < n.g->n; i++) by_rounding[i] = (float)rounded.dw[i];
  double expected = 0;
  for (int i = 0; i < n.g->param_count; i++)
    expected = fmax(expected, norm_of_error(n.g->param[i], by_rounding, exact.dw));
  step_results s = step_everywhere(&n, TG_BF16, networks[_i].name);
  compare_losses(&n, &s, &exact, 1e-2);
  for (int i = 0; i < n.g->param_count; i++) {
    double error = norm_of_error(n.g->param[i], s.g, exact.dw);
    ck_assert_msg(error <= 2 * expected, "%s: gradient of %s is off by %g, rounding gives %g",
                  networks[_i].name, n.g->param[i]->name, error, expected);
  }
  step_free(&s);
  free(by_rounding);
  ref_graph_free(&exact);
  ref_graph_free(&rounded);
  network_free(&n);
}
END_TEST

/* The reference itself: its gradients against central differences of its objective. */
START_TEST(reference_agrees_with_differences) {
  network n = network_create(networks[_i].build);
  ref_graph r = network_reference(&n);
  ref_graph_forward(&r, n.labels);
  ref_graph_backward(&r);
  for (int i = 0; i < n.g->param_count; i++) {
    size_t at = n.g->param[i]->offset + random_bits() % n.g->param[i]->count;
    const double h = 1e-6, kept = r.w[at];
    r.w[at] = kept + h;
    ref_graph_forward(&r, n.labels);
    double above = ref_graph_objective(&r);
    r.w[at] = kept - h;
    ref_graph_forward(&r, n.labels);
    double slope = (above - ref_graph_objective(&r)) / (2 * h);
    r.w[at] = kept;
    ck_assert_msg(fabs(slope - r.dw[at]) <= 1e-6 * fmax(1, fabs(slope)), "%s, %s: %g or %g",
                  networks[_i].name, n.g->param[i]->name, r.dw[at], slope);
  }
  ref_graph_free(&r);
  network_free(&n);
}
END_TEST

/* A ReLU whose input is an output of the graph cannot be folded into the op before it. */
static void unfold(tg_graph *g) {
  for (int i = 0; i < g->node_count; i++) {
    char name[32];
    snprintf(name, sizeof name, "before%d", i);
    tg_node *node = g->node[i];
    if (node->op->id == TG_OP_relu && !node->in[0]->output) tg_output(g, name, node->in[0]);
  }
}

START_TEST(fused_relu_changes_nothing) {
  for (int bf16 = 0; bf16 <= (int)has_bf16(); bf16++) {
    network n = network_create(networks[_i].build);
    step_results fused = network_run(&n, "cpu", bf16 ? TG_BF16 : TG_F32, false);
    unfold(n.g);
    step_results apart = network_run(&n, "cpu", bf16 ? TG_BF16 : TG_F32, false);
    ck_assert_msg(steps_equal(&n, &fused, &apart), "%s, %s", networks[_i].name,
                  bf16 ? "bf16" : "fp32");
    step_free(&fused);
    step_free(&apart);
    network_free(&n);
  }
}
END_TEST

/* Parameters that no loss depends on get a gradient of 0. */
START_TEST(idle_parameters_get_zero) {
  network n = network_create(heads);
  step_results s = network_run(&n, "cpu", TG_F32, false);
  int idle = 0;
  for (int i = 0; i < n.g->param_count; i++) {
    const tg_param *p = n.g->param[i];
    if (strncmp(p->name, "idle.", 5) != 0) continue;
    for (size_t j = 0; j < p->count; j++) ck_assert(s.g[p->offset + j] == 0);
    idle++;
  }
  ck_assert_int_eq(idle, 2);
  step_free(&s);
  network_free(&n);
}
END_TEST

static bool all_finite(const float *v, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(v[i])) return false;
  return true;
}

/* oneDNN's ReLU makes 0 of what is not a number, so that the loss may look well; the gradient,
 * which the server looks at, does not. */
START_TEST(not_a_number_reaches_the_gradient) {
  for (int i = 0; i < 4; i++) {
    bool bf16 = i & 1, weight = i & 2;
    if (bf16 && !has_bf16()) continue;
    network n = network_create(networks[_i].build);
    *(weight ? n.w : n.x) = NAN;
    step_results s = network_run(&n, "cpu", bf16 ? TG_BF16 : TG_F32, false);
    ck_assert_msg(!all_finite(s.g, n.g->n), "%s, %s, in %s", networks[_i].name,
                  bf16 ? "bf16" : "fp32", weight ? "w" : "x");
    step_free(&s);
    network_free(&n);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("networks");
  TCase *t = tcase_create("steps");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, in_float32, 0, NETWORKS);
  tcase_add_loop_test(t, in_bf16, 0, NETWORKS);
  tcase_add_loop_test(t, reference_agrees_with_differences, 0, NETWORKS);
  tcase_add_loop_test(t, fused_relu_changes_nothing, 0, NETWORKS);
  tcase_add_loop_test(t, not_a_number_reaches_the_gradient, 0, NETWORKS);
  tcase_add_test(t, idle_parameters_get_zero);
  suite_add_tcase(s, t);
  return run_suite(s);
}
