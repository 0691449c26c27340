/* DEVICE: yes. Convolution and its transpose over 1 to 3 dimensions against the reference. */
#include "harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  tg_conv_attr a = {
      .out = c->out, .bias = c->bias, .transposed = c->call.transposed, .hollow = c->call.hollow};
  for (int i = 0; i < 3; i++) {
    a.kernel[i] = c->call.kernel[i];
    a.stride[i] = c->call.stride[i];
    a.pad[i] = c->call.pad[i];
  }
  return tg_conv(g, "conv", x[0], a);
}

/* float32: sums of up to 8,000 products, in another order than the reference's (oneDNN may also
 * choose Winograd's algorithm). bf16: y is rounded once (2^-9); gradients are made of operands
 * rounded once each and rounded again. */
#define CONV(text, input, channels, ...)                                                           \
  {                                                                                                \
    .what = "conv " text, .ref = &ref_conv, .build = build, .x_count = 1, .x = {input},            \
    .out = channels, .tolerance = {3e-6, 4e-3}, .gradient_tolerance = {5e-6, 6e-3}, __VA_ARGS__    \
  }
#define EACH(k, s, p) .kernel = {k, k, k}, .stride = {s, s, s}, .pad = {p, p, p}

static const op_case cases[] = {
    CONV("1-D, 257 points", SHAPE(3, 5, 257), 7, .bias = true, .call = {EACH(5, 2, 1)}),
    CONV("1-D, 1x1", SHAPE(257, 3, 1), 31, .bias = true, .call = {EACH(1, 1, 0)}),
    CONV("3x3 of 16 channels", SHAPE(3, 16, 9, 7), 16, .bias = false, .call = {EACH(3, 1, 1)}),
    CONV("3x3 of 31 channels, stride 2", SHAPE(2, 31, 13, 9), 31, .bias = true,
         .call = {EACH(3, 2, 1)}),
    CONV("1x1 to 257 channels", SHAPE(3, 31, 3, 5), 257, .bias = false, .call = {EACH(1, 1, 0)}),
    CONV("1x1 shortcut, stride 2, relu", SHAPE(1, 16, 7, 7), 32, .relu = true,
         .call = {EACH(1, 2, 0)}),
    CONV("7x7 stem, stride 2", SHAPE(2, 3, 31, 31), 8, .bias = true, .call = {EACH(7, 2, 3)}),
    CONV("5x3, strides 3 and 2, uneven padding", SHAPE(1, 3, 31, 17), 5, .bias = true, .relu = true,
         .call = {.kernel = {5, 3}, .stride = {3, 2}, .pad = {0, 2}}),
    CONV("all 1", SHAPE(1, 1, 1, 1), 1, .bias = true, .call = {EACH(1, 1, 0)}),
    CONV("3x3 with padding around one point", SHAPE(3, 3, 1, 1), 3, .call = {EACH(3, 1, 1)}),
    CONV("3-D", SHAPE(2, 3, 5, 7, 4), 5, .bias = true, .call = {EACH(3, 1, 1)}),
    CONV("3-D, uneven", SHAPE(1, 16, 3, 6, 5), 16,
         .call = {.kernel = {1, 3, 2}, .stride = {1, 2, 1}, .pad = {0, 1, 1}}),
    CONV("hollow, 16 channels", SHAPE(3, 16, 9, 7), 16, .call = {.hollow = true, EACH(3, 1, 1)}),
    CONV("hollow, to fewer, stride 2", SHAPE(2, 31, 7, 5), 3, .bias = true,
         .call = {.hollow = true, EACH(3, 2, 1)}),
    CONV("hollow, to more, 1x1", SHAPE(3, 5, 3, 3), 17, .relu = true,
         .call = {.hollow = true, EACH(1, 1, 0)}),
    CONV("hollow, 3-D, uneven", SHAPE(1, 3, 3, 6, 5), 4,
         .call = {.hollow = true, .kernel = {1, 3, 2}, .stride = {1, 2, 1}, .pad = {0, 1, 1}}),
    CONV("transposed, 1-D", SHAPE(3, 7, 31), 5, .bias = true,
         .call = {.transposed = true, EACH(4, 2, 1)}),
    CONV("transposed, 2-D", SHAPE(2, 16, 7, 5), 8, .bias = true,
         .call = {.transposed = true, EACH(3, 2, 1)}),
    CONV("transposed, 2-D, no bias, relu", SHAPE(1, 31, 3, 3), 3, .relu = true,
         .call = {.transposed = true, EACH(5, 3, 0)}),
    CONV("transposed, 3-D", SHAPE(1, 3, 3, 4, 2), 4, .bias = true,
         .call = {.transposed = true, EACH(2, 2, 0)}),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("conv");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  suite_add_tcase(s, t);
  return run_suite(s);
}
