/* DEVICE: yes. Concat, slice, pad and flatten against the reference; through the layouts of
 * networks, and between layouts picked by hand. */
#include "harness.h"

#include "backend/cpu_move.h"

static tg_value *build_slice(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_slice(g, x[0], c->call.axis, c->call.start, c->out, c->call.step);
}
static tg_value *build_pad(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_pad(g, x[0], c->call.axis, c->call.before, c->out);
}
static tg_value *build_concat(tg_graph *g, tg_value *const *x, const op_case *c) {
  return tg_concat(g, c->call.axis, c->x_count, x);
}
static tg_value *build_flatten(tg_graph *g, tg_value *const *x, const op_case *c) {
  (void)c;
  return tg_flatten(g, x[0]);
}

/* Moves are exact; in bf16 a gradient may have been rounded on its way in (2^-9). */
#define MOVE(text, operation, ...)                                                                 \
  {                                                                                                \
    .what = text, .ref = &ref_##operation, .build = build_##operation, .tolerance = {0, 0},        \
    .gradient_tolerance = {0, 4e-3}, __VA_ARGS__                                                   \
  }
#define SLICE(text, input, along, from, count, by)                                                 \
  MOVE("slice " text, slice, .x_count = 1, .x = {input}, .out = count,                             \
       .call = {.axis = along, .start = from, .step = by})
#define PAD(text, input, along, zeros, more)                                                       \
  MOVE("pad " text, pad, .x_count = 1, .x = {input}, .out = more,                                  \
       .call = {.axis = along, .before = zeros})
#define CONCAT(text, along, count, ...)                                                            \
  MOVE("concat " text, concat, .x_count = count, .x = {__VA_ARGS__}, .call = {.axis = along})
#define FLATTEN(text, input) MOVE("flatten " text, flatten, .x_count = 1, .x = {input})

static const op_case cases[] = {
    SLICE("rows of an option-A shortcut", SHAPE(3, 16, 9, 7), 2, 0, 5, 2),
    SLICE("columns of an option-A shortcut", SHAPE(3, 16, 5, 8), 3, 0, 4, 2),
    SLICE("channels across a block", SHAPE(2, 31, 3, 5), 1, 5, 17, 1),
    SLICE("channels in steps", SHAPE(2, 31, 3, 5), 1, 1, 10, 3),
    SLICE("batch", SHAPE(31, 16, 3, 3), 0, 3, 7, 4),
    SLICE("features", SHAPE(3, 257), 1, 31, 200, 1),
    SLICE("one number", SHAPE(1, 1, 1, 1), 2, 0, 1, 1),
    SLICE("3-D", SHAPE(2, 3, 5, 4, 3), 2, 1, 2, 3),
    PAD("channels of an option-A shortcut", SHAPE(3, 16, 4, 4), 1, 8, 8),
    PAD("few channels", SHAPE(3, 3, 5, 4), 1, 1, 27),
    PAD("rows", SHAPE(3, 31, 3, 5), 2, 2, 1),
    PAD("batch", SHAPE(3, 5, 3, 3), 0, 1, 2),
    PAD("features", SHAPE(31, 3), 1, 0, 254),
    PAD("nothing", SHAPE(3, 16, 3, 3), 1, 0, 0),
    CONCAT("channels", 1, 3, SHAPE(3, 16, 5, 3), SHAPE(3, 3, 5, 3), SHAPE(3, 31, 5, 3)),
    CONCAT("two halves of a block", 1, 2, SHAPE(3, 8, 3, 3), SHAPE(3, 8, 3, 3)),
    CONCAT("batches", 0, 2, SHAPE(1, 16, 3, 5), SHAPE(31, 16, 3, 5)),
    CONCAT("columns", 3, 2, SHAPE(3, 5, 3, 1), SHAPE(3, 5, 3, 257)),
    CONCAT("features", 1, 3, SHAPE(31, 1), SHAPE(31, 3), SHAPE(31, 257)),
    CONCAT("of one", 1, 1, SHAPE(3, 31, 3, 3)),
    FLATTEN("31 channels", SHAPE(3, 31, 3, 5)),
    FLATTEN("257 channels of one point", SHAPE(3, 257, 1, 1)),
    FLATTEN("1-D", SHAPE(3, 16, 31)),
    FLATTEN("features", SHAPE(31, 3)),
};

START_TEST(one_case) {
  check_case(&cases[_i]);
}
END_TEST

/* ---- between layouts ---- */

static const dnnl_format_tag_t tags[] = {dnnl_nchw,   dnnl_nhwc,       dnnl_nChw16c,
                                         dnnl_nChw8c, dnnl_NChw16n16c, dnnl_chwn};
enum { TAGS = sizeof tags / sizeof *tags };

/* Where element i, counted in row-major order, lies: by asking oneDNN to reorder 0, 1, 2... */
static uint32_t *places(const dnnl_memory_desc_t *desc, size_t *size) {
  dnnl_memory_desc_t plain, here;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_desc_t pd;
  dnnl_primitive_t reorder;
  dnnl_memory_t from, to;
  size_t n = 1;
  for (int i = 0; i < desc->ndims; i++) n *= (size_t)desc->dims[i];
  here = *desc;
  here.data_type = dnnl_f32;
  dnnl_memory_desc_init_by_tag(&plain, 4, desc->dims, dnnl_f32, dnnl_nchw);
  *size = dnnl_memory_desc_get_size(&here) / sizeof(float);
  float *index = malloc(n * sizeof *index), *moved = calloc(*size, sizeof *moved);
  for (size_t i = 0; i < n; i++) index[i] = (float)(i + 1);
  dnnl_engine_create(&engine, dnnl_cpu, 0);
  dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
  ck_assert_int_eq(dnnl_reorder_primitive_desc_create(&pd, &plain, engine, &here, engine, NULL), 0);
  dnnl_primitive_create(&reorder, pd);
  dnnl_memory_create(&from, &plain, engine, index);
  dnnl_memory_create(&to, &here, engine, moved);
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  ck_assert_int_eq(dnnl_primitive_execute(reorder, stream, 2, args), 0);
  dnnl_stream_wait(stream);
  uint32_t *place = calloc(n, sizeof *place);
  for (size_t i = 0; i < *size; i++)
    if (moved[i] > 0) place[(size_t)moved[i] - 1] = (uint32_t)i;
  dnnl_memory_destroy(from);
  dnnl_memory_destroy(to);
  dnnl_primitive_destroy(reorder);
  dnnl_primitive_desc_destroy(pd);
  dnnl_stream_destroy(stream);
  dnnl_engine_destroy(engine);
  free(index);
  free(moved);
  return place;
}

typedef struct box_case {
  tg_shape from, to, both;
  int axis;
  int64_t from_start, from_step, to_start;
} box_case;

static const box_case boxes[] = {
    {SHAPE(2, 16, 5, 3), SHAPE(2, 32, 5, 3), SHAPE(2, 16, 5, 3), 1, 0, 1, 8},
    {SHAPE(3, 37, 2, 3), SHAPE(3, 20, 2, 3), SHAPE(3, 11, 2, 3), 1, 3, 3, 9},
    {SHAPE(3, 5, 9, 4), SHAPE(3, 5, 5, 4), SHAPE(3, 5, 5, 4), 2, 0, 2, 0},
    {SHAPE(33, 3, 2, 2), SHAPE(9, 3, 2, 2), SHAPE(5, 3, 2, 2), 0, 1, 7, 3},
    {SHAPE(1, 1, 1, 8), SHAPE(1, 1, 1, 9), SHAPE(1, 1, 1, 4), 3, 1, 2, 5},
};
enum { BOXES = sizeof boxes / sizeof *boxes };

/* Index i of `shape`, row-major, as the index in `whole` of the box's element. */
static size_t place_in(const tg_shape *shape, const tg_shape *whole, int axis, int64_t start,
                       int64_t step, size_t i) {
  size_t at = 0, scale = 1;
  for (int d = shape->nd - 1; d >= 0; d--) {
    int64_t index = (int64_t)(i % (size_t)shape->dim[d]);
    i /= (size_t)shape->dim[d];
    at += scale * (size_t)(d == axis ? start + step * index : index);
    scale *= (size_t)whole->dim[d];
  }
  return at;
}

static void desc_of(const tg_shape *shape, dnnl_format_tag_t tag, dnnl_memory_desc_t *out) {
  dnnl_dims_t dims = {0};
  memcpy(dims, shape->dim, sizeof shape->dim);
  ck_assert_int_eq(dnnl_memory_desc_init_by_tag(out, shape->nd, dims, dnnl_f32, tag), 0);
}

/* Every element of the box arrives; with fill everything else is 0, without it nothing else is
 * touched. */
static void check_box(const box_case *c, dnnl_format_tag_t from_tag, dnnl_format_tag_t to_tag,
                      bool fill) {
  dnnl_memory_desc_t from, to;
  tg_cpu_move move = {0};
  size_t from_size = 0, to_size = 0, n = tg_shape_count(&c->both);
  desc_of(&c->from, from_tag, &from);
  desc_of(&c->to, to_tag, &to);
  uint32_t *from_place = places(&from, &from_size), *to_place = places(&to, &to_size);
  float *a = malloc(from_size * sizeof *a), *b = malloc(to_size * sizeof *b);
  float *want = malloc(to_size * sizeof *want);
  for (size_t i = 0; i < from_size; i++) a[i] = (float)(i + 1);
  for (size_t i = 0; i < to_size; i++) b[i] = -1;
  for (size_t i = 0; i < to_size; i++) want[i] = fill ? 0 : -1;
  for (size_t i = 0; i < n; i++) {
    size_t in_from = place_in(&c->both, &c->from, c->axis, c->from_start, c->from_step, i);
    size_t in_to = place_in(&c->both, &c->to, c->axis, c->to_start, 1, i);
    want[to_place[in_to]] = a[from_place[in_from]];
  }
  tg_cpu_box from_box = {&from, c->axis, c->from_start, c->from_step};
  tg_cpu_box to_box = {&to, c->axis, c->to_start, 1};
  MUST(tg_cpu_move_create(&move, &from_box, &to_box, &c->both, fill));
  tg_cpu_move_run(&move, a, b);
  for (size_t i = 0; i < to_size; i++)
    ck_assert_msg(b[i] == want[i], "tags %d to %d, axis %d, fill %d: place %zu has %g, not %g",
                  (int)from_tag, (int)to_tag, c->axis, fill, i, (double)b[i], (double)want[i]);
  tg_cpu_move_destroy(&move);
  free(from_place);
  free(to_place);
  free(a);
  free(b);
  free(want);
}

START_TEST(boxes_between_layouts) {
  for (int from = 0; from < TAGS; from++)
    for (int to = 0; to < TAGS; to++)
      for (int fill = 0; fill < 2; fill++) check_box(&boxes[_i], tags[from], tags[to], fill);
}
END_TEST

/* What follows a pad or a slice finds the descriptor that oneDNN itself would have made. */
START_TEST(formats_keep_their_kind) {
  const dnnl_dims_t before = {3, 16, 8, 6}, after = {3, 40, 4, 6};
  const tg_shape shape = SHAPE(3, 40, 4, 6);
  dnnl_memory_desc_t like, have, want;
  dnnl_memory_desc_init_by_tag(&like, 4, before, dnnl_f32, tags[_i]);
  dnnl_memory_desc_init_by_tag(&want, 4, after, dnnl_bf16, tags[_i]);
  tg_cpu_desc_like(&like, &shape, TG_BF16, &have);
  ck_assert_msg(dnnl_memory_desc_equal(&have, &want), "tag %d", (int)tags[_i]);
}
END_TEST

/* A batch with the environments one behind the other: their labels go with them. */
START_TEST(labels_are_sliced_too) {
  const int32_t labels[] = {0, 1, 2, 1, -1, 2};
  tg_graph *g = NULL;
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_loss_result r = {0};
  MUST(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", (tg_shape)SHAPE(6, 3)), *y = tg_labels(g, "y", 6);
  tg_softmax_cross_entropy(g, "loss", tg_slice(g, x, 0, 1, 3, 2), tg_slice(g, y, 0, 1, 3, 2), 1);
  MUST(tg_graph_status(g));
  MUST(tg_device_open("fake", &d));
  MUST(tg_plan_create(g, d, &(tg_plan_options){.train = false}, &p));
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  tg_plan_place(p, block);
  tg_plan_bind(p, NULL, NULL, NULL, NULL);
  float logits[18];
  for (int i = 0; i < 18; i++) logits[i] = i % 3 == 1 ? 100 : 0; /* always class 1 */
  MUST(tg_plan_write(p, "x", logits, sizeof logits));
  MUST(tg_plan_write(p, "y", labels, sizeof labels));
  MUST(tg_plan_forward(p));
  MUST(tg_plan_loss(p, "loss", &r));
  ck_assert_uint_eq(r.counted, 3);
  ck_assert_uint_eq(r.correct, 2);
  tg_plan_destroy(p);
  d->backend->free(d, block);
  tg_device_close(d);
  tg_graph_destroy(g);
}
END_TEST

int main(void) {
  Suite *s = suite_create("shape");
  TCase *t = tcase_create("cases");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, sizeof cases / sizeof *cases);
  tcase_add_loop_test(t, boxes_between_layouts, 0, BOXES);
  tcase_add_loop_test(t, formats_keep_their_kind, 0, TAGS);
  tcase_add_test(t, labels_are_sliced_too);
  suite_add_tcase(s, t);
  return run_suite(s);
}
