/* The walk over channels: every element once, with its channel, in every layout and division. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "backend/cpu_lanes.h"

enum { PLAIN, LAST, BLOCKS_OF_4, BLOCKS_OF_8, BLOCKS_OF_16, LAYOUTS };

static dnnl_memory_desc_t layout(int which, tg_shape shape) {
  static const dnnl_format_tag_t tag[LAYOUTS][TG_MAX_DIMS + 1] = {
      {0, 0, dnnl_nc, dnnl_ncw, dnnl_nchw, dnnl_ncdhw},
      {0, 0, dnnl_nc, dnnl_nwc, dnnl_nhwc, dnnl_ndhwc},
      {0, 0, dnnl_nc, dnnl_nCw4c, dnnl_nChw4c, dnnl_nCdhw4c},
      {0, 0, dnnl_nc, dnnl_nCw8c, dnnl_nChw8c, dnnl_nCdhw8c},
      {0, 0, dnnl_nc, dnnl_nCw16c, dnnl_nChw16c, dnnl_nCdhw16c}};
  dnnl_memory_desc_t desc;
  dnnl_dims_t dims = {0};
  memcpy(dims, shape.dim, sizeof shape.dim);
  ck_assert(dnnl_memory_desc_init_by_tag(&desc, shape.nd, dims, dnnl_f32, tag[which][shape.nd]) ==
            dnnl_success);
  return desc;
}

static const tg_shape shapes[] = {
    {4, {2, 16, 5, 3}},  {4, {3, 17, 2, 2}},    {4, {1, 1, 7, 7}},     {4, {5, 3, 1, 1}},
    {4, {2, 48, 1, 31}}, {3, {2, 31, 7}},       {2, {9, 33}},          {2, {1, 1}},
    {2, {4, 5}},         {5, {2, 20, 2, 3, 3}}, {4, {1, 24, 257, 33}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Offset of the element (batch, channel, point) by the definition of blocking. */
static size_t offset_of(const dnnl_memory_desc_t *d, int64_t batch, int64_t channel,
                        int64_t point) {
  const dnnl_blocking_desc_t *b = &d->format_desc.blocking;
  int64_t block = b->inner_nblks ? b->inner_blks[0] : 1;
  int64_t at = batch * b->strides[0] + channel / block * b->strides[1] + channel % block;
  if (!b->inner_nblks) at = batch * b->strides[0] + channel * b->strides[1];
  for (int i = d->ndims - 1; i >= 2; i--) {
    at += point % d->dims[i] * b->strides[i];
    point /= d->dims[i];
  }
  return (size_t)at;
}

typedef struct visit {
  const tg_lane_walk *walk;
  int *times, *channel;
  size_t size;
} visit;

static void count_run(void *context, const tg_lane_run *run) {
  visit *v = context;
  ck_assert(run->count >= 1 && run->count <= 1024 && run->width >= 1 && run->width <= TG_LANES);
  ck_assert(run->at + (size_t)(run->count - 1) * run->stride + (size_t)run->width <= v->size);
  for (int64_t i = 0; i < run->count; i++)
    for (int l = 0; l < run->width; l++) {
      size_t at = run->at + (size_t)i * run->stride + (size_t)l;
      v->times[at]++;
      v->channel[at] = (int)(run->group * v->walk->period + l % v->walk->period);
    }
}

static void check(const dnnl_memory_desc_t *d, int parts) {
  tg_lane_walk walk;
  ck_assert(tg_lane_walk_create(d, &walk));
  size_t size = dnnl_memory_desc_get_size(d) / sizeof(float);
  visit v = {&walk, calloc(size, sizeof(int)), calloc(size, sizeof(int)), size};
  for (int part = 0; part < parts; part++) tg_lane_walk_part(&walk, part, parts, count_run, &v);
  int64_t points = 1;
  for (int i = 2; i < d->ndims; i++) points *= d->dims[i];
  int wrong = 0;
  for (size_t i = 0; i < size; i++) wrong += v.times[i] != 1;
  for (int64_t b = 0; b < d->dims[0]; b++)
    for (int64_t c = 0; c < d->dims[1]; c++)
      for (int64_t p = 0; p < points; p++) wrong += v.channel[offset_of(d, b, c, p)] != (int)c;
  ck_assert_int_eq(wrong, 0);
  for (int64_t c = 0; c < d->dims[1]; c++)
    ck_assert_uint_eq(tg_lane_first(&walk, c), offset_of(d, 0, c, 0));
  free(v.times);
  free(v.channel);
}

START_TEST(every_element_once) {
  for (int which = 0; which < LAYOUTS; which++) {
    dnnl_memory_desc_t d = layout(which, shapes[_i]);
    const int parts[] = {1, 2, 3, 7, 64};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) check(&d, parts[i]);
  }
}
END_TEST

START_TEST(other_layouts_are_refused) {
  dnnl_memory_desc_t d;
  const dnnl_dims_t dims = {16, 32, 4, 4}, gaps = {1024, 32, 8, 2};
  tg_lane_walk walk;
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, dims, dnnl_f32, dnnl_NChw16n16c) == dnnl_success);
  ck_assert(!tg_lane_walk_create(&d, &walk));
  ck_assert(dnnl_memory_desc_init_by_strides(&d, 4, dims, dnnl_f32, gaps) == dnnl_success);
  ck_assert(!tg_lane_walk_create(&d, &walk));
}
END_TEST

/* Rounding to bf16 as everywhere else: to nearest, ties to even. */
START_TEST(bf16_is_rounded_to_nearest) {
  const float values[TG_LANES] = {
      0,    -0.0f, 1,     -1,         1.00390625f, 1.01171875f, 3e38f,    -3e-38f,
      0.1f, -0.3f, 65504, 1.0000001f, 1.0039063f,  1.0117187f,  INFINITY, -INFINITY};
  uint16_t have[TG_LANES], some[TG_LANES] = {0};
  tg_lanes v;
  memcpy(&v, values, sizeof v);
  tg_lanes_store(have, 0, v, TG_BF16);
  tg_lanes_store_some(some, 0, 15, v, TG_BF16);
  tg_lanes back = tg_lanes_load(have, 0, TG_BF16), few = tg_lanes_load_some(have, 0, 3, TG_BF16);
  for (int l = 0; l < TG_LANES; l++) {
    ck_assert_uint_eq(have[l], tg_f32_to_bf16(values[l]));
    ck_assert_uint_eq(some[l], l < 15 ? have[l] : 0);
    ck_assert(back[l] == tg_bf16_to_f32(have[l]));
    ck_assert(few[l] == (l < 3 ? back[l] : 0));
  }
  v = v * 0 + NAN;
  tg_lanes_store(have, 0, v, TG_BF16);
  for (int l = 0; l < TG_LANES; l++) ck_assert(tg_bf16_to_f32(have[l]) != tg_bf16_to_f32(have[l]));
}
END_TEST

int main(void) {
  Suite *s = suite_create("lanes");
  TCase *t = tcase_create("walk");
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, every_element_once, 0, SHAPES);
  tcase_add_test(t, other_layouts_are_refused);
  tcase_add_test(t, bf16_is_rounded_to_nearest);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
