/* cuda_rows_vectors.c - activations, flat vectors, moves, data, for bench_cuda_kernels.c. Bytes are
 * those that the head of each .cu file counts: what a kernel moves if nothing stays in a cache from
 * one of its passes to the next. */
#include "cuda_rows.h"
#include "tardigrad/rule.h"

/* ---- elementwise: rows x channels elements ---- */

static int relu(tg_bench_run *r) {
  void *x = whole(r), *y = whole(r);
  moves(r, 2);
  return LAUNCH(r, tg_cuda_relu(&r->launch, count_of(r), r->dtype, x, r->dtype, y));
}

static int relu_backward(tg_bench_run *r) {
  void *y = whole(r), *dy = whole(r), *dx = whole(r);
  moves(r, 3);
  return LAUNCH(r, tg_cuda_relu_backward(&r->launch, count_of(r), r->dtype, y, dy, r->dtype, dx));
}

static int leaky_relu(tg_bench_run *r) {
  void *x = whole(r), *y = whole(r);
  moves(r, 2);
  return LAUNCH(r, tg_cuda_leaky_relu(&r->launch, count_of(r), 0.1f, r->dtype, x, r->dtype, y));
}

static int leaky_relu_backward(tg_bench_run *r) {
  void *sign = whole(r), *dy = whole(r), *dx = whole(r);
  moves(r, 3);
  return LAUNCH(r, tg_cuda_leaky_relu_backward(&r->launch, count_of(r), 0.1f, r->dtype, sign,
                                               r->dtype, dy, r->dtype, dx));
}

static int sigmoid(tg_bench_run *r) {
  void *x = whole(r), *y = whole(r);
  moves(r, 2);
  return LAUNCH(r, tg_cuda_sigmoid(&r->launch, count_of(r), r->dtype, x, r->dtype, y));
}

static int sigmoid_backward(tg_bench_run *r) {
  void *y = whole(r), *dy = whole(r), *dx = whole(r);
  moves(r, 3);
  return LAUNCH(r,
                tg_cuda_sigmoid_backward(&r->launch, count_of(r), r->dtype, y, dy, r->dtype, dx));
}

static int sum_relu(tg_bench_run *r) {
  void *a = whole(r), *b = whole(r), *y = whole(r);
  moves(r, 3);
  return LAUNCH(r,
                tg_cuda_sum(&r->launch, count_of(r), r->dtype, a, r->dtype, b, true, r->dtype, y));
}

static int sum_relu_backward(tg_bench_run *r) {
  void *y = whole(r), *dy = whole(r), *da = whole(r), *db = whole(r);
  moves(r, 4);
  return LAUNCH(r, tg_cuda_sum_backward(&r->launch, count_of(r), r->dtype, y, dy, r->dtype, da,
                                        r->dtype, db));
}

static int add(tg_bench_run *r) {
  void *dst = whole(r), *src = whole(r);
  moves(r, 3);
  return LAUNCH(r, tg_cuda_add(&r->launch, r->dtype, count_of(r), dst, src));
}

static int scale(tg_bench_run *r) {
  void *x = whole(r);
  moves(r, 2);
  return LAUNCH(r, tg_cuda_scale(&r->launch, count_of(r), 1.0f, x));
}

/* From float32 to bf16, or back. */
static int convert(tg_bench_run *r) {
  tg_dtype other = r->dtype == TG_F32 ? TG_BF16 : TG_F32;
  void *from = whole(r), *to = take(r, 4.0 * (double)count_of(r));
  r->bytes = 6.0 * (double)count_of(r);
  return LAUNCH(r, tg_cuda_convert(&r->launch, count_of(r), r->dtype, from, other, to));
}

static int square_sum(tg_bench_run *r) {
  float *x = whole(r);
  double *parts = take(r, (TG_SUM_PARTS + 1) * sizeof *parts);
  moves(r, 1);
  return LAUNCH(r, tg_cuda_square_sum(&r->launch, count_of(r), x, parts + 1, parts));
}

/* ---- updates: rows x channels parameters ---- */

static int update_by(tg_bench_run *r, const char *rule, const char *optimizer, double vectors) {
  static const tg_hyper hyper = {.lr = 1e-6f,
                                 .lambda = 2,
                                 .mean_square_decay = 0.95f,
                                 .epsilon = 1e-7f,
                                 .momentum = 0.9f,
                                 .weight_decay = 1e-4f};
  tg_update_args a = {.rule = rule, .optimizer = optimizer, .hyper = &hyper, .count = count_of(r)};
  a.g = whole(r);
  a.w = whole(r);
  a.w_bak = a.bak_out = whole(r);
  a.state = whole(r);
  a.slot[0] = whole(r);
  a.sums = take(r, 3 * sizeof *a.sums);
  a.parts = take(r, 3 * TG_CUDA_UPDATE_PARTS * sizeof *a.parts);
  moves(r, vectors);
  return LAUNCH(r, tg_cuda_update(&r->launch, &a));
}

static int update_asgd(tg_bench_run *r) {
  return update_by(r, "asgd", "sgd", 5);
}
static int update_constant(tg_bench_run *r) {
  return update_by(r, "dc-asgd-c", "sgd", 5);
}
static int update_adaptive(tg_bench_run *r) {
  return update_by(r, "dc-asgd-a", "sgd", 7);
}
static int update_adaptive_momentum(tg_bench_run *r) {
  return update_by(r, "dc-asgd-a", "momentum", 9);
}

/* ---- data: rows images of channels x channels pixels ---- */

static int cut_images(tg_bench_run *r) {
  int side = (int)r->channels;
  double image = 3.0 * side * side;
  size_t count = r->rows < TG_CUDA_CUTS ? (size_t)r->rows : TG_CUDA_CUTS;
  tg_cut cut[TG_CUDA_CUTS];
  tg_images images = {.count = (uint32_t)count,
                      .channels = 3,
                      .height = side,
                      .width = side,
                      .pixels = take(r, image * (double)count),
                      .labels = r->labels,
                      .table = take(r, 3 * 256 * sizeof(float))};
  float *x = take(r, 4 * image * (double)count);
  int32_t *y = take(r, 4.0 * (double)count);
  for (size_t i = 0; i < count; i++)
    cut[i] = (tg_cut){(uint32_t)(i * 7 % count), (uint8_t)(i % 9), (uint8_t)(i / 9 % 9), i % 2, 0};
  r->bytes = 5 * image * (double)count;
  return LAUNCH(r, tg_cuda_cut_images(&r->launch, &images, cut, count, true, x, y));
}

/* ---- moves ---- */

/* rows points, channels of them into as many more. */
static int concat(tg_bench_run *r) {
  tg_cuda_box box = {.outer = r->rows,
                     .inner = 1,
                     .to_axis = 2 * r->channels,
                     .to_start = r->channels,
                     .count = r->channels,
                     .from_axis = r->channels,
                     .from_step = 1,
                     .spread = 1,
                     .used = r->channels};
  void *from = whole(r), *to = value(r, 2.0 * (double)count_of(r));
  moves(r, 2);
  return LAUNCH(r, tg_cuda_move(&r->launch, &box, r->dtype, from, r->dtype, to));
}

/* The first step of a shortcut without parameters: every other one of 32 points. rows lines. */
static int slice(tg_bench_run *r) {
  tg_cuda_box box = {.outer = r->rows,
                     .inner = r->channels,
                     .to_axis = 16,
                     .count = 16,
                     .from_axis = 32,
                     .from_step = 2,
                     .spread = 1,
                     .used = 16};
  void *from = value(r, 32.0 * (double)count_of(r)), *to = value(r, 16.0 * (double)count_of(r));
  moves(r, 32);
  return LAUNCH(r, tg_cuda_move(&r->launch, &box, r->dtype, from, r->dtype, to));
}

static tg_shape image_of(const tg_bench_run *r, int64_t side) {
  return (tg_shape){.nd = 4, .dim = {r->rows, r->channels, side, side}};
}

/* rows images of 224 x 224; float32 to the run's type. */
static int to_last(tg_bench_run *r) {
  tg_shape shape = image_of(r, 224);
  double n = 224.0 * 224.0 * (double)count_of(r);
  void *from = take(r, 4 * n), *to = value(r, n);
  r->bytes = 4 * n + typed(r, n);
  return LAUNCH(r, tg_cuda_value_to_last(&r->launch, &shape, from, r->dtype, to));
}

/* rows values of 56 x 56. */
static int from_last(tg_bench_run *r) {
  tg_shape shape = image_of(r, 56);
  double n = 56.0 * 56.0 * (double)count_of(r);
  void *from = value(r, n), *to = take(r, 4 * n);
  r->bytes = 4 * n + typed(r, n);
  return LAUNCH(r, tg_cuda_value_from_last(&r->launch, &shape, r->dtype, from, to));
}

/* Weights [rows, channels, 3, 3]. */
static int weights_to_last(tg_bench_run *r) {
  double n = 9.0 * (double)count_of(r);
  void *from = take(r, 4 * n), *to = value(r, n);
  r->bytes = 4 * n + typed(r, n);
  return LAUNCH(r,
                tg_cuda_weights_to_last(&r->launch, r->dtype, r->rows, r->channels, 9, from, to));
}

static int weights_from_last(tg_bench_run *r) {
  double n = 9.0 * (double)count_of(r);
  void *from = value(r, n), *to = take(r, 4 * n);
  r->bytes = 4 * n + typed(r, n);
  return LAUNCH(r,
                tg_cuda_weights_from_last(&r->launch, r->dtype, r->rows, r->channels, 9, from, to));
}

/* ---- the table ---- */

#define BOTH TG_BENCH_BOTH
#define F32  TG_BENCH_F32
const tg_bench_row tg_bench_vectors[] = {
    {"relu", "64x64x56x56", 64 * 56 * 56, 64, BOTH, relu},
    {"relu_backward", "64x64x56x56", 64 * 56 * 56, 64, BOTH, relu_backward},
    {"leaky_relu", "64x64x56x56", 64 * 56 * 56, 64, BOTH, leaky_relu},
    {"leaky_relu_backward", "64x64x56x56", 64 * 56 * 56, 64, BOTH, leaky_relu_backward},
    {"sigmoid", "64x64x56x56", 64 * 56 * 56, 64, BOTH, sigmoid},
    {"sigmoid_backward", "64x64x56x56", 64 * 56 * 56, 64, BOTH, sigmoid_backward},
    {"sum", "64x64x56x56, relu", 64 * 56 * 56, 64, BOTH, sum_relu},
    {"sum_backward", "64x64x56x56, relu", 64 * 56 * 56, 64, BOTH, sum_relu_backward},
    {"add", "64x64x56x56", 64 * 56 * 56, 64, BOTH, add},
    {"convert", "to bf16 or back, 64x64x56x56", 64 * 56 * 56, 64, BOTH, convert},
    {"scale", "25.6M", 100000, 256, F32, scale},
    {"square_sum", "25.6M", 100000, 256, F32, square_sum},
    {"update asgd, sgd", "25.6M", 100000, 256, F32, update_asgd},
    {"update dc-asgd-c, sgd", "25.6M", 100000, 256, F32, update_constant},
    {"update dc-asgd-a, sgd", "25.6M", 100000, 256, F32, update_adaptive},
    {"update dc-asgd-a, momentum", "25.6M", 100000, 256, F32, update_adaptive_momentum},
    {"move", "64x64x56x56 into 128 channels", 64 * 56 * 56, 64, BOTH, concat},
    {"move", "1024x16x32x32, every other column", 1024 * 32, 16, BOTH, slice},
    {"value_to_last", "64x3x224x224", 64, 3, BOTH, to_last},
    {"value_from_last", "64x64x56x56", 64, 64, BOTH, from_last},
    {"weights_to_last", "512x512x3x3", 512, 512, BOTH, weights_to_last},
    {"weights_from_last", "512x512x3x3", 512, 512, BOTH, weights_from_last},
    {"cut_images", "256x3x32x32", 256, 32, F32, cut_images},
    {"cut_images", "64x3x224x224", 64, 224, F32, cut_images},
    {NULL, NULL, 0, 0, 0, NULL}};
