/* DEVICE: yes. Dense layers against the reference, with and without bias and ReLU. */
#include "harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_dense(g, "dense", x[0], c->out, c->bias);
}

/* float32: a sum of up to 257 products in another order, 2^-24 each. bf16: y is rounded once
 * (2^-9); gradients are made of operands rounded once each. */
#define DENSE(B, F, K, with_bias, with_relu)                                                       \
  {                                                                                                \
    .what = "dense " #B "x" #F " to " #K " bias " #with_bias " relu " #with_relu,                  \
    .ref = &ref_dense, .build = build, .x_count = 1, .x = {SHAPE(B, F)}, .out = K,                 \
    .bias = with_bias, .relu = with_relu, .tolerance = {1e-6, 4e-3}, .gradient_tolerance = {       \
      2e-6,                                                                                        \
      4e-3                                                                                         \
    }                                                                                              \
  }

static const op_case cases[] = {
    DENSE(1, 1, 1, true, false),     DENSE(3, 31, 10, true, false),
    DENSE(31, 257, 3, true, true),   DENSE(257, 3, 31, false, true),
    DENSE(1, 257, 257, true, true),  DENSE(257, 31, 1, true, false),
    DENSE(31, 1, 257, false, false), DENSE(128, 100, 65, true, true),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("dense");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  suite_add_tcase(s, t);
  return run_suite(s);
}
