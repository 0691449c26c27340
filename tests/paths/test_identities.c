/* Identities of gradients and of path values, in the program's own passes and updates. */
#include "product.h"

/* What enters unit j of node layer n, and what leaves it: sums of w g, and of their sizes. */
static void flows(const ref_block *b, const float *w, const float *g, int n, size_t j,
                  double sum[2], double *size) {
  sum[0] = sum[1] = *size = 0;
  for (int side = 0; side < 2; side++) {
    int l = n + side;
    size_t others = side ? b->layer[l - 1].out : b->layer[l - 1].in;
    for (size_t k = 0; k < others; k++)
      for (size_t tap = 0; tap < b->layer[l - 1].taps; tap++) {
        size_t at = ref_weight(b, l, side ? k : j, side ? j : k, tap);
        sum[side] += (double)w[at] * g[at];
        *size += fabs((double)w[at] * g[at]);
      }
  }
  size_t bias = b->layer[n - 1].bias;
  if (bias != REF_NONE) sum[0] += (double)w[bias + j] * g[bias + j];
}

/* T4: of every hidden unit; the program's gradients are the reference's, too. */
START_TEST(what_enters_leaves) {
  task t = task_open(&nets[_i].net);
  product p = product_open(&t, &nets[_i].net, "gsgd");
  passes own = passes_open(&p);
  const size_t n = t.net.n;
  double *exact = doubles(n), *have = doubles(n);
  for (int step = 0; step < 10; step++) {
    passes_gradient(&own, &p, &t);
    for (int layer = 1; layer < t.net.layers; layer++)
      for (size_t j = 0; j < t.net.layer[layer - 1].out; j++) {
        double sum[2], size;
        flows(&t.block, p.u.w, p.g, layer, j, sum, &size);
        ck_assert_msg(fabs(sum[0] - sum[1]) <= 1e-5 * size, "%s: %g enters, %g leaves",
                      nets[_i].net.name, sum[0], sum[1]);
      }
    to_double(n, p.u.w, have);
    task_gradient(&t, have, exact);
    to_double(n, p.g, have);
    ck_assert_double_le(apart(n, exact, have), 1e-5);
    tg_scale(n, p.g, (float)task_scale(&t));
    p.u.hyper.lr = 0.03f;
    product_update(&p);
  }
  passes_close(&own);
  product_close(&p);
  free(exact);
  free(have);
  task_close(&t);
}
END_TEST

/* ---- behind batch norm ---- */

enum { CHANNELS = 3, WIDE = 5, SIDE = 6, BATCH = 8 };

static tg_graph *normed(void) {
  tg_graph *g;
  MUST(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", (tg_shape){4, {BATCH, CHANNELS, SIDE, SIDE}});
  tg_graph_path_block(g, "block");
  x = tg_relu(g, tg_batch_norm(g, "bn1", tg_conv2d(g, "conv1", x, WIDE, 3, 1, 1, false)));
  x = tg_batch_norm(g, "bn2", tg_conv2d(g, "conv2", x, CHANNELS, 3, 2, 1, false));
  tg_graph_path_block(g, NULL);
  tg_mean_squared_error(g, "loss", tg_output(g, "out", x), tg_input(g, "target", x->shape), 100);
  MUST(tg_graph_status(g));
  return g;
}

/* Weights in front of a batch norm (of an epsilon that is small beside the variance) have no radial
 * gradient; what leaves a unit is what its scale and shift have. */
START_TEST(identities_behind_batch_norm) {
  tg_graph *g = normed();
  double *w = doubles(g->n);
  float *s = calloc(g->ks, sizeof *s);
  for (size_t i = 0; i < g->n; i++) w[i] = 1.5 * noise(i, 4, 14);
  product p = product_of(g, w, "gsgd");
  passes own = passes_open(&p);
  const tg_path_block *b = &p.paths->block[0];
  double *x = doubles(BATCH * CHANNELS * SIDE * SIDE);
  tg_plan_bind(own.plan, own.w, own.g, NULL, s);
  for (size_t i = 0; i < BATCH * CHANNELS * SIDE * SIDE; i++) x[i] = noise(i, 5, 15);
  write_value(&own, "x", BATCH * CHANNELS * SIDE * SIDE, x);
  for (size_t i = 0; i < BATCH * CHANNELS * SIDE * SIDE; i++) x[i] = noise(i, 6, 16);
  write_value(&own, "target", BATCH * CHANNELS * SIDE * SIDE / 4, x);
  MUST(own.device->backend->to_device(own.device, own.w, p.u.w, g->n * sizeof(float)));
  MUST(tg_plan_run(own.plan));
  MUST(own.device->backend->to_host(own.device, p.g, own.g, g->n * sizeof(float)));
  for (int l = 0; l < 2; l++)
    for (size_t o = 0; o < b->layer[l].out; o++) {
      double sum = 0, size = 0;
      for (size_t k = 0, at = b->layer[l].offset + o * b->layer[l].in * 9; k < b->layer[l].in * 9;
           k++, at++) {
        sum += (double)p.u.w[at] * p.g[at];
        size += fabs((double)p.u.w[at] * p.g[at]);
      }
      ck_assert_msg(fabs(sum) <= 1e-4 * size, "layer %d, unit %zu: %g of %g", l, o, sum, size);
    }
  for (size_t j = 0; j < WIDE; j++) {
    double out = 0, size = 0;
    for (size_t k = 0; k < CHANNELS * 9; k++) {
      size_t at = b->layer[1].offset + (k / 9 * WIDE + j) * 9 + k % 9;
      out += (double)p.u.w[at] * p.g[at];
      size += fabs((double)p.u.w[at] * p.g[at]);
    }
    size_t gamma = b->layer[0].scale + j, beta = b->layer[0].shift + j;
    double norm = (double)p.u.w[gamma] * p.g[gamma] + (double)p.u.w[beta] * p.g[beta];
    ck_assert_msg(fabs(out - norm) <= 1e-5 * size, "unit %zu: %g leaves, %g", j, out, norm);
  }
  passes_close(&own);
  product_close(&p);
  free(w);
  free(x);
  free(s);
}
END_TEST

/* ---- T5: other paths ---- */

enum { EQUAL = 3, DEPTH = 3 }; /* equal widths: special layer 1 */

/* The value of the path through units node[0..DEPTH], of basis values p (at the position of each
 * path's own weight, v at trained skeletons). */
static double from_basis(const ref_block *b, const double *p, const size_t *node) {
  double value = p[ref_weight(b, 1, node[1], node[0], 0)];
  for (int l = 2; l <= DEPTH; l++)
    if (node[l] != node[l - 1])
      value *= p[ref_weight(b, l, node[l], node[l - 1], 0)] /
               p[ref_weight(b, 1, node[l - 1], node[l - 1], 0)];
  return value;
}

static double along(const ref_block *b, const double *w, const size_t *node) {
  double value = 1;
  for (int l = 1; l <= DEPTH; l++) value *= w[ref_weight(b, l, node[l], node[l - 1], 0)];
  return value;
}

/* All paths follow from a basis: their values, and by which factor an update changes them. */
START_TEST(other_paths_follow_from_the_basis) {
  static const ref_net_spec spec = {"equal", DEPTH, {EQUAL, EQUAL, EQUAL, EQUAL}, .batch = 4};
  task t = task_open(&spec);
  product p = product_open(&t, &spec, "gsgd-momentum");
  ref_paths r = reference_of(&t, "gsgd");
  const size_t n = t.net.n;
  double *w[2] = {doubles(n), doubles(n)}, *v[2] = {doubles(n), doubles(n)}, *ratio = doubles(n);
  p.u.hyper.lr = 0.02f;
  for (int k = 0; k < 2; k++) {
    to_double(n, p.u.w, w[k]);
    ref_path_values(&r, w[k], v[k]);
    for (int step = 0; step < 20; step++) product_train(&p, &t, task_scale(&t));
  }
  for (size_t i = 0; i < n; i++) ratio[i] = v[0][i] != 0 ? v[1][i] / v[0][i] : 1;
  size_t node[DEPTH + 1], paths = 0;
  for (size_t code = 0; code < EQUAL * EQUAL * EQUAL * EQUAL; code++, paths++) {
    for (size_t l = 0, c = code; l <= DEPTH; l++, c /= EQUAL) node[l] = c % EQUAL;
    double value[2];
    for (int k = 0; k < 2; k++) {
      value[k] = along(&t.block, w[k], node);
      ck_assert_double_eq_tol(from_basis(&t.block, v[k], node), value[k], 1e-12);
    }
    double by = from_basis(&t.block, ratio, node);
    ck_assert(fabs(by - value[1] / value[0]) <= 1e-9 * fabs(by));
  }
  for (int k = 0; k < 2; k++) {
    free(w[k]);
    free(v[k]);
  }
  free(ratio);
  product_close(&p);
  task_close(&t);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path identities");
  TCase *tc = tcase_create("path identities");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, what_enters_leaves, 0, NETS);
  tcase_add_test(tc, identities_behind_batch_norm);
  tcase_add_test(tc, other_paths_follow_from_the_basis);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
