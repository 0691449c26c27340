/* 3x3 convolutions that are large enough for Winograd's algorithm (where the processor has it), and
 * their neighbours that are just not: against the reference, trained and evaluated.
 *
 * VALGRIND: no, minutes for what test_conv runs there in smaller shapes */
#include "../ops/harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  tg_conv_attr a = {.out = c->out, .bias = c->bias};
  for (int i = 0; i < 3; i++) {
    a.kernel[i] = c->call.kernel[i];
    a.stride[i] = c->call.stride[i];
    a.pad[i] = c->call.pad[i];
  }
  return tg_conv(g, "conv", x[0], a);
}

/* float32: of the largest magnitude; tiles of 4x4 cost about two bits. bf16 is computed directly.
 */
#define CONV(text, input, channels, ...)                                                           \
  {                                                                                                \
    .what = text, .ref = &ref_conv, .build = build, .x_count = 1, .x = {input}, .out = channels,   \
    .tolerance = {4e-6, 4e-3}, .gradient_tolerance = {6e-6, 6e-3}, .call = {                       \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }

static const op_case cases[] = {
    CONV("8x8, 64 tiles", SHAPE(16, 32, 8, 8), 32, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 1, 0}),
    CONV("8x8, 60 tiles", SHAPE(15, 32, 8, 8), 32, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 1, 0}),
    CONV("16 to 32 channels", SHAPE(16, 16, 8, 8), 32, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 1, 0}),
    CONV("48 to 64 channels, uneven extents", SHAPE(2, 48, 31, 17), 64, .kernel = {3, 3, 1},
         .stride = {1, 1, 1}, .pad = {1, 1, 0}),
    CONV("no padding", SHAPE(3, 32, 31, 19), 48, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {0, 0, 0}),
    CONV("padding on two sides", SHAPE(3, 32, 18, 33), 32, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 0, 0}),
    CONV("odd channels", SHAPE(4, 33, 17, 17), 37, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 1, 0}),
    CONV("stride 2", SHAPE(4, 32, 33, 33), 32, .kernel = {3, 3, 1}, .stride = {2, 2, 1},
         .pad = {1, 1, 0}),
    CONV("one large image", SHAPE(1, 32, 61, 35), 32, .kernel = {3, 3, 1}, .stride = {1, 1, 1},
         .pad = {1, 1, 0}),
};
enum { CASES = sizeof cases / sizeof *cases };

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

START_TEST(with_bias_and_relu) {
  op_case c = cases[_i];
  c.bias = c.relu = true;
  check_case(&c);
}
END_TEST

/* y of a plan for training or evaluation, without the loss. */
static float *value_of(const built *b, bool train) {
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_plan_options options = {.train = train};
  MUST(tg_device_open("cpu", &d));
  MUST(tg_plan_create(b->g, d, &options, &p));
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *g = malloc((b->g->n + 1) * sizeof *g);
  tg_plan_place(p, block);
  tg_plan_bind(p, b->w, g, NULL, NULL);
  size_t bytes = tg_shape_count(&b->c->x[0]) * sizeof(float);
  MUST(tg_plan_write(p, "x0", b->data[0], bytes));
  MUST(tg_plan_forward(p));
  float *y = read_value(p, b->y, TG_NO_BUFFER);
  d->backend->free(d, block);
  free(g);
  tg_plan_destroy(p);
  tg_device_close(d);
  return y;
}

/* oneDNN may keep weights transformed when there is no backward pass; and any run is the next. */
START_TEST(evaluation_agrees_and_repeats) {
  built b = build_case(&cases[_i], ALONE);
  float *trained = value_of(&b, true), *once = value_of(&b, false), *again = value_of(&b, false);
  size_t n = tg_shape_count(&b.y->shape);
  ck_assert(memcmp(once, again, n * sizeof *once) == 0);
  double largest = 0, worst = 0;
  for (size_t i = 0; i < n; i++) {
    largest = fmax(largest, fabs((double)trained[i]));
    worst = fmax(worst, fabs((double)trained[i] - (double)once[i]));
  }
  ck_assert_msg(worst <= 4e-6 * largest, "%s: %g of %g", cases[_i].what, worst, largest);
  free(trained);
  free(once);
  free(again);
  free_case(&b);
}
END_TEST

int main(void) {
  Suite *s = suite_create("winograd");
  TCase *t = tcase_create("conv");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, CASES);
  tcase_add_loop_test(t, with_bias_and_relu, 0, 2);
  tcase_add_loop_test(t, evaluation_agrees_and_repeats, 0, CASES);
  suite_add_tcase(s, t);
  return run_suite(s);
}
