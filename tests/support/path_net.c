#include "path_net.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/ops.h"

static const tg_param *param(const path_net *net, int i) {
  return net->graph->param[i];
}

static tg_graph *build(const size_t *widths, int layers, bool bias) {
  tg_graph *g;
  char name[16];
  ck_assert_int_eq(tg_graph_create(&g), TG_OK);
  tg_value *x = tg_input(g, "x", (tg_shape){2, {1, (int64_t)widths[0]}});
  tg_graph_path_block(g, "net");
  for (int l = 1; l <= layers; l++) {
    snprintf(name, sizeof name, "fc%d", l);
    x = tg_dense(g, name, x, (int64_t)widths[l], bias);
    if (l < layers) x = tg_relu(g, x);
  }
  tg_output(g, "y", x);
  ck_assert_int_eq(tg_graph_status(g), TG_OK);
  return g;
}

void path_net_open(path_net *net, const size_t *widths, int layers, bool bias) {
  *net = (path_net){.shape = {.layers = layers}};
  net->graph = build(widths, layers, bias);
  ck_assert_int_eq(tg_paths_create(net->graph, &net->paths), TG_OK);
  net->n = net->shape.n = net->graph->n;
  net->shape.width[0] = widths[0];
  for (int l = 1, at = 0; l <= layers; l++) {
    ck_assert_uint_le(widths[l], PATH_NET_WIDTH);
    net->shape.width[l] = widths[l];
    net->shape.weight[l] = param(net, at++)->offset;
    net->shape.bias[l] = bias ? param(net, at++)->offset : REF_PATH_NO_BIAS;
  }
  tg_part *part = calloc((size_t)net->graph->param_count, sizeof *part);
  for (int i = 0; i < net->graph->param_count; i++) {
    const tg_param *p = param(net, i);
    size_t rows = (size_t)p->shape.dim[0];
    part[i] = (tg_part){p->offset, p->count, rows, p->count / rows, p->init == TG_INIT_WEIGHT};
  }
  net->layout = (tg_layout){part, (size_t)net->graph->param_count, net->paths};
}

void path_net_close(path_net *net) {
  tg_paths_destroy(net->paths);
  tg_graph_destroy(net->graph);
  free((void *)net->layout.part);
}

/* ---- gradients ---- */

static void forward(const ref_path_shape *s, const float *w, const double *x,
                    double a[][PATH_NET_WIDTH]) {
  for (int l = 1; l <= s->layers; l++) {
    const double *in = l == 1 ? x : a[l - 1];
    for (size_t o = 0; o < s->width[l]; o++) {
      double z = s->bias[l] == REF_PATH_NO_BIAS ? 0 : (double)w[s->bias[l] + o];
      for (size_t i = 0; i < s->width[l - 1]; i++)
        z += (double)w[s->weight[l] + o * s->width[l - 1] + i] * in[i];
      a[l][o] = l < s->layers && z < 0 ? 0 : z;
    }
  }
}

void path_net_gradient(const path_net *net, const float *w, const double *x, const double *t,
                       float *g, double *y) {
  const ref_path_shape *s = &net->shape;
  double a[REF_PATH_LAYERS + 1][PATH_NET_WIDTH], d[PATH_NET_WIDTH], below[PATH_NET_WIDTH];
  forward(s, w, x, a);
  for (size_t o = 0; o < s->width[s->layers]; o++) d[o] = a[s->layers][o] - t[o];
  for (size_t o = 0; y && o < s->width[s->layers]; o++) y[o] = a[s->layers][o];
  for (int l = s->layers; g && l >= 1; l--) {
    const double *in = l == 1 ? x : a[l - 1];
    memset(below, 0, sizeof below);
    for (size_t o = 0; o < s->width[l]; o++) {
      if (s->bias[l] != REF_PATH_NO_BIAS) g[s->bias[l] + o] = (float)d[o];
      for (size_t i = 0; i < s->width[l - 1]; i++) {
        size_t at = s->weight[l] + o * s->width[l - 1] + i;
        g[at] = (float)(d[o] * in[i]);
        if (l > 1 && in[i] > 0) below[i] += d[o] * (double)w[at];
      }
    }
    memcpy(d, below, sizeof d);
  }
}

/* ---- weights ---- */

static double uniform(uint64_t seed, uint64_t i) { /* [0,1): splitmix64 */
  uint64_t z = seed * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u + 7;
  for (int k = 0; k < 2; k++) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
  }
  return (double)(z >> 11) * 0x1p-53;
}

void path_net_initial(const path_net *net, uint64_t seed, bool canonical, float *w) {
  const tg_path_block *b = &net->paths->block[0];
  for (size_t i = 0; i < net->n; i++) w[i] = (float)(uniform(seed, i) - 0.4);
  for (int l = 1; l <= b->count; l++)
    for (size_t t = 0; t < tg_path_skeletons(b, l); t++) {
      size_t at = tg_path_skeleton(b, l, t);
      double size = canonical ? 1 : 0.7 + 0.8 * uniform(seed, at + net->n);
      w[at] = (float)(w[at] < -0.2f ? -size : size);
    }
}

void path_net_rescale(const path_net *net, uint64_t seed, bool back, float *w) {
  const ref_path_shape *s = &net->shape;
  for (int l = 1; l < s->layers; l++)
    for (size_t j = 0; j < s->width[l]; j++) {
      int power = (int)(uniform(seed, (uint64_t)l * 100 + j) * 9) - 4;
      float up = ldexpf(1, back ? -power : power), down = 1 / up;
      for (size_t i = 0; i < s->width[l - 1]; i++) w[s->weight[l] + j * s->width[l - 1] + i] *= up;
      if (s->bias[l] != REF_PATH_NO_BIAS) w[s->bias[l] + j] *= up;
      for (size_t o = 0; o < s->width[l + 1]; o++)
        w[s->weight[l + 1] + o * s->width[l] + j] *= down;
    }
}
