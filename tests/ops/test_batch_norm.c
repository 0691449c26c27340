/* DEVICE: yes. Batch norm against the reference: batch statistics, gradients, running statistics.
 */
#include "harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  (void)c;
  return tg_batch_norm(g, "bn", x[0]);
}

/* float32: the statistics of a channel are sums over batch and space; dx is a difference of such
 * sums. bf16: x is exact, y is rounded once; dx is a difference of operands rounded once. */
#define BN(text, evaluation, ...)                                                                  \
  {                                                                                                \
    .what = "batch norm " text, .ref = &ref_batch_norm, .build = build, .x_count = 1,              \
    .call = {.epsilon = 1e-5f, .evaluate = evaluation}, .tolerance = {2e-6, 4e-3},                 \
    .gradient_tolerance = {5e-6, 8e-3}, __VA_ARGS__                                                \
  }

static const op_case cases[] = {
    BN("16 channels", false, .x = {SHAPE(3, 16, 5, 7)}),
    BN("16 channels, relu", false, .x = {SHAPE(3, 16, 5, 7)}, .relu = true),
    BN("31 channels", false, .x = {SHAPE(31, 31, 3, 3)}),
    BN("257 channels, relu", false, .x = {SHAPE(5, 257, 2, 2)}, .relu = true),
    BN("1 channel", false, .x = {SHAPE(1, 1, 31, 31)}),
    BN("5 numbers per channel", false, .x = {SHAPE(5, 3, 1, 1)}, .relu = true),
    BN("1-D", false, .x = {SHAPE(3, 5, 257)}),
    BN("3-D, relu", false, .x = {SHAPE(2, 5, 3, 4, 3)}, .relu = true),
    BN("of features", false, .x = {SHAPE(257, 31)}),
    BN("31 channels, evaluation", true, .x = {SHAPE(3, 31, 5, 3)}),
    BN("16 channels, evaluation, relu", true, .x = {SHAPE(1, 16, 3, 3)}, .relu = true),
    BN("one number, evaluation", true, .x = {SHAPE(1, 1, 1, 1)}),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("batch_norm");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  suite_add_tcase(s, t);
  return run_suite(s);
}
