/* The reference in double that the updates are compared with: against vectors worked by hand, exact
 * derivatives, and what must not depend on how units are scaled. */
#include "vectors.h"

/* ---- derivatives ---- */

static const double tiny = 1e-100;

/* The gradient of the loss by complex steps. */
START_TEST(gradients_are_exact) {
  task t = task_open(&nets[_i].net);
  double *g = doubles(t.net.n);
  double complex *w = calloc(t.net.n, sizeof *w);
  double loss = task_gradient(&t, t.w, g);
  for (size_t i = 0; i < t.net.n; i++) w[i] = t.w[i];
  ck_assert_double_eq_tol(creal(ref_net_loss(&t.net, w, t.x, t.target)), loss, 1e-13 * loss);
  for (size_t i = 0; i<t.net.n; i += t.net.n> 500 ? 97 : 1) {
    w[i] = t.w[i] + tiny * I;
    double exact = cimag(ref_net_loss(&t.net, w, t.x, t.target)) / tiny;
    ck_assert_msg(fabs(exact - g[i]) <= 1e-12 * (1 + fabs(exact)), "%s: g[%zu] is %g, not %g",
                  nets[_i].net.name, i, g[i], exact);
    w[i] = t.w[i];
  }
  free(g);
  free(w);
  task_close(&t);
}
END_TEST

/* Weights that have the path values p, skeletons where they are: what a path does to the others. */
static void complex_weights(const task *t, const double *w, const double *from,
                            const double complex *p, double complex *out) {
  const ref_block *b = &t->block;
  for (size_t i = 0; i < t->net.n; i++) out[i] = from[i] != 0 ? w[i] * (p[i] / from[i]) : w[i];
  for (int l = 1; l <= b->count; l++)
    for (size_t e = 0; l != b->special && e < b->layer[l - 1].out; e++) {
      size_t bias = b->layer[l - 1].bias, row = b->layer[l - 1].in * b->layer[l - 1].taps;
      for (size_t k = 0; k < row; k++) {
        size_t at = b->layer[l - 1].weight + e * row + k, i = k / b->layer[l - 1].taps;
        size_t j = l > b->special ? i : e;
        size_t s = ref_weight(b, b->special, j, j % b->layer[b->special - 1].in,
                              b->layer[b->special - 1].centre);
        if (from[at] != 0) out[at] /= p[s] / from[s];
      }
      if (bias != REF_NONE && l < b->special) {
        size_t s = ref_weight(b, b->special, e, e % b->layer[b->special - 1].in,
                              b->layer[b->special - 1].centre);
        out[bias + e] /= p[s] / from[s];
      }
    }
}

/* T2: by complex steps of path values, the others held; and by central differences. */
START_TEST(path_gradients_are_derivatives) {
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n;
  ref_paths r = reference_of(&t, "gsgd");
  double *g = doubles(n), *d = doubles(n), *from = doubles(n);
  double complex *p = calloc(n, sizeof *p), *w = calloc(n, sizeof *w);
  task_rescale(&t, t.w, false);
  task_gradient(&t, t.w, g);
  ref_path_values(&r, t.w, from);
  ref_path_gradients(&r, t.w, g, d);
  for (size_t i = 0; i < n; i++) p[i] = from[i];
  for (size_t i = 0; i<n; i += n> 500 ? 53 : 1) {
    double complex value[3];
    const double complex moved[3] = {tiny * I, 1e-5, -1e-5};
    for (int k = 0; k < 3; k++) {
      p[i] = from[i] + moved[k];
      complex_weights(&t, t.w, from, p, w);
      value[k] = ref_net_loss(&t.net, w, t.x, t.target);
    }
    p[i] = from[i];
    double exact = cimag(value[0]) / tiny, central = creal(value[1] - value[2]) / 2e-5;
    if (from[i] == 0) exact = central = 0;
    ck_assert_msg(fabs(exact - d[i]) <= 1e-11 * (1 + fabs(exact)), "%s: d[%zu] is %g, not %g",
                  nets[_i].net.name, i, d[i], exact);
    /* A ReLU that bends within a step is no mistake: rare, and seen by the exact one. */
    if (fabs(central - exact) > 1e-6 * (1 + fabs(exact)))
      ck_assert_msg(fabs(central - exact) <= 1e-2 * (1 + fabs(exact)), "%g, not %g", central,
                    exact);
  }
  free(g);
  free(d);
  free(from);
  free(p);
  free(w);
  task_close(&t);
}
END_TEST

/* ---- updates ---- */

/* T2: path values, computed anew, have gone down by lr times their gradients. */
START_TEST(paths_go_where_they_should) {
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n;
  ref_paths r = reference_of(&t, "gsgd");
  double *g = doubles(n), *d = doubles(n), *p = doubles(n), *after = doubles(n);
  ref_paths_open(&r);
  task_rescale(&t, t.w, false);
  for (int step = 0; step < 5; step++) {
    task_gradient(&t, t.w, g);
    ref_path_values(&r, t.w, p);
    ref_path_gradients(&r, t.w, g, d);
    ref_paths_step(&r, 0.01, t.w, g, NULL);
    ref_path_values(&r, t.w, after);
    for (size_t i = 0; i < n; i++) p[i] -= 0.01 * d[i];
    ck_assert_double_le(apart(n, p, after), 1e-14);
  }
  ref_paths_close(&r);
  free(g);
  free(d);
  free(p);
  free(after);
  task_close(&t);
}
END_TEST

/* The loss of u, where weights behind the special layer are u over v of the unit that they leave,
 * and those before it over v of the unit that they enter: plain SGD on u is G-SGD, where frozen
 * skeletons are 1. */
static double complex loss_of_u(const task *t, const double complex *u, double complex *w) {
  const ref_block *b = &t->block;
  memcpy(w, u, t->net.n * sizeof *w);
  for (int l = 1; l <= b->count; l++)
    for (size_t o = 0; l != b->special && o < b->layer[l - 1].out; o++) {
      for (size_t i = 0; i < b->layer[l - 1].in; i++)
        for (size_t tap = 0; tap < b->layer[l - 1].taps; tap++) {
          size_t j = l > b->special ? i : o, at = ref_weight(b, l, o, i, tap);
          size_t v = ref_weight(b, b->special, j, j % b->layer[b->special - 1].in,
                                b->layer[b->special - 1].centre);
          if (!ref_is_skeleton(b, l, o, i, tap)) w[at] = u[at] / u[v];
        }
      size_t v = ref_weight(b, b->special, o, o % b->layer[b->special - 1].in,
                            b->layer[b->special - 1].centre);
      if (l < b->special && b->layer[l - 1].bias != REF_NONE)
        w[b->layer[l - 1].bias + o] = u[b->layer[l - 1].bias + o] / u[v];
    }
  return ref_net_loss(&t->net, w, t->x, t->target);
}

static bool is_frozen(const task *t, size_t at) {
  const ref_block *b = &t->block;
  for (int l = 1; l <= b->count; l++)
    for (size_t o = 0; o < b->layer[l - 1].out; o++)
      for (size_t i = 0; i < b->layer[l - 1].in; i++)
        for (size_t tap = 0; tap < b->layer[l - 1].taps; tap++)
          if (at == ref_weight(b, l, o, i, tap) && ref_is_skeleton(b, l, o, i, tap))
            return l != b->special;
  return false;
}

START_TEST(is_sgd_on_u) {
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n;
  if (n > 500) {
    task_close(&t);
    return;
  }
  ref_paths r = reference_of(&t, "gsgd");
  double *g = doubles(n), *d = doubles(n), *back = doubles(n);
  double complex *u = calloc(n, sizeof *u), *w = calloc(n, sizeof *w);
  ref_paths_open(&r);
  ref_canonical(&t.block, t.w);
  for (size_t i = 0; i < n; i++) /* frozen ones 1, as published */
    if (is_frozen(&t, i)) t.w[i] = 1;
  ref_path_values(&r, t.w, d);
  for (size_t i = 0; i < n; i++) u[i] = is_frozen(&t, i) ? 1 : d[i];
  for (int step = 0; step < 20; step++) {
    for (size_t i = 0; i < n; i++) {
      u[i] += tiny * I;
      d[i] = cimag(loss_of_u(&t, u, w)) / tiny;
      u[i] = creal(u[i]);
    }
    for (size_t i = 0; i < n; i++)
      if (!is_frozen(&t, i)) u[i] -= 0.01 * d[i];
    task_gradient(&t, t.w, g);
    ref_paths_step(&r, 0.01, t.w, g, NULL);
    loss_of_u(&t, u, w);
    for (size_t i = 0; i < n; i++) back[i] = creal(w[i]);
    ck_assert_msg(apart(n, back, t.w) <= 1e-12, "%s, step %d: %g apart", nets[_i].net.name, step,
                  apart(n, back, t.w));
  }
  ref_paths_close(&r);
  free(g);
  free(d);
  free(back);
  free(u);
  free(w);
  task_close(&t);
}
END_TEST

START_TEST(special_layers) {
  task t = task_open(&nets[_i].net);
  ck_assert_int_eq(t.block.special, nets[_i].s);
  task_close(&t);
}
END_TEST

/* ---- the vectors of the method's description ---- */

START_TEST(vectors_in_double) {
  const vector *v = &vectors[_i];
  for (int c = 0; c < 2; c++) {
    task t = vector_open(v, c);
    ref_paths r = reference_of(&t, "gsgd");
    double g[VECTOR_MOST], d[VECTOR_MOST], p[VECTOR_MOST];
    ref_paths_open(&r);
    task_gradient(&t, t.w, g);
    ref_path_gradients(&r, t.w, g, d);
    vector_check(v, "g", c ? NULL : v->g, g, 1e-12);
    for (size_t j = 0; j < 2; j++) ck_assert_double_eq_tol(d[3 * j], v->dv[j], 1e-12);
    ref_path_values(&r, t.w, p);
    ref_paths_step(&r, 0.1, t.w, g, NULL);
    vector_check(v, "w", c ? v->rescaled_after : v->after, t.w, 1e-12);
    ref_net_forward(&t.net, t.w, t.x, t.y);
    for (size_t k = 0; k < v->outputs; k++) ck_assert_double_eq_tol(t.y[k], v->y[k], 1e-12);
    for (int step = 1; step < 10; step++) {
      task_gradient(&t, t.w, g);
      ref_paths_step(&r, 0.1, t.w, g, NULL);
    }
    ref_net_forward(&t.net, t.w, t.x, t.y);
    if (v->y10 != 0) ck_assert_double_eq_tol(t.y[0], v->y10, 1e-12);
    ref_paths_close(&r);
    task_close(&t);
  }
}
END_TEST

START_TEST(vectors_rescaled) {
  const vector *v = &vectors[_i];
  task t = vector_open(v, false);
  for (int n = 1; n < t.net.layers; n++)
    for (size_t j = 0; j < 2; j++) ref_rescale(&t.block, t.w, n, j, v->c[n - 1][j]);
  ck_assert_mem_eq(t.w, v->rescaled, t.net.n * sizeof *t.w);
  ref_canonical(&t.block, t.w);
  ck_assert_mem_eq(t.w, v->w, t.net.n * sizeof *t.w);
  task_close(&t);
}
END_TEST

START_TEST(sgd_of_the_vectors) {
  const vector *v = &vectors[_i];
  for (int c = 0; c < 2 && v->sgd_y[c] != 0; c++) {
    task t = vector_open(v, c);
    double g[VECTOR_MOST];
    task_gradient(&t, t.w, g);
    for (size_t i = 0; i < t.net.n; i++) t.w[i] -= 0.1 * g[i];
    ref_net_forward(&t.net, t.w, t.x, t.y);
    ck_assert_double_eq_tol(t.y[0], v->sgd_y[c], 1e-12);
    task_close(&t);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("reference");
  TCase *tc = tcase_create("reference");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, special_layers, 0, NETS);
  tcase_add_loop_test(tc, gradients_are_exact, 0, NETS);
  tcase_add_loop_test(tc, path_gradients_are_derivatives, 0, NETS);
  tcase_add_loop_test(tc, paths_go_where_they_should, 0, NETS);
  tcase_add_loop_test(tc, is_sgd_on_u, 0, NETS);
  tcase_add_loop_test(tc, vectors_in_double, 0, VECTORS);
  tcase_add_loop_test(tc, vectors_rescaled, 0, VECTORS);
  tcase_add_loop_test(tc, sgd_of_the_vectors, 0, VECTORS);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
