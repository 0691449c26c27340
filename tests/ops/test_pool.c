/* DEVICE: yes. Pooling against the reference. */
#include "harness.h"

static tg_value *build(tg_graph *g, tg_value *const *x, const op_case *c) {
  static const tg_pool_kind kind[] = {TG_POOL_MAX, TG_POOL_AVERAGE, TG_POOL_GLOBAL_AVERAGE};
  tg_pool_attr a = {.kind = kind[c->call.pool]};
  for (int i = 0; i < 3; i++) {
    a.kernel[i] = c->call.kernel[i];
    a.stride[i] = c->call.stride[i];
    a.pad[i] = c->call.pad[i];
  }
  return tg_pool(g, x[0], a);
}

/* float32: a maximum is exact, a mean is a short sum. bf16: y is rounded once (2^-9); dx is a sum
 * over the windows that an element is in, up to 8 here, which oneDNN rounds after every term. */
#define POOL(text, how, input, ...)                                                                \
  {                                                                                                \
    .what = text, .ref = &ref_pool, .build = build, .x_count = 1, .x = {input},                    \
    .tolerance = {5e-7, 4e-3}, .gradient_tolerance = {5e-7, 16e-3}, .call = {                      \
      .pool = how,                                                                                 \
      __VA_ARGS__                                                                                  \
    }                                                                                              \
  }
#define EACH(k, s, p) .kernel = {k, k, k}, .stride = {s, s, s}, .pad = {p, p, p}

static const op_case cases[] = {
    POOL("max 3x3, stride 2, padding 1", REF_MAX, SHAPE(2, 16, 9, 7), EACH(3, 2, 1)),
    POOL("max 2x2", REF_MAX, SHAPE(3, 3, 31, 6), EACH(2, 2, 0)),
    POOL("max, overlapping, 31 channels", REF_MAX, SHAPE(1, 31, 5, 5), EACH(3, 1, 1)),
    POOL("max, 1-D", REF_MAX, SHAPE(3, 5, 257), EACH(3, 2, 0)),
    POOL("max, 3-D", REF_MAX, SHAPE(1, 3, 5, 4, 6), EACH(2, 2, 0)),
    POOL("average 3x3, stride 2, padding 1", REF_AVERAGE, SHAPE(3, 16, 9, 7), EACH(3, 2, 1)),
    POOL("average 2x3", REF_AVERAGE, SHAPE(1, 31, 7, 9), .kernel = {2, 3}, .stride = {2, 1}),
    POOL("average, 1-D", REF_AVERAGE, SHAPE(3, 5, 257), EACH(5, 3, 2)),
    POOL("average, 3-D", REF_AVERAGE, SHAPE(2, 3, 5, 4, 3), EACH(2, 1, 1)),
    POOL("global, 31 channels", REF_GLOBAL, SHAPE(3, 31, 8, 8), EACH(0, 0, 0)),
    POOL("global, 257 channels", REF_GLOBAL, SHAPE(3, 257, 3, 1), EACH(0, 0, 0)),
    POOL("global, 1-D", REF_GLOBAL, SHAPE(1, 16, 31), EACH(0, 0, 0)),
    POOL("global, one number", REF_GLOBAL, SHAPE(1, 1, 1, 1), EACH(0, 0, 0)),
    POOL("global, 3-D", REF_GLOBAL, SHAPE(2, 16, 3, 2, 5), EACH(0, 0, 0)),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("pool");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  suite_add_tcase(s, t);
  return run_suite(s);
}
