/* What rescaling hidden units does not change: of updates in path space no bit, where factors are
 * powers of two; of SGD a lot. */
#include "product.h"

enum { STEPS = 50 };

/* ---- in double: the reference ---- */

static void train_reference(const task *t, double *w, const char *optimizer, double lr) {
  const size_t n = t->net.n;
  ref_paths r = reference_of(t, optimizer);
  double *g = doubles(n);
  r.decay = 0.01;
  ref_paths_open(&r);
  for (int step = 0; step < STEPS; step++) {
    task_gradient(t, w, g);
    for (size_t i = 0; i < n; i++) g[i] *= task_scale(t);
    ref_paths_step(&r, lr, w, g, NULL);
  }
  ref_paths_close(&r);
  free(g);
}

START_TEST(reference_is_invariant) {
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int powers = 0; powers < 2; powers++) {
      task t = task_open(&nets[_i].net);
      const size_t n = t.net.n;
      double *w = doubles(n);
      memcpy(w, t.w, n * sizeof *w);
      task_rescale(&t, w, powers);
      train_reference(&t, t.w, optimizers[k].name, optimizers[k].lr);
      train_reference(&t, w, optimizers[k].name, optimizers[k].lr);
      task_rescale(&t, t.w, powers);
      if (powers)
        ck_assert_mem_eq(t.w, w, n * sizeof *w);
      else
        ck_assert_msg(apart(n, t.w, w) <= 1e-12, "%g", apart(n, t.w, w));
      free(w);
      task_close(&t);
    }
}
END_TEST

/* Rescaling to frozen skeletons of 1 and -1: the same for a point and its images, and it does not
 * matter whether it comes before training or after. */
START_TEST(reference_is_canonical) {
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n;
  double *w = doubles(n), *y = doubles(t.net.count[t.net.layers]);
  memcpy(w, t.w, n * sizeof *w);
  task_rescale(&t, w, true);
  ref_net_forward(&t.net, w, t.x, y);
  ref_canonical(&t.block, w);
  ref_net_forward(&t.net, w, t.x, t.y);
  ck_assert_double_le(apart(t.net.count[t.net.layers], y, t.y), 1e-14);
  train_reference(&t, t.w, "gsgd", 0.03);
  train_reference(&t, w, "gsgd", 0.03);
  ref_canonical(&t.block, t.w);
  ck_assert_msg(apart(n, t.w, w) <= 1e-12, "%g", apart(n, t.w, w));
  free(w);
  free(y);
  task_close(&t);
}
END_TEST

/* ---- in float: the program ---- */

typedef struct setting {
  const char *optimizer;
  float lr, decay;
  bool canonical;  /* it begins with frozen skeletons of 1 and -1 */
  bool own_passes; /* gradients by the program too */
} setting;

static product trained(const task *t, const ref_net_spec *spec, const double *w, const setting *s) {
  product p = product_of(graph_of(spec), w, s->optimizer);
  passes own = passes_open(&p);
  p.u.hyper.lr = s->lr;
  p.u.hyper.weight_decay = s->decay;
  for (int step = 0; step < STEPS; step++) {
    if (!s->own_passes) {
      product_train(&p, t, task_scale(t));
      continue;
    }
    passes_gradient(&own, &p, t);
    tg_scale(t->net.n, p.g, (float)task_scale(t));
    product_update(&p);
  }
  passes_close(&own);
  return p;
}

/* One product trained from w, one from the same function's w rescaled. */
static void pair_open(task *t, const ref_net_spec *spec, const setting *s, bool powers,
                      product pair[2]) {
  double *w = doubles(t->net.n);
  if (s->canonical) ref_canonical(&t->block, t->w);
  for (size_t i = 0; i < t->net.n; i++) w[i] = t->w[i] = (float)t->w[i];
  pair[0] = trained(t, spec, t->w, s);
  task_rescale(t, w, powers);
  pair[1] = trained(t, spec, w, s);
  free(w);
}

static double outputs_apart(const task *t, product pair[2]) {
  const size_t n = t->net.count[t->net.layers];
  double *y[2] = {doubles(n), doubles(n)}, *w = doubles(t->net.n);
  for (int i = 0; i < 2; i++) {
    to_double(t->net.n, pair[i].u.w, w);
    ref_net_forward(&t->net, w, t->x, y[i]);
  }
  double result = apart(n, y[0], y[1]);
  free(y[0]);
  free(y[1]);
  free(w);
  return result;
}

/* T3 and T7: rescaled, the trained weights of the one are the other's, and what optimisers keep is
 * the same; whatever the frozen skeletons are. */
static void compare_bits(const ref_net_spec *spec, const setting *s) {
  task t = task_open(spec);
  const size_t n = t.net.n;
  double *w = doubles(n), *other = doubles(n);
  product pair[2];
  pair_open(&t, spec, s, true, pair);
  to_double(n, pair[0].u.w, w);
  to_double(n, pair[1].u.w, other);
  ck_assert(apart(n, w, t.w) > 1e-4); /* it did train */
  task_rescale(&t, w, true);
  for (size_t i = 0; i < n; i++)
    /* Decay alone takes weights without a gradient to where floats end. */
    ck_assert_msg(w[i] == other[i] || fabs(w[i]) < 1e-36, "%s, %s: w[%zu] is %.9g, must be %.9g",
                  spec->name, s->optimizer, i, other[i], w[i]);
  for (int i = 0; i < pair[0].u.optimizer->slots; i++)
    ck_assert_mem_eq(pair[0].u.slot[i], pair[1].u.slot[i], n * sizeof(float));
  product_close(&pair[0]);
  product_close(&pair[1]);
  free(w);
  free(other);
  task_close(&t);
}

START_TEST(powers_of_two_change_no_bit) {
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int i = 0; i < 2; i++) {
      const setting s = {.optimizer = optimizers[k].name,
                         .lr = (float)optimizers[k].lr,
                         .decay = i ? 0.01f : 0,
                         .canonical = i,
                         .own_passes = i};
      compare_bits(&nets[_i].net, &s);
    }
}
END_TEST

START_TEST(any_factor_changes_little) {
  for (int k = 0; k < OPTIMIZERS; k++) {
    const setting s = {.optimizer = optimizers[k].name, .lr = (float)optimizers[k].lr};
    task t = task_open(&nets[_i].net);
    product pair[2];
    pair_open(&t, &nets[_i].net, &s, false, pair);
    double gap = outputs_apart(&t, pair);
    ck_assert_msg(gap <= 1e-5, "%s, %s: %g", nets[_i].net.name, s.optimizer, gap);
    product_close(&pair[0]);
    product_close(&pair[1]);
    task_close(&t);
  }
}
END_TEST

START_TEST(sgd_changes_a_lot) {
  const setting s = {.optimizer = "sgd", .lr = 0.01f};
  task t = task_open(&nets[_i].net);
  product pair[2];
  pair_open(&t, &nets[_i].net, &s, true, pair);
  double gap = outputs_apart(&t, pair);
  ck_assert_msg(!(gap <= 1e-3), "%s: %g", nets[_i].net.name, gap);
  product_close(&pair[0]);
  product_close(&pair[1]);
  task_close(&t);
}
END_TEST

/* Rescaled to frozen skeletons of 1 and -1 before training or after. */
START_TEST(canonical_commutes_with_training) {
  const setting s = {.optimizer = "gsgd", .lr = 0.03f};
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n;
  product before = product_open(&t, &nets[_i].net, "gsgd");
  double *w = doubles(n), *other = doubles(n);
  MUST(tg_paths_init(before.paths, TG_SKELETON_CANONICAL, before.u.w));
  to_double(n, before.u.w, w);
  product first = trained(&t, &nets[_i].net, w, &s), last = trained(&t, &nets[_i].net, t.w, &s);
  MUST(tg_paths_init(last.paths, TG_SKELETON_CANONICAL, last.u.w));
  to_double(n, first.u.w, w);
  to_double(n, last.u.w, other);
  ck_assert_msg(apart(n, w, other) <= 1e-5, "%s: %g", nets[_i].net.name, apart(n, w, other));
  product_close(&before);
  product_close(&first);
  product_close(&last);
  free(w);
  free(other);
  task_close(&t);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path invariance");
  TCase *tc = tcase_create("path invariance");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, reference_is_invariant, 0, NETS);
  tcase_add_loop_test(tc, reference_is_canonical, 0, NETS);
  tcase_add_loop_test(tc, powers_of_two_change_no_bit, 0, NETS);
  tcase_add_loop_test(tc, any_factor_changes_little, 0, NETS);
  tcase_add_loop_test(tc, sgd_changes_a_lot, 0, NETS);
  tcase_add_loop_test(tc, canonical_commutes_with_training, 0, NETS);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
