/* ref_moves.c - elementwise ops, moves of elements, losses. */
#include "ref_ops.h"

#include <math.h>
#include <string.h>

/* ---- elementwise ---- */

static void leaky_relu_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++)
    c->y.v[i] = c->x[0].v[i] > 0 ? c->x[0].v[i] : c->slope * c->x[0].v[i];
}

static void leaky_relu_backward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++)
    c->dx[0].v[i] = c->x[0].v[i] > 0 ? c->dy.v[i] : c->slope * c->dy.v[i];
}

static void relu_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->y.v[i] = c->x[0].v[i] > 0 ? c->x[0].v[i] : 0;
}

static void relu_backward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->dx[0].v[i] = c->x[0].v[i] > 0 ? c->dy.v[i] : 0;
}

static void sigmoid_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->y.v[i] = 1 / (1 + exp(-c->x[0].v[i]));
}

static void sigmoid_backward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) {
    double s = 1 / (1 + exp(-c->x[0].v[i]));
    c->dx[0].v[i] = c->dy.v[i] * s * (1 - s);
  }
}

static void add_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->y.v[i] = c->x[0].v[i] + c->x[1].v[i];
}

static void add_backward(ref_call *c) {
  for (int j = 0; j < 2; j++)
    for (size_t i = 0; i < ref_count(&c->y); i++) c->dx[j].v[i] = c->dy.v[i];
}

const ref_op ref_relu = {relu_forward, relu_backward};
const ref_op ref_leaky_relu = {leaky_relu_forward, leaky_relu_backward};
const ref_op ref_sigmoid = {sigmoid_forward, sigmoid_backward};
const ref_op ref_add = {add_forward, add_backward};

/* ---- skip: channel t of x[1] at every stride-th point, to channel t mod K ---- */

/* Calls visit for every pair of elements, of y and of x[1], that meet. */
static void visit_pairs(ref_call *c, void (*visit)(ref_call *c, size_t y, size_t z)) {
  const ref_tensor *y = &c->y, *z = &c->x[1];
  for (size_t i = 0; i < ref_count(y); i++) {
    int64_t index[REF_DIMS] = {0};
    size_t left = i;
    for (int d = y->nd - 1; d >= 0; d--) {
      index[d] = (int64_t)left % y->dim[d];
      left /= (size_t)y->dim[d];
    }
    for (int64_t t = index[1]; t < z->dim[1]; t += y->dim[1]) {
      size_t at = (size_t)index[0] * (size_t)z->dim[1] + (size_t)t;
      for (int d = 2; d < z->nd; d++)
        at = at * (size_t)z->dim[d] + (size_t)(index[d] * c->stride[0]);
      visit(c, i, at);
    }
  }
}

static void skip_add(ref_call *c, size_t y, size_t z) {
  c->y.v[y] += c->factor * c->x[1].v[z];
}

static void skip_gradient(ref_call *c, size_t y, size_t z) {
  c->dx[1].v[z] += c->factor * c->dy.v[y];
}

static void skip_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->y.v[i] = c->x[0].v[i];
  visit_pairs(c, skip_add);
}

static void skip_backward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++) c->dx[0].v[i] = c->dy.v[i];
  ref_clear(&c->dx[1]);
  visit_pairs(c, skip_gradient);
}

const ref_op ref_skip = {skip_forward, skip_backward};

/* ---- moves: element i of `inner` is the element of `outer` whose index along the axis is
 * start + step * that of i ---- */

static size_t moved(const ref_tensor *inner, const ref_tensor *outer, int axis, int64_t start,
                    int64_t step, size_t i) {
  int64_t index[REF_DIMS] = {0};
  for (int d = inner->nd - 1; d >= 0; d--) {
    index[d] = (int64_t)i % inner->dim[d];
    i /= (size_t)inner->dim[d];
  }
  index[axis] = start + step * index[axis];
  size_t at = 0;
  for (int d = 0; d < outer->nd; d++) at = at * (size_t)outer->dim[d] + (size_t)index[d];
  return at;
}

static void slice_forward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->y); i++)
    c->y.v[i] = c->x[0].v[moved(&c->y, &c->x[0], c->axis, c->start, c->step, i)];
}

static void slice_backward(ref_call *c) {
  ref_clear(&c->dx[0]);
  for (size_t i = 0; i < ref_count(&c->y); i++)
    c->dx[0].v[moved(&c->y, &c->x[0], c->axis, c->start, c->step, i)] = c->dy.v[i];
}

static void pad_forward(ref_call *c) {
  ref_clear(&c->y);
  for (size_t i = 0; i < ref_count(&c->x[0]); i++)
    c->y.v[moved(&c->x[0], &c->y, c->axis, c->before, 1, i)] = c->x[0].v[i];
}

static void pad_backward(ref_call *c) {
  for (size_t i = 0; i < ref_count(&c->x[0]); i++)
    c->dx[0].v[i] = c->dy.v[moved(&c->x[0], &c->y, c->axis, c->before, 1, i)];
}

static void concat_forward(ref_call *c) {
  int64_t at = 0;
  for (int j = 0; j < c->x_count; at += c->x[j++].dim[c->axis])
    for (size_t i = 0; i < ref_count(&c->x[j]); i++)
      c->y.v[moved(&c->x[j], &c->y, c->axis, at, 1, i)] = c->x[j].v[i];
}

static void concat_backward(ref_call *c) {
  int64_t at = 0;
  for (int j = 0; j < c->x_count; at += c->x[j++].dim[c->axis])
    for (size_t i = 0; i < ref_count(&c->x[j]); i++)
      c->dx[j].v[i] = c->dy.v[moved(&c->x[j], &c->y, c->axis, at, 1, i)];
}

static void flatten_forward(ref_call *c) {
  memcpy(c->y.v, c->x[0].v, ref_count(&c->y) * sizeof *c->y.v);
}

static void flatten_backward(ref_call *c) {
  memcpy(c->dx[0].v, c->dy.v, ref_count(&c->y) * sizeof *c->y.v);
}

const ref_op ref_slice = {slice_forward, slice_backward};
const ref_op ref_pad = {pad_forward, pad_backward};
const ref_op ref_concat = {concat_forward, concat_backward};
const ref_op ref_flatten = {flatten_forward, flatten_backward};

/* ---- losses: y is the mean; backward starts here ---- */

static double softmax(const ref_call *c, int64_t b, int64_t k) {
  int64_t K = c->x[0].dim[1];
  const double *x = c->x[0].v + b * K;
  double largest = x[0], sum = 0;
  for (int64_t j = 1; j < K; j++) largest = fmax(largest, x[j]);
  for (int64_t j = 0; j < K; j++) sum += exp(x[j] - largest);
  return exp(x[k] - largest) / sum;
}

static void cross_entropy_forward(ref_call *c) {
  int64_t B = c->x[0].dim[0], K = c->x[0].dim[1];
  c->loss = 0;
  c->counted = c->correct = 0;
  for (int64_t b = 0; b < B; b++) {
    if (c->label[b] < 0) continue;
    const double *x = c->x[0].v + b * K;
    int64_t best = 0;
    for (int64_t k = 1; k < K; k++)
      if (x[k] > x[best]) best = k;
    c->correct += best == c->label[b];
    c->counted++;
    /* The logarithm of the ratio, without the ratio: it may be 0. */
    double sum = 0;
    for (int64_t k = 0; k < K; k++) sum += exp(x[k] - x[best]);
    c->loss += log(sum) + x[best] - x[c->label[b]];
  }
  c->y.v[0] = c->counted ? c->loss / (double)c->counted : 0;
}

static void cross_entropy_backward(ref_call *c) {
  int64_t B = c->x[0].dim[0], K = c->x[0].dim[1];
  ref_clear(&c->dx[0]);
  for (int64_t b = 0; b < B; b++)
    for (int64_t k = 0; k < K && c->label[b] >= 0; k++)
      c->dx[0].v[b * K + k] =
          c->weight * (softmax(c, b, k) - (k == c->label[b])) / (double)c->counted;
}

static void squared_error_forward(ref_call *c) {
  c->loss = 0;
  c->counted = (int64_t)ref_count(&c->x[0]);
  for (int64_t i = 0; i < c->counted; i++) {
    double d = c->x[0].v[i] - c->x[1].v[i];
    c->loss += d * d;
  }
  c->y.v[0] = c->loss / (double)c->counted;
}

static void squared_error_backward(ref_call *c) {
  for (int64_t i = 0; i < c->counted; i++) {
    double d = 2 * c->weight * (c->x[0].v[i] - c->x[1].v[i]) / (double)c->counted;
    if (c->dx[0].v) c->dx[0].v[i] = d;
    if (c->dx[1].v) c->dx[1].v[i] = -d;
  }
}

const ref_op ref_cross_entropy = {cross_entropy_forward, cross_entropy_backward};
const ref_op ref_squared_error = {squared_error_forward, squared_error_backward};
