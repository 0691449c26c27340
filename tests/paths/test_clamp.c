/* Where path space has holes: limits on ratios and denominators, and how often they were needed. */
#include "product.h"
#include "vectors.h"

/* Steps so long that ratios leave their limits: as the reference, and counted alike. */
START_TEST(ratios_stay_in_their_limits) {
  static const double limits[] = {0.5, 0.9, 0.9995};
  for (int k = 0; k < 3; k++) {
    task t = task_open(&nets[_i].net);
    const size_t n = t.net.n;
    product p = product_open(&t, &nets[_i].net, "gsgd");
    ref_paths r = reference_of(&t, "gsgd");
    const tg_path_block *b = &p.paths->block[0];
    double *g = doubles(n), *have = doubles(n);
    float *before = calloc(n, sizeof *before);
    r.clamp = p.u.hyper.keys.path_clamp = limits[k];
    p.u.hyper.lr = 0.25f;
    ref_paths_open(&r);
    for (int step = 0; step < 10; step++) {
      task_gradient(&t, t.w, g);
      double most = 1e-9; /* dead units have no gradient */
      for (size_t i = 0; i < n; i++) most = fmax(most, fabs(g[i]));
      for (size_t i = 0; i < n; i++) p.g[i] = (float)(g[i] /= most);
      to_double(n, p.g, g);
      memcpy(before, p.u.w, n * sizeof *before);
      product_update(&p);
      ref_paths_step(&r, 0.25, t.w, g, NULL);
      for (size_t j = 0; j < tg_path_skeletons(b, b->special); j++) {
        size_t at = tg_path_skeleton(b, b->special, j);
        double ratio = (double)p.u.w[at] / before[at];
        ck_assert(ratio >= limits[k] * (1 - 1e-6) && ratio <= (1 + 1e-6) / limits[k]);
      }
    }
    to_double(n, p.u.w, have);
    ck_assert_msg(apart(n, have, t.w) <= 1e-5, "%s: %g", nets[_i].net.name, apart(n, have, t.w));
    ck_assert_uint_eq(tg_paths_clamped(p.paths), (uint64_t)r.clamped);
    if (k == 2) ck_assert_int_gt(r.clamped, 0);
    ref_paths_close(&r);
    product_close(&p);
    free(g);
    free(have);
    free(before);
    task_close(&t);
  }
}
END_TEST

/* Vector A with lr 2: the ratios are -0.5 and -2, and stay so with clamp 0. */
START_TEST(no_clamp_is_exact) {
  for (int clamps = 0; clamps < 2; clamps++) {
    task t = vector_open(&vectors[0], false);
    product p = product_open(&t, &vectors[0].net, "gsgd");
    p.u.hyper.lr = 2;
    p.u.hyper.keys.path_clamp = clamps ? 0.125 : 0;
    product_train(&p, &t, 1);
    ck_assert_float_eq(p.u.w[0], clamps ? 0.125f : -0.5f);
    ck_assert_float_eq(p.u.w[3], clamps ? 0.125f : -2);
    ck_assert_uint_eq(tg_paths_clamped(p.paths), clamps ? 2 : 0);
    product_close(&p);
    task_close(&t);
  }
}
END_TEST

/* Path values of 0 and nearly 0 leave numbers, in weights and in what optimisers keep. */
START_TEST(vanishing_skeletons_are_survived) {
  static const float tiny[] = {0, -0.0f, 1e-30f, -1e-9f};
  for (int k = 0; k < OPTIMIZERS; k++)
    for (int i = 0; i < 4; i++)
      for (int l = 1; l <= 2; l++) {
        task t = task_open(&nets[_i].net);
        product p = product_open(&t, &nets[_i].net, optimizers[k].name);
        p.u.hyper.lr = 1e-4f;
        p.u.hyper.keys.path_clamp = 0.1;
        p.u.w[tg_path_skeleton(&p.paths->block[0], l, 0)] = tiny[i];
        for (int step = 0; step < 2; step++) {
          for (size_t e = 0; e < t.net.n; e++) p.g[e] = (float)noise(e, (uint64_t)step, 17);
          product_update(&p);
        }
        ck_assert_uint_gt(tg_paths_clamped(p.paths), 0);
        for (size_t e = 0; e < t.net.n; e++) {
          ck_assert(isfinite(p.u.w[e]));
          for (int s = 0; s < p.u.optimizer->slots; s++) ck_assert(isfinite(p.u.slot[s][e]));
        }
        product_close(&p);
        task_close(&t);
      }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path clamps");
  TCase *tc = tcase_create("path clamps");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, ratios_stay_in_their_limits, 0, NETS);
  tcase_add_test(tc, no_clamp_is_exact);
  tcase_add_loop_test(tc, vanishing_skeletons_are_survived, 0, NETS);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
