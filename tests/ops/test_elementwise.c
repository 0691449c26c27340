/* DEVICE: yes. ReLU, leaky ReLU, sigmoid and addition against the reference. */
#include "harness.h"

static tg_value *build_relu(tg_graph *g, tg_value *const *x, const op_case *c) {
  (void)c;
  return tg_relu(g, x[0]);
}
static tg_value *build_leaky_relu(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_leaky_relu(g, x[0], (float)c->call.slope);
}
static tg_value *build_sigmoid(tg_graph *g, tg_value *const *x, const op_case *c) {
  (void)c;
  return tg_sigmoid(g, x[0]);
}
static tg_value *build_add(tg_graph *g, tg_value *const *x, const op_case *c) {
  (void)c;
  return tg_add(g, x[0], x[1]);
}

/* float32: one multiplication or addition (2^-24); sigmoid by oneDNN's approximation of exp. bf16:
 * one rounding of y (2^-9); gradients one of dy and one of dx; sigmoid's gradient is made of the
 * rounded y. */
#define ONE(text, operation, input, ...)                                                           \
  {                                                                                                \
    .what = text, .ref = &ref_##operation, .build = build_##operation, .x_count = 1, .x = {input}, \
    .tolerance = {1e-6, 4e-3}, .gradient_tolerance = {1e-6, 8e-3}, __VA_ARGS__                     \
  }
#define ADD(text, input, ...)                                                                      \
  {                                                                                                \
    .what = text, .ref = &ref_add, .build = build_add, .x_count = 2, .x = {input, input},          \
    .tolerance = {1e-7, 4e-3}, .gradient_tolerance = {1e-7, 4e-3}, __VA_ARGS__                     \
  }

static const op_case cases[] = {
    ONE("relu, 31 channels", relu, SHAPE(3, 31, 5, 3), .bias = false),
    ONE("relu, features", relu, SHAPE(257, 3), .bias = false),
    ONE("relu, one number", relu, SHAPE(1, 1), .bias = false),
    ONE("leaky relu, 16 channels", leaky_relu, SHAPE(3, 16, 5, 7), .call = {.slope = 0.25}),
    ONE("leaky relu, 3-D", leaky_relu, SHAPE(1, 3, 3, 5, 2), .call = {.slope = 0.25}),
    ONE("sigmoid, 31 channels", sigmoid, SHAPE(3, 31, 5, 3), .bias = false),
    ONE("sigmoid, features", sigmoid, SHAPE(3, 257), .bias = false),
    ADD("add, 16 channels", SHAPE(3, 16, 5, 7), .bias = false),
    ADD("add, 31 channels, relu", SHAPE(3, 31, 3, 3), .relu = true),
    ADD("add, features, relu", SHAPE(31, 257), .relu = true),
    ADD("add, 1-D", SHAPE(1, 3, 257), .bias = false),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("elementwise");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  suite_add_tcase(s, t);
  return run_suite(s);
}
