/* DEVICE: yes. x + factor z against the reference: other channels, strides, layouts; alone, with a
 * ReLU, and with an addition behind it. */
#include "harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_skip(g, x[0], x[1], c->call.stride[0], (float)c->call.factor);
}

/* float32: one product and up to twelve additions. bf16: y is rounded once (2^-9); gradients once
 * on their way in, and z's once more. */
#define SKIP(text, by, times, shape_x, shape_z, ...)                                               \
  {                                                                                                \
    .what = "skip " text, .ref = &ref_skip, .build = build, .x_count = 2, .x = {shape_x, shape_z}, \
    .call = {.stride = {by}, .factor = times}, .tolerance = {3e-7, 4e-3},                          \
    .gradient_tolerance = {1e-7, 8e-3}, __VA_ARGS__                                                \
  }

static const op_case cases[] = {
    SKIP("between equal shapes", 1, 0.1f, SHAPE(3, 16, 5, 7), SHAPE(3, 16, 5, 7), .bias = false),
    SKIP("of factor 1, an addition", 1, 1, SHAPE(3, 16, 5, 7), SHAPE(3, 16, 5, 7), .relu = true),
    SKIP("31 channels, relu", 1, 0.1f, SHAPE(3, 31, 3, 3), SHAPE(3, 31, 3, 3), .relu = true),
    SKIP("stride 2, odd image", 2, 0.5f, SHAPE(3, 16, 5, 3), SHAPE(3, 16, 9, 6), .bias = false),
    SKIP("stride 3, relu", 3, -2, SHAPE(2, 31, 3, 1), SHAPE(2, 31, 7, 3), .relu = true),
    SKIP("to more channels", 1, 0.1f, SHAPE(3, 64, 3, 5), SHAPE(3, 16, 3, 5), .relu = true),
    SKIP("to more, across blocks", 1, 0.1f, SHAPE(2, 37, 3, 5), SHAPE(2, 19, 3, 5), .bias = false),
    SKIP("to fewer channels", 1, 0.1f, SHAPE(3, 16, 3, 5), SHAPE(3, 64, 3, 5), .bias = false),
    SKIP("to fewer, uneven, stride 2", 2, 0.25f, SHAPE(2, 3, 2, 3), SHAPE(2, 31, 4, 5),
         .relu = true),
    SKIP("to one channel", 1, 0.125f, SHAPE(3, 1, 5, 1), SHAPE(3, 9, 5, 1), .bias = false),
    SKIP("features", 1, 0.1f, SHAPE(31, 257), SHAPE(31, 257), .relu = true),
    SKIP("features, to fewer", 1, 0.1f, SHAPE(31, 7), SHAPE(31, 17), .bias = false),
    SKIP("1-D", 2, 0.1f, SHAPE(1, 3, 129), SHAPE(1, 3, 257), .bias = false),
    SKIP("3-D", 2, 0.1f, SHAPE(2, 3, 3, 2, 1), SHAPE(2, 3, 5, 4, 1), .relu = true),
    SKIP("one number", 1, 3, SHAPE(1, 1, 1, 1), SHAPE(1, 1, 1, 1), .bias = false),
    SKIP("more than a piece of memory", 1, 0.1f, SHAPE(5, 16, 17, 31), SHAPE(5, 16, 17, 31),
         .relu = true),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

/* What the definition says: the same as a convolution whose weights are 1 at skeletons. */
START_TEST(it_is_a_convolution_of_skeletons) {
  const int64_t ins[] = {5, 17, 16}, outs[] = {17, 5, 16};
  for (int k = 0; k < 3; k++)
    for (int64_t stride = 1; stride <= 2; stride++) {
      const tg_shape shape = {4, {2, ins[k], 7, 6}}, weight = {4, {outs[k], ins[k], 3, 3}};
      ref_call conv = {.x_count = 1, .kernel = {3, 3}, .stride = {stride, stride}, .pad = {1, 1}};
      ref_call skip = {.x_count = 2, .stride = {stride}, .factor = 1};
      const tg_shape y = {4, {2, outs[k], (7 - 1) / stride + 1, (6 - 1) / stride + 1}};
      random_state = 88172645463325252u;
      float *z = random_numbers(tg_shape_count(&shape));
      conv.x[0] = skip.x[1] = ref_of(&shape, z);
      conv.w[0] = ref_of(&weight, NULL);
      conv.y = ref_of(&y, NULL);
      skip.y = ref_of(&y, NULL);
      skip.x[0] = ref_of(&y, NULL);
      for (int64_t t = 0; t < ins[k]; t++) conv.w[0].v[tg_conv_skeleton(&weight, t)] = 1;
      ref_conv.forward(&conv);
      ref_skip.forward(&skip);
      for (size_t i = 0; i < ref_count(&conv.y); i++)
        ck_assert_double_eq_tol(conv.y.v[i], skip.y.v[i], 1e-12);
      ref_tensor *used[] = {&conv.x[0], &conv.w[0], &conv.y, &skip.y, &skip.x[0]};
      for (int i = 0; i < 5; i++) ref_free(used[i]);
      free(z);
    }
}
END_TEST

static void refused(tg_shape x, tg_shape z, int64_t stride, float factor, const char *why) {
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  tg_skip(g, tg_input(g, "x", x), tg_input(g, "z", z), stride, factor);
  ck_assert_int_eq(tg_graph_status(g), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), why) != NULL, "'%s' lacks '%s'", tg_status_message(),
                why);
  tg_graph_destroy(g);
}

START_TEST(what_does_not_fit_is_refused) {
  const tg_shape x = SHAPE(2, 3, 4, 4), z = SHAPE(2, 3, 8, 7);
  refused(x, z, 1, 0.5f, "does not fit");
  refused(x, z, 3, 0.5f, "every 3-th point");
  refused((tg_shape)SHAPE(3, 3, 4, 4), z, 2, 0.5f, "does not fit");
  refused(x, z, -1, 0.5f, "stride -1");
  refused(x, z, 2, NAN, "not finite");
  refused((tg_shape)SHAPE(3), (tg_shape)SHAPE(3), 1, 0.5f, "[batch,channels]");
}
END_TEST

int main(void) {
  Suite *s = suite_create("skip");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  tcase_add_test(t, it_is_a_convolution_of_skeletons);
  tcase_add_test(t, what_does_not_fit_is_refused);
  suite_add_tcase(s, t);
  return run_suite(s);
}
