/* How graphs grow: names, shapes, parameters; and what is said of graphs that cannot be. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/ops.h"

#define SHAPE(...)                                                                                 \
  (tg_shape) {                                                                                     \
    .nd = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = { __VA_ARGS__ }                             \
  }
#define MUST(expression)                                                                           \
  ck_assert_msg((expression) == TG_OK, "%s: %s", #expression, tg_status_message())

/* ---- bad graphs: builders on images x [4,3,8,8], features f [4,6], labels y [4] ---- */

typedef struct inputs {
  tg_value *x, *f, *y;
} inputs;

typedef struct bad_graph {
  void (*build)(tg_graph *g, inputs in);
  const char *words[4]; /* all in the message */
} bad_graph;

#define BAD(name, ...)                                                                             \
  static void name(tg_graph *g, inputs in) {                                                       \
    (void)in;                                                                                      \
    __VA_ARGS__;                                                                                   \
  }

BAD(input_without_dimensions, tg_input(g, "none", (tg_shape){.nd = 0}))
BAD(input_with_six_dimensions, tg_input(g, "six", (tg_shape){.nd = 6}))
BAD(empty_input, tg_input(g, "empty", SHAPE(4, 0, 3)))
BAD(negative_input, tg_input(g, "negative", SHAPE(4, -3)))
BAD(huge_input, tg_input(g, "huge", SHAPE(INT64_MAX, INT64_MAX, 2)))
BAD(input_twice, tg_input(g, "x", SHAPE(4)))
BAD(no_labels, tg_labels(g, "labels", 0))
BAD(output_of_nothing, tg_output(g, "out", NULL))
BAD(output_name_taken, tg_output(g, "f", tg_relu(g, in.x)))
BAD(output_twice, tg_output(g, "b", tg_output(g, "a", tg_relu(g, in.x))))
BAD(renamed_input, tg_output(g, "other", in.x))
BAD(dense_of_images, tg_dense(g, "fc", in.x, 10, true))
BAD(dense_without_outputs, tg_dense(g, "fc", in.f, 0, true))
BAD(dense_of_labels, tg_dense(g, "fc", in.y, 10, true))
BAD(dense_too_large, tg_dense(g, "fc", in.f, (int64_t)1 << 41, true))
BAD(conv_of_features, tg_conv2d(g, "c", in.f, 3, 3, 1, 1, false))
BAD(conv_without_kernel, tg_conv2d(g, "c", in.x, 3, 0, 1, 1, false))
BAD(conv_with_negative_stride, tg_conv2d(g, "c", in.x, 3, 3, -2, 1, false))
BAD(conv_with_negative_padding, tg_conv2d(g, "c", in.x, 3, 3, 1, -1, false))
BAD(conv_without_channels, tg_conv2d(g, "c", in.x, 0, 3, 1, 1, false))
BAD(conv_of_nothing, tg_conv2d(g, "c", in.x, 3, 11, 1, 1, false))
BAD(conv_with_enormous_padding, tg_conv2d(g, "c", in.x, 3, 3, 1, INT64_MAX / 2, false))
BAD(transposed_of_nothing,
    tg_conv(g, "c", in.x,
            (tg_conv_attr){.out = 1, .kernel = {1, 1}, .pad = {4, 4}, .transposed = true}))
BAD(shared_with_another_shape,
    tg_conv2d(g, "c", tg_conv2d(g, "c", in.x, 5, 3, 1, 1, false), 5, 3, 1, 1, false))
BAD(norm_of_labels, tg_batch_norm(g, "bn", in.y))
BAD(norm_shared_with_another_width, tg_batch_norm(g, "bn", tg_batch_norm(g, "bn", in.x));
    tg_batch_norm(g, "bn", in.f))
BAD(relu_of_labels, tg_relu(g, in.y))
BAD(slope_not_a_number, tg_leaky_relu(g, in.x, NAN))
BAD(sum_of_different_shapes, tg_add(g, in.x, in.f))
BAD(concat_of_nothing, tg_concat(g, 1, 0, NULL))
BAD(concat_of_too_many, tg_value *all[] = {in.f, in.f, in.f, in.f, in.f, in.f, in.f, in.f, in.f};
    tg_concat(g, 1, 9, all))
BAD(concat_along_nothing, tg_value *two[] = {in.f, in.f}; tg_concat(g, 2, 2, two))
BAD(concat_of_different_batches, tg_value *two[] = {in.f, tg_slice(g, in.f, 0, 0, 3, 1)};
    tg_concat(g, 1, 2, two))
BAD(concat_of_different_ranks, tg_value *two[] = {in.x, in.f}; tg_concat(g, 1, 2, two))
BAD(slice_along_nothing, tg_slice(g, in.x, -1, 0, 1, 1))
BAD(slice_behind_the_end, tg_slice(g, in.x, 2, 5, 4, 1))
BAD(slice_in_steps_behind_the_end, tg_slice(g, in.x, 2, 1, 4, 3))
BAD(slice_of_nothing, tg_slice(g, in.x, 2, 0, 0, 1))
BAD(slice_without_steps, tg_slice(g, in.x, 2, 0, 2, 0))
BAD(slice_before_the_start, tg_slice(g, in.x, 2, -1, 2, 1))
BAD(pad_with_less_than_nothing, tg_pad(g, in.x, 1, -1, 2))
BAD(pad_along_nothing, tg_pad(g, in.x, 4, 1, 1))
BAD(flatten_of_labels, tg_flatten(g, in.y))
BAD(pool_of_features, tg_max_pool(g, in.f, 2, 2, 0))
BAD(pool_without_kernel, tg_avg_pool(g, in.x, 0, 1, 0))
BAD(pool_of_padding, tg_max_pool(g, in.x, 2, 2, 2))
BAD(pool_larger_than_input, tg_max_pool(g, in.x, 9, 1, 0))
BAD(entropy_of_images, tg_softmax_cross_entropy(g, "loss", in.x, in.y, 1))
BAD(entropy_without_labels, tg_softmax_cross_entropy(g, "loss", in.f, in.f, 1))
BAD(entropy_of_other_labels, tg_softmax_cross_entropy(g, "loss", in.f, tg_labels(g, "z", 5), 1))
BAD(entropy_of_labels, tg_softmax_cross_entropy(g, "loss", in.y, in.y, 1))
BAD(error_of_different_shapes, tg_mean_squared_error(g, "loss", in.x, in.f, 1))
BAD(weight_not_finite, tg_mean_squared_error(g, "loss", in.f, in.f, INFINITY))
BAD(two_losses_of_one_name, tg_mean_squared_error(g, "loss", in.f, in.f, 1);
    tg_mean_squared_error(g, "loss", in.x, in.x, 1))
BAD(beyond_a_loss, tg_relu(g, tg_mean_squared_error(g, "loss", in.f, in.f, 1)))
BAD(of_nothing, tg_add(g, in.x, NULL))

static const bad_graph bad_graphs[] = {
    {input_without_dimensions, {"input none", "0 dimensions"}},
    {input_with_six_dimensions, {"input six", "6 dimensions", "1 to 5"}},
    {empty_input, {"input empty", "[4,0,3]", "dimension 1"}},
    {negative_input, {"input negative", "[4,-3]"}},
    {huge_input, {"input huge", "2^40"}},
    {input_twice, {"input x", "another value"}},
    {no_labels, {"input labels", "[0]"}},
    {output_of_nothing, {"output out", "missing"}},
    {output_name_taken, {"output f", "another value"}},
    {output_twice, {"output b", "known", "name a"}},
    {renamed_input, {"output other", "name x"}},
    {dense_of_images, {"dense fc", "x", "[4,3,8,8]", "flatten"}},
    {dense_without_outputs, {"dense fc", "0 outputs"}},
    {dense_of_labels, {"dense fc", "y", "labels"}},
    {dense_too_large, {"dense fc", "2^40"}},
    {conv_of_features, {"conv c", "f", "[4,6]", "spatial"}},
    {conv_without_kernel, {"conv c", "kernel 0"}},
    {conv_with_negative_stride, {"conv c", "stride -2"}},
    {conv_with_negative_padding, {"conv c", "padding -1"}},
    {conv_without_channels, {"conv c", "0 output channels"}},
    {conv_of_nothing, {"conv c", "[4,3,8,8]", "kernel 11"}},
    {conv_with_enormous_padding, {"conv c", "padding 4611686018427387903"}},
    {transposed_of_nothing, {"conv c", "kernel 1", "padding 4", "over 8"}},
    {shared_with_another_shape, {"c.weight", "[5,3,3,3]", "[5,5,3,3]"}},
    {norm_of_labels, {"batch_norm bn", "y", "labels"}},
    {norm_shared_with_another_width, {"bn.weight", "[3]", "[6]"}},
    {relu_of_labels, {"relu", "y", "labels"}},
    {slope_not_a_number, {"leaky_relu", "nan"}},
    {sum_of_different_shapes, {"add", "x is [4,3,8,8]", "f is [4,6]"}},
    {concat_of_nothing, {"concat", "no inputs"}},
    {concat_of_too_many, {"concat", "9 inputs", "8"}},
    {concat_along_nothing, {"concat", "axis 2", "[4,6]"}},
    {concat_of_different_batches, {"concat", "[4,6]", "[3,6]", "axis 1"}},
    {concat_of_different_ranks, {"concat", "[4,3,8,8]", "[4,6]"}},
    {slice_along_nothing, {"slice", "axis -1", "x"}},
    {slice_behind_the_end, {"slice", "4 elements from 5", "axis 2", "[4,3,8,8]"}},
    {slice_in_steps_behind_the_end, {"slice", "4 elements from 1 in steps of 3"}},
    {slice_of_nothing, {"slice", "0 elements"}},
    {slice_without_steps, {"slice", "steps of 0"}},
    {slice_before_the_start, {"slice", "from -1"}},
    {pad_with_less_than_nothing, {"pad", "-1 zeros before", "2 after"}},
    {pad_along_nothing, {"pad", "axis 4", "x"}},
    {flatten_of_labels, {"flatten", "y", "labels"}},
    {pool_of_features, {"pool", "f", "[4,6]"}},
    {pool_without_kernel, {"pool", "kernel 0"}},
    {pool_of_padding, {"pool", "padding 2", "half of kernel 2"}},
    {pool_larger_than_input, {"pool", "[4,3,8,8]", "kernel 9", "over 8"}},
    {entropy_of_images, {"softmax_cross_entropy loss", "x", "[4,3,8,8]", "[batch,classes]"}},
    {entropy_without_labels, {"softmax_cross_entropy loss", "f", "not labels"}},
    {entropy_of_other_labels, {"softmax_cross_entropy loss", "f are [4,6]", "z are [5]"}},
    {entropy_of_labels, {"softmax_cross_entropy loss", "y is no logits"}},
    {error_of_different_shapes, {"mean_squared_error loss", "[4,3,8,8]", "[4,6]"}},
    {weight_not_finite, {"mean_squared_error loss", "weight inf"}},
    {two_losses_of_one_name, {"mean_squared_error loss", "another value"}},
    {beyond_a_loss, {"relu", "loss", "nothing can follow"}},
    {of_nothing, {"add", "input 1 is missing"}},
};

START_TEST(bad_graphs_are_named) {
  const bad_graph *bad = &bad_graphs[_i];
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  inputs in = {tg_input(g, "x", SHAPE(4, 3, 8, 8)), tg_input(g, "f", SHAPE(4, 6)),
               tg_labels(g, "y", 4)};
  MUST(tg_graph_status(g));
  bad->build(g, in);
  ck_assert_msg(tg_graph_status(g) == TG_ECONFIG, "row %d was accepted, or fails otherwise: %s", _i,
                tg_status_message());
  const char *message = tg_status_message();
  for (int i = 0; i < 4 && bad->words[i]; i++)
    ck_assert_msg(strstr(message, bad->words[i]), "row %d: \"%s\" has no \"%s\"", _i, message,
                  bad->words[i]);
  /* The first failure stays; builders go on accepting what failed ones gave. */
  int nodes = g->node_count;
  ck_assert_ptr_null(tg_dense(g, "later", tg_relu(g, NULL), 0, true));
  ck_assert_ptr_null(tg_output(g, "later", NULL));
  ck_assert_int_eq(g->node_count, nodes);
  char first[512];
  snprintf(first, sizeof first, "%s", message);
  ck_assert_int_eq(tg_graph_status(g), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), first);
  tg_graph_destroy(g);
}
END_TEST

/* ---- good ones ---- */

typedef struct wanted_param {
  const char *name, *shape;
  tg_init_kind init;
  int64_t fan_in, fan_out;
} wanted_param;

/* Names, layouts and fans are PyTorch's: nn.init._calculate_fan_in_and_fan_out counts a weight's
 * dimensions 1 and 0, also for transposed convolutions. */
static const wanted_param wanted[] = {
    {"conv.weight", "[16,3,5,5]", TG_INIT_WEIGHT, 75, 400},
    {"conv.bias", "[16]", TG_INIT_BIAS, 75, 400},
    {"up.weight", "[16,8,2,4]", TG_INIT_WEIGHT, 64, 128},
    {"up.bias", "[8]", TG_INIT_BIAS, 64, 128},
    {"bn.weight", "[8]", TG_INIT_ONE, 1, 1},
    {"bn.bias", "[8]", TG_INIT_ZERO, 1, 1},
    {"fc.weight", "[10,8]", TG_INIT_WEIGHT, 8, 10},
    {"fc.bias", "[10]", TG_INIT_BIAS, 8, 10},
};

static tg_value *build_good(tg_graph *g) {
  tg_conv_attr up = {
      .out = 8, .kernel = {2, 4}, .stride = {2, 0}, .bias = true, .transposed = true};
  tg_value *x = tg_input(g, "x", SHAPE(2, 3, 9, 8));
  x = tg_batch_norm(g, "bn", tg_conv(g, "up", tg_conv2d(g, "conv", x, 16, 5, 2, 2, true), up));
  x = tg_flatten(g, tg_global_avg_pool(g, tg_relu(g, x)));
  return tg_output(g, "logits", tg_dense(g, "fc", x, 10, true));
}

START_TEST(parameters_are_pytorchs) {
  tg_graph *g = NULL;
  char text[64];
  size_t at = 0;
  MUST(tg_graph_create(&g));
  tg_value *logits = build_good(g);
  MUST(tg_graph_status(g));
  ck_assert_int_eq(g->param_count, sizeof wanted / sizeof *wanted);
  for (int i = 0; i < g->param_count; i++) {
    const tg_param *p = g->param[i];
    ck_assert_str_eq(p->name, wanted[i].name);
    ck_assert_str_eq(tg_shape_text(&p->shape, text, sizeof text), wanted[i].shape);
    ck_assert_int_eq(p->init, wanted[i].init);
    ck_assert_int_eq(p->fan_in, wanted[i].fan_in);
    ck_assert_int_eq(p->fan_out, wanted[i].fan_out);
    ck_assert_uint_eq(p->offset, at);
    at += p->count;
  }
  ck_assert_uint_eq(g->n, at);
  ck_assert_int_eq(g->stat_count, 2);
  ck_assert_str_eq(g->stat[0]->name, "bn.running_mean");
  ck_assert_str_eq(g->stat[1]->name, "bn.running_var");
  ck_assert(g->stat[0]->initial == 0 && g->stat[1]->initial == 1);
  ck_assert_uint_eq(g->k, 16);
  ck_assert_uint_eq(g->ks, 16);
  ck_assert_ptr_eq(tg_graph_value(g, "logits"), logits);
  ck_assert(logits->output && logits->uses == 1);
  ck_assert_ptr_null(tg_graph_value(g, "nothing"));
  tg_graph_destroy(g);
}
END_TEST

START_TEST(shapes_are_pytorchs) {
  tg_graph *g = NULL;
  char text[64];
  MUST(tg_graph_create(&g));
  build_good(g);
  MUST(tg_graph_status(g));
  /* Conv2d(3,16,5,2,2): (9+4-5)/2+1 = 5, (8+4-5)/2+1 = 4. ConvTranspose2d(16,8,(2,4),(2,1)):
   * (5-1)*2+2 = 10, (4-1)+4 = 7. */
  const char *const want[] = {"[2,3,9,8]",  "[2,16,5,4]", "[2,8,10,7]", "[2,8,10,7]",
                              "[2,8,10,7]", "[2,8,1,1]",  "[2,8]",      "[2,10]"};
  ck_assert_int_eq(g->node_count, sizeof want / sizeof *want);
  for (int i = 0; i < g->node_count; i++)
    ck_assert_str_eq(tg_shape_text(&g->node[i]->out->shape, text, sizeof text), want[i]);
  tg_graph_destroy(g);
}
END_TEST

/* The same name is the same parameter, and a statistic of several uses. */
START_TEST(names_are_identity) {
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  for (int i = 0; i < 2; i++) {
    tg_value *x = tg_input(g, i ? "b" : "a", SHAPE(4, 3, 8, 8));
    tg_batch_norm(g, "bn", tg_conv2d(g, "conv", x, 3, 3, 1, 1, false));
  }
  MUST(tg_graph_status(g));
  ck_assert_int_eq(g->param_count, 3);
  ck_assert_int_eq(g->param[0]->uses, 2);
  ck_assert_uint_eq(g->n, 81 + 3 + 3);
  ck_assert_int_eq(g->stat_count, 2);
  ck_assert_uint_eq(g->k, 6);
  ck_assert_uint_eq(g->ks, 12);
  ck_assert_uint_eq(g->node[2]->stat[1].s_offset, 3);
  ck_assert_uint_eq(g->node[5]->stat[1].s_offset, 9);
  ck_assert_ptr_eq(g->node[2]->param[0], g->node[5]->param[0]);
  tg_graph_destroy(g);
}
END_TEST

START_TEST(flags_follow_the_graph) {
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", SHAPE(4, 3)), *y = tg_labels(g, "y", 4);
  tg_value *plain = tg_relu(g, x), *logits = tg_dense(g, "fc", plain, 5, false);
  tg_value *loss = tg_softmax_cross_entropy(g, "loss", logits, tg_slice(g, y, 0, 0, 4, 1), 1);
  MUST(tg_graph_status(g));
  ck_assert(x->keep_f32 && !x->needs_grad && !x->labels);
  ck_assert(y->labels && g->node[4]->out->labels);
  ck_assert(!plain->keep_f32 && !plain->needs_grad);
  ck_assert(logits->keep_f32 && logits->needs_grad);
  ck_assert(loss->keep_f32 && loss->needs_grad && loss->producer->op->loss);
  ck_assert_str_eq(plain->name, "relu_2");
  ck_assert_int_eq(logits->uses, 1);
  tg_graph_destroy(g);
}
END_TEST

int main(void) {
  Suite *s = suite_create("graph");
  TCase *t = tcase_create("graphs");
  tcase_add_loop_test(t, bad_graphs_are_named, 0, sizeof bad_graphs / sizeof *bad_graphs);
  tcase_add_test(t, parameters_are_pytorchs);
  tcase_add_test(t, shapes_are_pytorchs);
  tcase_add_test(t, names_are_identity);
  tcase_add_test(t, flags_follow_the_graph);
  suite_add_tcase(s, t);
  SRunner *runner = srunner_create(s);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
