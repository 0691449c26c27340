#include "ref_net.h"

#include <stdlib.h>
#include <string.h>

static size_t or_one(size_t x) {
  return x ? x : 1;
}

ref_net ref_net_of(const ref_net_spec *spec) {
  ref_net net = {.layers = spec->layers, .batch = or_one(spec->batch)};
  for (int d = 0; d < 2; d++) net.side[0][d] = or_one(spec->side[d]);
  for (int l = 0; l < spec->layers; l++) {
    ref_net_layer *y = &net.layer[l];
    *y = (ref_net_layer){
        .out = spec->width[l + 1], .in = spec->width[l], .weight = net.n, .bias = REF_NONE};
    for (int d = 0; d < 2; d++) {
      y->kernel[d] = or_one(spec->kernel[l][d]);
      y->stride[d] = net.side[l][d] > 1 ? or_one(spec->stride[l]) : 1;
      net.side[l + 1][d] =
          (net.side[l][d] + 2 * (y->kernel[d] / 2) - y->kernel[d]) / y->stride[d] + 1;
    }
    net.n += y->out * y->in * y->kernel[0] * y->kernel[1];
    if (!spec->bias) continue;
    y->bias = net.n;
    net.n += y->out;
  }
  for (int l = 0; l <= spec->layers; l++)
    net.count[l] = net.batch * spec->width[l] * net.side[l][0] * net.side[l][1];
  return net;
}

/* One product of a convolution: positions of its weight, its input and its output. */
typedef struct term {
  size_t w, x, y;
} term;

/* Calls back for every product of layer l, in a fixed order. */
static void each_term(const ref_net *net, int l, void (*fn)(void *self, term t), void *self) {
  const ref_net_layer *a = &net->layer[l];
  const size_t *in = net->side[l], *out = net->side[l + 1];
  for (size_t b = 0; b < net->batch; b++)
    for (size_t o = 0; o < a->out; o++)
      for (size_t y = 0; y < out[0] * out[1]; y++)
        for (size_t i = 0; i < a->in; i++)
          for (size_t k = 0; k < a->kernel[0] * a->kernel[1]; k++) {
            size_t row = y / out[1] * a->stride[0] + k / a->kernel[1];
            size_t col = y % out[1] * a->stride[1] + k % a->kernel[1];
            row -= a->kernel[0] / 2, col -= a->kernel[1] / 2; /* wraps around: beyond the image */
            if (row >= in[0] || col >= in[1]) continue;
            fn(self, (term){a->weight + (o * a->in + i) * a->kernel[0] * a->kernel[1] + k,
                            ((b * a->in + i) * in[0] + row) * in[1] + col,
                            (b * a->out + o) * out[0] * out[1] + y});
          }
}

/* ---- in double ---- */

typedef struct pass {
  const double *w, *x;
  double *y, *g, *dx;
  const double *dy;
} pass;

static void add_product(void *self, term t) {
  pass *p = self;
  p->y[t.y] += p->w[t.w] * p->x[t.x];
}

static void add_gradients(void *self, term t) {
  pass *p = self;
  p->g[t.w] += p->dy[t.y] * p->x[t.x];
  p->dx[t.x] += p->dy[t.y] * p->w[t.w];
}

static size_t channel(const ref_net *net, int n, size_t at) {
  return at / (net->side[n][0] * net->side[n][1]) % net->layer[n - 1].out;
}

/* What node layer n holds, ReLU included, from what node layer n-1 does. */
static void forward_layer(const ref_net *net, int n, const double *w, const double *x, double *y) {
  const ref_net_layer *a = &net->layer[n - 1];
  pass p = {.w = w, .x = x, .y = y};
  for (size_t e = 0; e < net->count[n]; e++)
    y[e] = a->bias == REF_NONE ? 0 : w[a->bias + channel(net, n, e)];
  each_term(net, n - 1, add_product, &p);
  for (size_t e = 0; n < net->layers && e < net->count[n]; e++)
    if (y[e] < 0) y[e] = 0;
}

static double *forward_all(const ref_net *net, const double *w, const double *x,
                           double *node[REF_LAYERS + 1]) {
  size_t total = 0;
  for (int n = 0; n <= net->layers; n++) total += net->count[n];
  double *memory = calloc(total, sizeof *memory);
  node[0] = memory;
  memcpy(node[0], x, net->count[0] * sizeof *x);
  for (int n = 1; n <= net->layers; n++) {
    node[n] = node[n - 1] + net->count[n - 1];
    forward_layer(net, n, w, node[n - 1], node[n]);
  }
  return memory;
}

void ref_net_forward(const ref_net *net, const double *w, const double *x, double *y) {
  double *node[REF_LAYERS + 1], *memory = forward_all(net, w, x, node);
  memcpy(y, node[net->layers], net->count[net->layers] * sizeof *y);
  free(memory);
}

double ref_net_gradient(const ref_net *net, const double *w, const double *x, const double *target,
                        double *g) {
  double *node[REF_LAYERS + 1], *memory = forward_all(net, w, x, node), loss = 0;
  size_t last = net->count[net->layers];
  double *dy = calloc(last, sizeof *dy);
  memset(g, 0, net->n * sizeof *g);
  for (size_t e = 0; e < last; e++) {
    dy[e] = node[net->layers][e] - target[e];
    loss += dy[e] * dy[e] / 2;
  }
  for (int n = net->layers; n >= 1; n--) {
    double *dx = calloc(net->count[n - 1], sizeof *dx);
    pass p = {.w = w, .x = node[n - 1], .g = g, .dx = dx, .dy = dy};
    size_t bias = net->layer[n - 1].bias;
    each_term(net, n - 1, add_gradients, &p);
    for (size_t e = 0; bias != REF_NONE && e < net->count[n]; e++)
      g[bias + channel(net, n, e)] += dy[e];
    for (size_t e = 0; n > 1 && e < net->count[n - 1]; e++)
      if (node[n - 1][e] <= 0) dx[e] = 0;
    free(dy);
    dy = dx;
  }
  free(dy);
  free(memory);
  return loss;
}

/* ---- of complex weights ---- */

typedef struct complex_pass {
  const double complex *w, *x;
  double complex *y;
} complex_pass;

static void add_complex(void *self, term t) {
  complex_pass *p = self;
  p->y[t.y] += p->w[t.w] * p->x[t.x];
}

double complex ref_net_loss(const ref_net *net, const double complex *w, const double *x,
                            const double *target) {
  double complex *in = calloc(net->count[0], sizeof *in), loss = 0;
  for (size_t e = 0; e < net->count[0]; e++) in[e] = x[e];
  for (int n = 1; n <= net->layers; n++) {
    double complex *out = calloc(net->count[n], sizeof *out);
    complex_pass p = {.w = w, .x = in, .y = out};
    size_t bias = net->layer[n - 1].bias;
    each_term(net, n - 1, add_complex, &p);
    for (size_t e = 0; e < net->count[n]; e++) {
      if (bias != REF_NONE) out[e] += w[bias + channel(net, n, e)];
      if (n < net->layers && creal(out[e]) < 0) out[e] = 0;
    }
    free(in);
    in = out;
  }
  for (size_t e = 0; e < net->count[net->layers]; e++)
    loss += (in[e] - target[e]) * (in[e] - target[e]) / 2;
  free(in);
  return loss;
}
