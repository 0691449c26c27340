/* cuda_rows_layers.c - batch norm, biases, losses, pooling, for bench_cuda_kernels.c. Bytes are
 * those that the head of each .cu file counts: what a kernel moves if nothing stays in a cache from
 * one of its passes to the next. */
#include "cuda_rows.h"

#include "kernels/dense.h"

/* ---- batch norm: rows x channels ---- */

static tg_cuda_batch_norm norm_of(tg_bench_run *r) {
  double channels = 4.0 * (double)r->channels;
  tg_cuda_batch_norm a = {.rows = r->rows,
                          .channels = r->channels,
                          .x_type = r->dtype,
                          .y_type = r->dtype,
                          .relu = true,
                          .epsilon = 1e-5f,
                          .x = whole(r),
                          .gamma = take(r, channels),
                          .beta = take(r, channels),
                          .params = take(r, (double)tg_cuda_batch_norm_params(r->channels)),
                          .batch_stat = {take(r, channels), take(r, channels)},
                          .dgamma = take(r, channels),
                          .dbeta = take(r, channels)};
  a.scratch = take(r, (double)tg_cuda_batch_norm_scratch(&r->launch, r->rows, r->channels));
  return a;
}

static int norm_forward(tg_bench_run *r) {
  tg_cuda_batch_norm a = norm_of(r);
  a.y = whole(r);
  moves(r, 3);
  return LAUNCH(r, tg_cuda_batch_norm_forward(&r->launch, &a));
}

static int norm_add_forward(tg_bench_run *r) {
  tg_cuda_batch_norm a = norm_of(r);
  a.y = whole(r);
  a.addend = whole(r);
  moves(r, 4);
  return LAUNCH(r, tg_cuda_batch_norm_forward(&r->launch, &a));
}

static int norm_evaluation(tg_bench_run *r) {
  tg_cuda_batch_norm a = norm_of(r);
  a.y = whole(r);
  a.running[0] = a.dgamma;
  a.running[1] = a.dbeta;
  moves(r, 2);
  return LAUNCH(r, tg_cuda_batch_norm_forward(&r->launch, &a));
}

static int norm_backward(tg_bench_run *r) {
  tg_cuda_batch_norm a = norm_of(r);
  a.dy = whole(r);
  a.dx = whole(r);
  moves(r, 5);
  return LAUNCH(r, tg_cuda_batch_norm_backward(&r->launch, &a));
}

static int norm_add_backward(tg_bench_run *r) {
  tg_cuda_batch_norm a = norm_of(r);
  a.dy = whole(r);
  a.dx = whole(r);
  a.y_was = whole(r);
  a.d_addend = whole(r);
  moves(r, 7);
  return LAUNCH(r, tg_cuda_batch_norm_backward(&r->launch, &a));
}

/* ---- biases: rows x channels ---- */

static int bias_relu(tg_bench_run *r) {
  void *y = whole(r);
  float *bias = take(r, 4.0 * (double)r->channels);
  moves(r, 2);
  return LAUNCH(r, tg_cuda_bias(&r->launch, r->dtype, r->rows, r->channels, bias, true, y));
}

static int bias_backward(tg_bench_run *r) {
  void *dy = whole(r), *y = whole(r), *masked = whole(r);
  float *dbias = take(r, 4.0 * (double)r->channels);
  void *scratch = take(r, (double)tg_cuda_bias_bytes(r->rows, r->channels));
  moves(r, 3);
  return LAUNCH(r, tg_cuda_bias_backward(&r->launch, r->dtype, r->rows, r->channels, dy, y, masked,
                                         dbias, scratch));
}

static int dense_bias(tg_bench_run *r) {
  float *sums = take(r, 4.0 * (double)count_of(r)), *bias = take(r, 4.0 * (double)r->channels);
  void *y = whole(r);
  r->bytes = 6.0 * (double)count_of(r);
  return LAUNCH(r, tg_cuda_bias_to_bf16(&r->launch, r->rows, r->channels, sums, bias, true, y));
}

/* ---- losses: rows samples of channels classes; rows x channels elements ---- */

static tg_cuda_cross_entropy entropy_of(tg_bench_run *r) {
  tg_cuda_cross_entropy a = {.dtype = r->dtype,
                             .batch = r->rows,
                             .classes = r->channels,
                             .x = whole(r),
                             .label = r->labels,
                             .row = take(r, (double)sizeof(tg_cuda_loss_row) * (double)r->rows),
                             .result = take(r, sizeof(tg_loss_result)),
                             .y = take(r, sizeof(float)),
                             .weight = 1};
  return a;
}

static int entropy_forward(tg_bench_run *r) {
  tg_cuda_cross_entropy a = entropy_of(r);
  r->bytes =
      typed(r, (double)count_of(r)) + 52.0 * (double)r->rows; /* rows: written, read; labels */
  return LAUNCH(r, tg_cuda_cross_entropy_forward(&r->launch, &a));
}

static int entropy_backward(tg_bench_run *r) {
  tg_cuda_cross_entropy a = entropy_of(r);
  a.dx = whole(r);
  r->bytes = typed(r, 2.0 * (double)count_of(r)) + 28.0 * (double)r->rows;
  return LAUNCH(r, tg_cuda_cross_entropy_backward(&r->launch, &a));
}

static tg_cuda_squared_error error_of(tg_bench_run *r) {
  tg_cuda_squared_error a = {.x_dtype = r->dtype,
                             .target_dtype = TG_F32,
                             .count = count_of(r),
                             .x = whole(r),
                             .target = take(r, 4.0 * (double)count_of(r)),
                             .part = take(r, TG_CUDA_LOSS_PARTS * sizeof(double)),
                             .result = take(r, sizeof(tg_loss_result)),
                             .y = take(r, sizeof(float)),
                             .weight = 1};
  return a;
}

static int error_forward(tg_bench_run *r) {
  tg_cuda_squared_error a = error_of(r);
  r->bytes = typed(r, (double)count_of(r)) + 4.0 * (double)count_of(r);
  return LAUNCH(r, tg_cuda_squared_error_forward(&r->launch, &a));
}

static int error_backward(tg_bench_run *r) {
  tg_cuda_squared_error a = error_of(r);
  a.dx = whole(r);
  r->bytes = typed(r, 2.0 * (double)count_of(r)) + 4.0 * (double)count_of(r);
  return LAUNCH(r, tg_cuda_squared_error_backward(&r->launch, &a));
}

/* ---- pooling: rows images, channels; sides written below ---- */

static tg_cuda_window window_of(const tg_bench_run *r, int side, int kernel, int pad) {
  int out = (side + 2 * pad - kernel) / 2 + 1;
  return (tg_cuda_window){.batch = r->rows,
                          .channels = r->channels,
                          .in = {1, side, side},
                          .out = {1, out, out},
                          .kernel = {1, kernel, kernel},
                          .stride = {1, 2, 2},
                          .pad = {0, pad, pad}};
}

static double points(const tg_bench_run *r, const int (*space)[3]) {
  return (double)count_of(r) * (*space)[1] * (*space)[2];
}

static int max_forward(tg_bench_run *r) {
  tg_cuda_window w = window_of(r, 112, 3, 1);
  double x = points(r, &w.in), y = points(r, &w.out);
  void *from = value(r, x), *to = value(r, y), *places = take(r, y);
  r->bytes = typed(r, x + y) + y;
  return LAUNCH(r, tg_cuda_pool_max_forward(&r->launch, &w, r->dtype, from, r->dtype, to, places));
}

static int max_backward(tg_bench_run *r) {
  tg_cuda_window w = window_of(r, 112, 3, 1);
  double x = points(r, &w.in), y = points(r, &w.out);
  void *dx = value(r, x), *dy = value(r, y), *places = take(r, y);
  r->bytes = typed(r, x + y) + y;
  return LAUNCH(r, tg_cuda_pool_max_backward(&r->launch, &w, r->dtype, dy, places, r->dtype, dx));
}

static int average_forward(tg_bench_run *r) {
  tg_cuda_window w = window_of(r, 56, 2, 0);
  double x = points(r, &w.in), y = points(r, &w.out);
  void *from = value(r, x), *to = value(r, y);
  r->bytes = typed(r, x + y);
  return LAUNCH(r, tg_cuda_pool_average_forward(&r->launch, &w, r->dtype, from, r->dtype, to));
}

static int average_backward(tg_bench_run *r) {
  tg_cuda_window w = window_of(r, 56, 2, 0);
  double x = points(r, &w.in), y = points(r, &w.out);
  void *dx = value(r, x), *dy = value(r, y);
  r->bytes = typed(r, x + y);
  return LAUNCH(r, tg_cuda_pool_average_backward(&r->launch, &w, r->dtype, dy, r->dtype, dx));
}

static int global_forward(tg_bench_run *r) {
  void *x = value(r, 49.0 * (double)count_of(r)), *y = whole(r);
  moves(r, 50);
  return LAUNCH(r, tg_cuda_pool_global_forward(&r->launch, r->rows, 49, r->channels, r->dtype, x,
                                               r->dtype, y));
}

static int global_backward(tg_bench_run *r) {
  void *dx = value(r, 49.0 * (double)count_of(r)), *dy = whole(r);
  moves(r, 50);
  return LAUNCH(r, tg_cuda_pool_global_backward(&r->launch, r->rows, 49, r->channels, r->dtype, dy,
                                                r->dtype, dx));
}

/* ---- the table ---- */

#define BOTH TG_BENCH_BOTH
const tg_bench_row tg_bench_layers[] = {
    {"batch_norm forward", "1024x16x32x32, relu", 1 << 20, 16, BOTH, norm_forward},
    {"batch_norm forward", "64x256x56x56, relu", 64 * 56 * 56, 256, BOTH, norm_forward},
    {"batch_norm forward", "64x2048x7x7, relu", 64 * 7 * 7, 2048, BOTH, norm_forward},
    {"batch_norm forward", "64x256x56x56, add, relu", 64 * 56 * 56, 256, BOTH, norm_add_forward},
    {"batch_norm evaluation", "64x256x56x56, relu", 64 * 56 * 56, 256, BOTH, norm_evaluation},
    {"batch_norm backward", "1024x16x32x32, relu", 1 << 20, 16, BOTH, norm_backward},
    {"batch_norm backward", "64x256x56x56, relu", 64 * 56 * 56, 256, BOTH, norm_backward},
    {"batch_norm backward", "64x2048x7x7, relu", 64 * 7 * 7, 2048, BOTH, norm_backward},
    {"batch_norm backward", "64x256x56x56, add, relu", 64 * 56 * 56, 256, BOTH, norm_add_backward},
    {"bias", "64x64x56x56, relu", 64 * 56 * 56, 64, BOTH, bias_relu},
    {"bias_backward", "64x64x56x56, relu", 64 * 56 * 56, 64, BOTH, bias_backward},
    {"bias_to_bf16", "4096x4096, relu", 4096, 4096, TG_BENCH_BF16, dense_bias},
    {"cross_entropy forward", "1024x1000", 1024, 1000, BOTH, entropy_forward},
    {"cross_entropy backward", "1024x1000", 1024, 1000, BOTH, entropy_backward},
    {"squared_error forward", "1024x12288", 1024, 12288, BOTH, error_forward},
    {"squared_error backward", "1024x12288", 1024, 12288, BOTH, error_backward},
    {"pool_max forward", "64x64x112x112, 3x3/2", 64, 64, BOTH, max_forward},
    {"pool_max backward", "64x64x112x112, 3x3/2", 64, 64, BOTH, max_backward},
    {"pool_average forward", "64x64x56x56, 2x2/2", 64, 64, BOTH, average_forward},
    {"pool_average backward", "64x64x56x56, 2x2/2", 64, 64, BOTH, average_backward},
    {"pool_global forward", "64x2048x7x7", 64, 2048, BOTH, global_forward},
    {"pool_global backward", "64x2048x7x7", 64, 2048, BOTH, global_backward},
    {NULL, NULL, 0, 0, 0, NULL}};
