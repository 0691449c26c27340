#include "ref_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ref_tensor ref_alloc(int nd, const int64_t *dim) {
  ref_tensor t = {.nd = nd};
  for (int i = 0; i < nd; i++) t.dim[i] = dim[i];
  t.v = calloc(ref_count(&t), sizeof *t.v);
  return t;
}

void ref_free(ref_tensor *t) {
  free(t->v);
  t->v = NULL;
}

size_t ref_count(const ref_tensor *t) {
  size_t n = 1;
  for (int i = 0; i < t->nd; i++) n *= (size_t)t->dim[i];
  return n;
}

void ref_clear(ref_tensor *t) {
  if (t->v) memset(t->v, 0, ref_count(t) * sizeof *t->v);
}

/* ---- dense ---- */

static void dense_forward(ref_call *c) {
  int64_t B = c->x[0].dim[0], F = c->x[0].dim[1], K = c->w[0].dim[0];
  for (int64_t b = 0; b < B; b++)
    for (int64_t k = 0; k < K; k++) {
      double sum = c->w[1].v ? c->w[1].v[k] : 0;
      for (int64_t f = 0; f < F; f++) sum += c->x[0].v[b * F + f] * c->w[0].v[k * F + f];
      c->y.v[b * K + k] = sum;
    }
}

static void dense_backward(ref_call *c) {
  int64_t B = c->x[0].dim[0], F = c->x[0].dim[1], K = c->w[0].dim[0];
  ref_clear(&c->dx[0]);
  ref_clear(&c->dw[0]);
  ref_clear(&c->dw[1]);
  for (int64_t b = 0; b < B; b++)
    for (int64_t k = 0; k < K; k++) {
      double dy = c->dy.v[b * K + k];
      if (c->dw[1].v) c->dw[1].v[k] += dy;
      for (int64_t f = 0; f < F; f++) {
        if (c->dx[0].v) c->dx[0].v[b * F + f] += dy * c->w[0].v[k * F + f];
        c->dw[0].v[k * F + f] += dy * c->x[0].v[b * F + f];
      }
    }
}

const ref_op ref_dense = {dense_forward, dense_backward};

/* ---- windows: convolution and pooling over D, H, W, where missing dimensions come first and are 1
 * ---- */

typedef struct window {
  int64_t in[3], out[3], kernel[3], stride[3], pad[3];
} window;

static void space_of(const ref_tensor *t, int64_t space[3]) {
  for (int i = 0; i < 3; i++) space[i] = 1;
  for (int i = 2; i < t->nd; i++) space[3 - t->nd + i] = t->dim[i];
}

static window window_of(const ref_call *c, const ref_tensor *in, const ref_tensor *out) {
  window w;
  space_of(in, w.in);
  space_of(out, w.out);
  int missing = 5 - in->nd;
  for (int i = 0; i < 3; i++) {
    bool there = i >= missing;
    w.kernel[i] = there ? c->kernel[i - missing] : 1;
    w.stride[i] = there ? c->stride[i - missing] : 1;
    w.pad[i] = there ? c->pad[i - missing] : 0;
  }
  return w;
}

static int64_t points(const int64_t space[3]) {
  return space[0] * space[1] * space[2];
}

/* Number i as coordinates. */
static void split(int64_t i, const int64_t space[3], int64_t at[3]) {
  at[2] = i % space[2];
  at[1] = i / space[2] % space[1];
  at[0] = i / space[2] / space[1];
}

/* The input point under kernel point k of output point o, or -1 in the padding. */
static int64_t under(const window *w, int64_t o, int64_t k) {
  int64_t out[3], kernel[3], in[3];
  split(o, w->out, out);
  split(k, w->kernel, kernel);
  for (int i = 0; i < 3; i++) {
    in[i] = out[i] * w->stride[i] - w->pad[i] + kernel[i];
    if (in[i] < 0 || in[i] >= w->in[i]) return -1;
  }
  return (in[0] * w->in[1] + in[1]) * w->in[2] + in[2];
}

/* Calls visit for every product x * w that is part of y: indices into the flat arrays. A transposed
 * convolution is the convolution read from y to x. */
typedef void visit_fn(ref_call *c, int64_t x, int64_t w, int64_t y);

static void visit_products(ref_call *c, visit_fn *visit) {
  const ref_tensor *small = c->transposed ? &c->x[0] : &c->y;
  const ref_tensor *large = c->transposed ? &c->y : &c->x[0];
  window w = window_of(c, large, small);
  int64_t B = small->dim[0], S = small->dim[1], L = large->dim[1];
  int64_t outs = points(w.out), ins = points(w.in), taps = points(w.kernel);
  for (int64_t o = 0; o < outs; o++)
    for (int64_t k = 0; k < taps; k++) {
      int64_t i = under(&w, o, k);
      if (i < 0) continue;
      for (int64_t b = 0; b < B; b++)
        for (int64_t s = 0; s < S; s++)
          for (int64_t l = 0; l < L; l++) {
            int64_t at_small = (b * S + s) * outs + o, at_large = (b * L + l) * ins + i;
            int64_t at_w = (s * L + l) * taps + k;
            visit(c, c->transposed ? at_small : at_large, at_w,
                  c->transposed ? at_large : at_small);
          }
    }
}

/* Hollow: entry w is the centre tap from input t to output t mod outputs, and does not count. */
static bool left_out(const ref_call *c, int64_t w) {
  const ref_tensor *t = &c->w[0];
  int64_t space[3], at[3];
  if (!c->hollow) return false;
  space_of(t, space);
  split(w % points(space), space, at);
  for (int i = 0; i < 3; i++)
    if (at[i] != space[i] / 2) return false;
  int64_t in = w / points(space) % t->dim[1], out = w / points(space) / t->dim[1];
  return in % t->dim[0] == out;
}

static void add_product(ref_call *c, int64_t x, int64_t w, int64_t y) {
  if (left_out(c, w)) return;
  c->y.v[y] += c->x[0].v[x] * c->w[0].v[w];
}

static void add_gradients(ref_call *c, int64_t x, int64_t w, int64_t y) {
  if (left_out(c, w)) return;
  if (c->dx[0].v) c->dx[0].v[x] += c->dy.v[y] * c->w[0].v[w];
  c->dw[0].v[w] += c->dy.v[y] * c->x[0].v[x];
}

static int64_t channel_of(const ref_tensor *t, size_t i) {
  int64_t space[3];
  space_of(t, space);
  return (int64_t)i / points(space) % t->dim[1];
}

static void conv_forward(ref_call *c) {
  size_t n = ref_count(&c->y);
  for (size_t i = 0; i < n; i++) c->y.v[i] = c->w[1].v ? c->w[1].v[channel_of(&c->y, i)] : 0;
  visit_products(c, add_product);
}

static void conv_backward(ref_call *c) {
  size_t n = ref_count(&c->y);
  ref_clear(&c->dx[0]);
  ref_clear(&c->dw[0]);
  ref_clear(&c->dw[1]);
  visit_products(c, add_gradients);
  for (size_t i = 0; c->dw[1].v && i < n; i++) c->dw[1].v[channel_of(&c->y, i)] += c->dy.v[i];
}

const ref_op ref_conv = {conv_forward, conv_backward};

/* ---- pooling ---- */

static double window_mean(const ref_call *c, const window *w, int64_t plane, int64_t o) {
  int64_t ins = points(w->in), taps = points(w->kernel);
  double sum = 0;
  for (int64_t k = 0; k < taps; k++) {
    int64_t i = under(w, o, k);
    if (i >= 0) sum += c->x[0].v[plane * ins + i];
  }
  return sum / (double)taps; /* padding counts */
}

/* The first of the largest. */
static int64_t window_best(const ref_call *c, const window *w, int64_t plane, int64_t o) {
  int64_t ins = points(w->in), taps = points(w->kernel), best = -1;
  for (int64_t k = 0; k < taps; k++) {
    int64_t i = under(w, o, k);
    if (i < 0) continue;
    if (best < 0 || c->x[0].v[plane * ins + i] > c->x[0].v[best]) best = plane * ins + i;
  }
  return best;
}

static window pool_window(ref_call *c) {
  if (c->pool == REF_GLOBAL)
    for (int i = 0; i < c->x[0].nd - 2; i++) {
      c->kernel[i] = c->stride[i] = c->x[0].dim[2 + i];
      c->pad[i] = 0;
    }
  return window_of(c, &c->x[0], &c->y);
}

static void pool_forward(ref_call *c) {
  window w = pool_window(c);
  int64_t outs = points(w.out);
  for (int64_t p = 0; p < c->x[0].dim[0] * c->x[0].dim[1]; p++)
    for (int64_t o = 0; o < outs; o++)
      c->y.v[p * outs + o] =
          c->pool == REF_MAX ? c->x[0].v[window_best(c, &w, p, o)] : window_mean(c, &w, p, o);
}

static void pool_backward(ref_call *c) {
  window w = pool_window(c);
  int64_t outs = points(w.out), ins = points(w.in), taps = points(w.kernel);
  ref_clear(&c->dx[0]);
  for (int64_t p = 0; p < c->x[0].dim[0] * c->x[0].dim[1]; p++)
    for (int64_t o = 0; o < outs; o++) {
      double dy = c->dy.v[p * outs + o];
      if (c->pool == REF_MAX) {
        c->dx[0].v[window_best(c, &w, p, o)] += dy;
        continue;
      }
      for (int64_t k = 0; k < taps; k++) {
        int64_t i = under(&w, o, k);
        if (i >= 0) c->dx[0].v[p * ins + i] += dy / (double)taps;
      }
    }
}

const ref_op ref_pool = {pool_forward, pool_backward};

/* ---- batch norm ---- */

static void channel_sums(const ref_tensor *t, const double *factor, double *sum) {
  size_t n = ref_count(t);
  memset(sum, 0, (size_t)t->dim[1] * sizeof *sum);
  for (size_t i = 0; i < n; i++) sum[channel_of(t, i)] += t->v[i] * (factor ? factor[i] : 1);
}

static double samples_of(const ref_tensor *t) {
  return (double)ref_count(t) / (double)t->dim[1];
}

/* The variance that normalises: biased. */
static double biased(const ref_call *c, int64_t channel) {
  double m = samples_of(&c->x[0]);
  return c->evaluate ? c->variance[channel] : c->variance[channel] * (m - 1) / m;
}

static void batch_statistics(ref_call *c) {
  size_t n = ref_count(&c->x[0]);
  double m = samples_of(&c->x[0]);
  channel_sums(&c->x[0], NULL, c->mean);
  for (int64_t k = 0; k < c->x[0].dim[1]; k++) {
    c->mean[k] /= m;
    c->variance[k] = 0;
  }
  for (size_t i = 0; i < n; i++) {
    int64_t k = channel_of(&c->x[0], i);
    double d = c->x[0].v[i] - c->mean[k];
    c->variance[k] += d * d / (m - 1);
  }
}

static double normal(const ref_call *c, size_t i) {
  int64_t k = channel_of(&c->x[0], i);
  return (c->x[0].v[i] - c->mean[k]) / sqrt(biased(c, k) + c->epsilon);
}

static void batch_norm_forward(ref_call *c) {
  if (!c->evaluate) batch_statistics(c);
  for (size_t i = 0; i < ref_count(&c->x[0]); i++) {
    int64_t k = channel_of(&c->x[0], i);
    c->y.v[i] = normal(c, i) * c->w[0].v[k] + c->w[1].v[k];
  }
}

/* Ioffe & Szegedy, section 3. */
static void batch_norm_backward(ref_call *c) {
  size_t n = ref_count(&c->x[0]);
  double m = samples_of(&c->x[0]);
  double *normalised = calloc(n, sizeof *normalised);
  for (size_t i = 0; i < n; i++) normalised[i] = normal(c, i);
  channel_sums(&c->dy, normalised, c->dw[0].v);
  channel_sums(&c->dy, NULL, c->dw[1].v);
  for (size_t i = 0; c->dx[0].v && i < n; i++) {
    int64_t k = channel_of(&c->x[0], i);
    double inner = c->dy.v[i] - c->dw[1].v[k] / m - normalised[i] * c->dw[0].v[k] / m;
    c->dx[0].v[i] = c->w[0].v[k] / sqrt(biased(c, k) + c->epsilon) * inner;
  }
  free(normalised);
}

const ref_op ref_batch_norm = {batch_norm_forward, batch_norm_backward};
