/* Updates in path space against the reference in double, over hundreds of updates: shapes of
 * blocks, optimisers, norms, weight decay, late gradients; and what never changes. */
#include <omp.h>

#include "product.h"
#include "vectors.h"

/* ---- against the reference ---- */

enum { UPDATES = 120 };

typedef struct setting {
  const char *optimizer;
  double lr, decay;
  bool published;
} setting;

/* Small enough that no v comes near 0, where path space has a pole and rounding grows. */
static void limit(size_t n, double *g) {
  double most = 0;
  for (size_t i = 0; i < n; i++) most = fmax(most, fabs(g[i]));
  for (size_t i = 0; most > 0.5 && i < n; i++) g[i] *= 0.5 / most;
}

/* Both are given the gradient at the reference's weights. Returns how far apart they end. */
static double follow(const ref_net_spec *spec, const setting *s, const char *rule, size_t late) {
  task t = task_open(spec);
  const size_t n = t.net.n;
  product p = product_open(&t, spec, s->optimizer);
  ref_paths r = reference_of(&t, s->optimizer);
  double *g = doubles(n), *have = doubles(n), *bak = doubles(n * (late + 1)), worst = 0;
  float *p_bak = calloc(n * (late + 1), sizeof *p_bak);
  r.decay = p.u.hyper.weight_decay = (float)s->decay;
  r.published = p.u.hyper.keys.path_norm = s->published;
  MUST(tg_rule_find(rule, &p.u.rule));
  if (late) {
    p.u.hyper.keys.path_compensate = true;
    p.u.hyper.lambda = 0.5f, r.lambda = 0.5;
    p.u.hyper.mean_square_decay = 0.95f, r.keep = 0.95f;
    p.u.hyper.epsilon = 1e-7f, r.inside = 1e-7f;
    r.adaptive = p.u.rule->has_state;
    if (r.adaptive) p.u.rule_state = calloc(n, sizeof(float));
  }
  ref_paths_open(&r);
  for (size_t k = 0; k < UPDATES; k++) {
    size_t slot = k % (late + 1), oldest = k < late ? 0 : (k + 1) % (late + 1);
    p.u.hyper.lr = (float)(s->lr * (k < 60 ? 1 : 0.3));
    memcpy(bak + n * slot, t.w, n * sizeof *bak);
    memcpy(p_bak + n * slot, p.u.w, n * sizeof *p_bak);
    task_gradient(&t, bak + n * oldest, g);
    limit(n, g);
    to_float(n, g, p.g);
    to_double(n, p.g, g);
    p.u.w_bak = late ? p_bak + n * oldest : NULL;
    product_update(&p);
    ref_paths_step(&r, p.u.hyper.lr, t.w, g, late ? bak + n * oldest : NULL);
    to_double(n, p.u.w, have);
    worst = fmax(worst, apart(n, have, t.w));
    if (isnan(apart(n, have, t.w))) worst = INFINITY;
  }
  ck_assert_uint_eq(tg_paths_clamped(p.paths), 0);
  ref_paths_close(&r);
  product_close(&p);
  free(g);
  free(have);
  free(bak);
  free(p_bak);
  task_close(&t);
  return worst;
}

static void compare(int net, int optimizer, double decay, bool published) {
  const setting s = {optimizers[optimizer].name, optimizers[optimizer].lr / (published ? 3 : 1),
                     decay, published};
  double worst = follow(&nets[net].net, &s, "sgd", 0);
  ck_assert_msg(worst <= 1e-5, "%s, %s, decay %g%s: %.2g off the reference", nets[net].net.name,
                s.optimizer, decay, published ? ", published norm" : "", worst);
}

START_TEST(against_the_reference) {
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int i = 0; i < 4; i++) compare(_i, k, i & 1 ? 0.02 : 0, i & 2);
}
END_TEST

/* Compensated in path space: gradients that are two updates late. */
START_TEST(late_against_the_reference) {
  static const char *const rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int rule = 1; rule < 3; rule++) {
      const setting s = {optimizers[k].name, optimizers[k].lr, k == 0 ? 0.01 : 0, k == 1};
      double worst = follow(&nets[_i].net, &s, rules[rule], 2);
      ck_assert_msg(worst <= 1e-5, "%s, %s, %s: %.2g off the reference", nets[_i].net.name,
                    s.optimizer, rules[rule], worst);
    }
}
END_TEST

/* ---- by hand ---- */

START_TEST(vectors_in_float) {
  const vector *v = &vectors[_i];
  for (int c = 0; c < 2; c++) {
    task t = vector_open(v, c);
    product p = product_open(&t, &v->net, "gsgd");
    double w[VECTOR_MOST];
    p.u.hyper.lr = 0.1f;
    for (int step = 0; step < 10; step++) {
      product_train(&p, &t, 1);
      to_double(t.net.n, p.u.w, w);
      ref_net_forward(&t.net, w, t.x, t.y);
      if (step > 0) continue;
      vector_check(v, "w", c ? v->rescaled_after : v->after, w, 1e-6);
      for (size_t k = 0; k < v->outputs; k++) ck_assert_double_eq_tol(t.y[k], v->y[k], 2e-6);
    }
    if (v->y10 != 0) ck_assert_double_eq_tol(t.y[0], v->y10, 2e-6);
    product_close(&p);
    task_close(&t);
  }
}
END_TEST

/* ---- what never changes ---- */

/* T6: frozen skeletons, whatever they are. */
START_TEST(frozen_skeletons_stay) {
  for (int k = 0; k < OPTIMIZERS; k++) {
    task t = task_open(&nets[_i].net);
    product p = product_open(&t, &nets[_i].net, optimizers[k].name);
    const tg_path_block *b = &p.paths->block[0];
    p.u.hyper.lr = (float)optimizers[k].lr;
    p.u.hyper.weight_decay = 0.01f;
    bool moved = false;
    for (int step = 0; step < 50; step++) product_train(&p, &t, task_scale(&t));
    for (int l = 1; l <= b->count; l++)
      for (size_t e = 0; e < tg_path_skeletons(b, l); e++) {
        size_t at = tg_path_skeleton(b, l, e);
        if (l == b->special)
          moved |= p.u.w[at] != (float)t.w[at];
        else
          ck_assert(p.u.w[at] == (float)t.w[at]);
        for (int i = 0; l != b->special && i < p.u.optimizer->slots; i++)
          ck_assert(p.u.slot[i][at] == 0);
      }
    ck_assert(moved);
    product_close(&p);
    task_close(&t);
  }
}
END_TEST

/* A large network, so that threads share its layers; no gradient of its own is needed. */
static float *run_with(int threads, const ref_net_spec *spec, const char *optimizer, bool late) {
  ref_net net = ref_net_of(spec);
  double *w0 = doubles(net.n);
  for (size_t i = 0; i < net.n; i++) w0[i] = 1 + noise(i, 3, 3) / 2;
  omp_set_num_threads(threads);
  product p = product_of(graph_of(spec), w0, optimizer);
  float *bak = calloc(net.n, sizeof *bak), *w = p.u.w;
  to_float(net.n, w0, bak);
  p.u.hyper.lr = 1e-4f;
  p.u.hyper.lambda = 0.5f;
  p.u.hyper.keys.path_norm = late;
  if (late) MUST(tg_rule_find("dc-asgd-c", &p.u.rule));
  p.u.hyper.keys.path_compensate = late;
  p.u.w_bak = late ? bak : NULL;
  for (uint64_t k = 0; k < 3; k++) {
    for (size_t i = 0; i < net.n; i++) p.g[i] = (float)noise(k, i, 4);
    product_update(&p);
  }
  p.u.w = calloc(1, 1);
  product_close(&p);
  free(bak);
  free(w0);
  return w;
}

static const ref_net_spec large[] = {
    {"rising", 3, {190, 220, 301, 150}, .bias = true},
    {"falling", 3, {70, 64, 64, 20}, {{3, 3}, {3, 3}}, .side = {2, 2}},
};

START_TEST(threads_change_no_bit) {
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int late = 0; late < 2; late++) {
      float *one = run_with(1, &large[_i], optimizers[k].name, late);
      for (int threads = 2; threads <= 3; threads++) {
        float *more = run_with(threads, &large[_i], optimizers[k].name, late);
        ck_assert_mem_eq(one, more, ref_net_of(&large[_i]).n * sizeof *one);
        free(more);
      }
      free(one);
    }
}
END_TEST

/* Updates in spans, as messages arrive: the whole update waits, and is the same. */
START_TEST(outside_is_the_ordinary_optimiser) {
  static const char *const ordinary[] = {"sgd", "momentum"};
  enum { N = 1203 };
  float *w[2], g[N];
  for (int k = 0; k < 2; k++) {
    for (int paths = 0; paths < 2; paths++) {
      tg_graph *graph;
      MUST(tg_graph_create(&graph));
      tg_dense(graph, "fc", tg_input(graph, "x", (tg_shape){2, {1, 1}}), N, false);
      double w0[N];
      for (size_t i = 0; i < N; i++) w0[i] = noise(i, 1, 5);
      product p = product_of(graph, w0, paths ? optimizers[k].name : ordinary[k]);
      p.u.hyper.lr = 0.05f;
      p.u.hyper.weight_decay = 0.01f;
      for (uint64_t step = 0; step < 20; step++) {
        tg_update_sums sums = {0};
        for (size_t i = 0; i < N; i++) p.g[i] = g[i] = (float)noise(step, i, 6);
        if (paths)
          product_update(&p);
        else
          tg_update_apply(&p.u, (tg_span){0, N}, p.g, &sums);
      }
      w[paths] = p.u.w;
      p.u.w = NULL;
      product_close(&p);
    }
    ck_assert_mem_eq(w[0], w[1], sizeof g);
    free(w[0]);
    free(w[1]);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path updates");
  TCase *tc = tcase_create("path updates");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, NETS);
  tcase_add_loop_test(tc, late_against_the_reference, 0, NETS);
  tcase_add_loop_test(tc, vectors_in_float, 0, VECTORS);
  tcase_add_loop_test(tc, frozen_skeletons_stay, 0, NETS);
  tcase_add_loop_test(tc, threads_change_no_bit, 0, 2);
  tcase_add_test(tc, outside_is_the_ordinary_optimiser);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
