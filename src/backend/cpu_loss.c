/* cpu_loss.c - losses. Sums are double and go over rows, or over pieces of a fixed size, in order:
 * they do not depend on the number of threads. */
#include <math.h>
#include <stdlib.h>

#include "backend/cpu_flat.h"
#include "tardigrad/ops.h"

typedef struct loss {
  tg_cpu_flat in[2];
  size_t pieces_at; /* squared error: partial sums in scratch */
} loss;

/* Cross-entropy's memory of one sample: softmax = exp(x - max) * inverse. */
typedef struct row {
  double loss;
  float max, inverse;
} row;

enum { PIECE = 4096, ELEMENTS_WORTH_THREADS = 1 << 14 };

static tg_status create(tg_exec *e, int operands) {
  loss *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  tg_cpu_place_plain(e->y);
  for (int i = 0; i < operands; i++) {
    TG_TRY(tg_cpu_flat_create(&k->in[i], e, e->x[i]));
    e->keep_x[i] = true;
  }
  return TG_OK;
}

static void destroy(tg_exec *e) {
  loss *k = e->state;
  if (!k) return;
  for (int i = 0; i < 2; i++) tg_cpu_flat_destroy(&k->in[i]);
  free(k);
  e->state = NULL;
}

static void report(const tg_exec *e, tg_loss_result result) {
  tg_loss_result *out = tg_cpu_host(e->device, e->result);
  float *y = tg_cpu_host(e->device, e->y->data);
  *out = result;
  *y = result.counted ? (float)(result.sum / (double)result.counted) : 0;
}

/* What the gradient of the sum is multiplied by: weight / counted. */
static float scale_of(const tg_exec *e) {
  const tg_loss_attr *a = e->node->attr;
  const tg_loss_result *result = tg_cpu_host(e->device, e->result);
  return result->counted ? (float)((double)a->weight / (double)result->counted) : 0;
}

/* ---- softmax cross-entropy ---- */

static tg_status cross_entropy_prepare(tg_exec *e) {
  TG_TRY(create(e, 1));
  e->keep_x[1] = true;
  e->workspace_bytes = (size_t)e->x[0]->shape.dim[0] * sizeof(row);
  return TG_OK;
}

static tg_status check_labels(const tg_exec *e, const int32_t *label) {
  int64_t classes = e->x[0]->shape.dim[1];
  for (int64_t b = 0; b < e->x[0]->shape.dim[0]; b++)
    if (label[b] >= classes)
      TG_FAIL(TG_EDATA, "%s: sample %lld has label %d, but there are %lld classes", e->node->name,
              (long long)b, (int)label[b], (long long)classes);
  return TG_OK;
}

static row row_of(const float *x, int64_t classes, int32_t label) {
  row r = {.max = x[0]};
  for (int64_t c = 1; c < classes; c++) r.max = x[c] > r.max ? x[c] : r.max;
  double sum = 0;
  for (int64_t c = 0; c < classes; c++) sum += (double)expf(x[c] - r.max);
  r.inverse = (float)(1 / sum);
  if (label >= 0) r.loss = log(sum) + (double)r.max - (double)x[label];
  return r;
}

/* The first of the largest logits decides. */
static bool is_correct(const float *x, int64_t classes, int32_t label) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; c++)
    if (x[c] > x[best]) best = c;
  return best == label;
}

static tg_status cross_entropy_forward(tg_exec *e) {
  loss *k = e->state;
  int64_t batch = e->x[0]->shape.dim[0], classes = e->x[0]->shape.dim[1];
  const float *x = NULL;
  const int32_t *label = tg_cpu_host(e->device, e->x[1]->data);
  row *rows = tg_cpu_host(e->device, e->workspace);
  TG_TRY(check_labels(e, label));
  TG_TRY(tg_cpu_flat_read(&k->in[0], e, e->x[0]->data, &x));
#pragma omp parallel for schedule(static) if (batch * classes >= ELEMENTS_WORTH_THREADS)
  for (int64_t b = 0; b < batch; b++) rows[b] = row_of(x + b * classes, classes, label[b]);
  tg_loss_result result = {0};
  for (int64_t b = 0; b < batch; b++) {
    if (label[b] < 0) continue;
    result.sum += rows[b].loss;
    result.counted++;
    result.correct += is_correct(x + b * classes, classes, label[b]);
  }
  report(e, result);
  return TG_OK;
}

/* (softmax - one-hot) * scale; 0 for ignored samples. */
static void row_gradient(const row *r, const float *x, int64_t classes, int32_t label, float scale,
                         float *dx) {
  for (int64_t c = 0; c < classes; c++) {
    float p = expf(x[c] - r->max) * r->inverse;
    dx[c] = label < 0 ? 0 : (p - (float)(c == label)) * scale;
  }
}

static tg_status cross_entropy_backward(tg_exec *e) {
  loss *k = e->state;
  if (!e->dx[0]) return TG_OK;
  int64_t batch = e->x[0]->shape.dim[0], classes = e->x[0]->shape.dim[1];
  const float *x = NULL;
  const int32_t *label = tg_cpu_host(e->device, e->x[1]->data);
  const row *rows = tg_cpu_host(e->device, e->workspace);
  float scale = scale_of(e);
  TG_TRY(tg_cpu_flat_read(&k->in[0], e, e->x[0]->data, &x));
  float *dx = tg_cpu_flat_target(&k->in[0], e, e->dx[0]);
#pragma omp parallel for schedule(static) if (batch * classes >= ELEMENTS_WORTH_THREADS)
  for (int64_t b = 0; b < batch; b++)
    row_gradient(&rows[b], x + b * classes, classes, label[b], scale, dx + b * classes);
  return tg_cpu_flat_write(&k->in[0], e, e->dx[0]);
}

const tg_kernel tg_cpu_kernel_softmax_cross_entropy = {.prepare = cross_entropy_prepare,
                                                       .forward = cross_entropy_forward,
                                                       .backward = cross_entropy_backward,
                                                       .destroy = destroy};

/* ---- mean squared error ---- */

static size_t pieces(const tg_exec *e) {
  return (tg_shape_count(&e->x[0]->shape) + PIECE - 1) / PIECE;
}

static tg_status squared_error_prepare(tg_exec *e) {
  TG_TRY(create(e, 2));
  loss *k = e->state;
  k->pieces_at = (e->scratch_bytes + 63) & ~(size_t)63;
  tg_cpu_need_scratch(e, k->pieces_at + pieces(e) * sizeof(double));
  return TG_OK;
}

static double piece_sum(const float *x, const float *t, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    double d = (double)x[i] - (double)t[i];
    sum += d * d;
  }
  return sum;
}

static tg_status squared_error_forward(tg_exec *e) {
  loss *k = e->state;
  size_t n = tg_shape_count(&e->x[0]->shape), parts = pieces(e);
  const float *x = NULL, *t = NULL;
  TG_TRY(tg_cpu_flat_read(&k->in[0], e, e->x[0]->data, &x));
  TG_TRY(tg_cpu_flat_read(&k->in[1], e, e->x[1]->data, &t));
  double *sum = tg_cpu_host(e->device, (char *)e->scratch + k->pieces_at);
#pragma omp parallel for schedule(static) if (n >= ELEMENTS_WORTH_THREADS)
  for (size_t i = 0; i < parts; i++) {
    size_t lo = i * PIECE, count = n - lo < PIECE ? n - lo : PIECE;
    sum[i] = piece_sum(x + lo, t + lo, count);
  }
  tg_loss_result result = {.counted = n};
  for (size_t i = 0; i < parts; i++) result.sum += sum[i];
  report(e, result);
  return TG_OK;
}

static tg_status squared_error_backward(tg_exec *e) {
  loss *k = e->state;
  size_t n = tg_shape_count(&e->x[0]->shape);
  const float *x = NULL, *t = NULL;
  TG_TRY(tg_cpu_flat_read(&k->in[0], e, e->x[0]->data, &x));
  TG_TRY(tg_cpu_flat_read(&k->in[1], e, e->x[1]->data, &t));
  float scale = 2 * scale_of(e);
  float *dx = e->dx[0] ? tg_cpu_flat_target(&k->in[0], e, e->dx[0]) : NULL;
  float *dt = e->dx[1] ? tg_cpu_flat_target(&k->in[1], e, e->dx[1]) : NULL;
  /* dx may lie over x, and dt over t: each element is read before it is written. */
#pragma omp parallel for schedule(static) if (n >= ELEMENTS_WORTH_THREADS)
  for (size_t i = 0; i < n; i++) {
    float d = (x[i] - t[i]) * scale;
    if (dx) dx[i] = d;
    if (dt) dt[i] = -d;
  }
  if (dx) TG_TRY(tg_cpu_flat_write(&k->in[0], e, e->dx[0]));
  return dt ? tg_cpu_flat_write(&k->in[1], e, e->dx[1]) : TG_OK;
}

const tg_kernel tg_cpu_kernel_mean_squared_error = {.prepare = squared_error_prepare,
                                                    .forward = squared_error_forward,
                                                    .backward = squared_error_backward,
                                                    .destroy = destroy};
