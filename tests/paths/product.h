/* product.h - the program's own graph, path blocks and update for a network of nets.h. */
#ifndef PATHS_PRODUCT_H
#define PATHS_PRODUCT_H

#include <stdio.h>

#include "../support/optimizers.h"
#include "nets.h"
#include "tardigrad/ops.h"
#include "tardigrad/paths.h"
#include "tardigrad/plan.h"

#define MUST(expression)                                                                           \
  ck_assert_msg((expression) == TG_OK, "%s: %s", #expression, tg_status_message())

/* The network with the loss 1/2 sum (y - target)^2: dense layers, or convolutions in one or two
 * dimensions. */
static inline tg_graph *graph_of(const ref_net_spec *spec) {
  const ref_net net = ref_net_of(spec);
  const int64_t h = (int64_t)net.side[0][0], w = (int64_t)net.side[0][1];
  const bool dense = h * w == 1, line = h == 1;
  const int64_t batch = (int64_t)net.batch;
  char name[32];
  tg_graph *g;
  MUST(tg_graph_create(&g));
  tg_shape in = {line ? 3 : 4, {batch, (int64_t)spec->width[0], line ? w : h, w}};
  if (dense) in.nd = 2;
  tg_value *x = tg_input(g, "x", in);
  tg_graph_path_block(g, "block");
  for (int l = 0; l < spec->layers; l++) {
    const ref_net_layer *a = &net.layer[l];
    tg_conv_attr attr = {.out = (int64_t)a->out, .bias = spec->bias};
    for (int d = 0; d < (line ? 1 : 2); d++) {
      attr.kernel[d] = (int64_t)a->kernel[line ? 1 : d];
      attr.stride[d] = (int64_t)a->stride[line ? 1 : d];
      attr.pad[d] = attr.kernel[d] / 2;
    }
    snprintf(name, sizeof name, "layer%d", l + 1);
    x = dense ? tg_dense(g, name, x, attr.out, attr.bias) : tg_conv(g, name, x, attr);
    if (x && l + 1 < spec->layers) x = tg_relu(g, x);
  }
  tg_graph_path_block(g, NULL);
  MUST(tg_graph_status(g));
  tg_mean_squared_error(g, "loss", tg_output(g, "out", x), tg_input(g, "target", x->shape),
                        (float)net.count[net.layers] / 2);
  MUST(tg_graph_status(g));
  ck_assert_uint_eq(g->n, net.n);
  return g;
}

typedef struct product {
  tg_graph *graph;
  tg_paths *paths;
  tg_layout layout;
  tg_update u; /* of the rule sgd; w is its own */
  float *g;
} product;

/* Around a graph that it will destroy, at weights w0 [n]. */
static inline product product_of(tg_graph *graph, const double *w0, const char *optimizer) {
  product p = {.graph = graph, .g = calloc(graph->n + 1, sizeof(float))};
  MUST(tg_paths_create(graph, &p.paths));
  p.layout.paths = p.paths;
  MUST(tg_rule_find("sgd", &p.u.rule));
  MUST(tg_optimizer_find(optimizer, &p.u.optimizer));
  p.u.w = calloc(graph->n + 1, sizeof(float));
  for (size_t i = 0; i < graph->n; i++) p.u.w[i] = (float)w0[i];
  for (int i = 0; i < p.u.optimizer->slots; i++) p.u.slot[i] = calloc(graph->n + 1, sizeof(float));
  p.u.hyper.keys = default_keys(p.u.optimizer);
  p.u.hyper.keys.beta2 = 0.99;
  p.u.hyper.keys.path_clamp = 0;
  p.u.hyper.momentum = 0.9f;
  return p;
}

static inline product product_open(const task *t, const ref_net_spec *spec, const char *optimizer) {
  return product_of(graph_of(spec), t->w, optimizer);
}

static inline void product_close(product *p) {
  tg_paths_destroy(p->paths);
  tg_graph_destroy(p->graph);
  for (int i = 0; i < TG_MAX_SLOTS; i++) free(p->u.slot[i]);
  free(p->u.rule_state);
  free(p->u.w);
  free(p->g);
}

/* An update by p->g, as a server makes it. */
static inline tg_update_sums product_update(product *p) {
  tg_update_sums sums = {0};
  tg_update_apply(&p->u, (tg_span){0, p->graph->n}, p->g, &sums);
  if (p->u.optimizer->whole) MUST(tg_update_whole(&p->u, &p->layout, p->graph->n, p->g, &sums));
  p->u.hyper.update++;
  return sums;
}

static inline void to_float(size_t n, const double *x, float *y) {
  for (size_t i = 0; i < n; i++) y[i] = (float)x[i];
}

static inline void to_double(size_t n, const float *x, double *y) {
  for (size_t i = 0; i < n; i++) y[i] = x[i];
}

/* By the exact gradient at its weights, of the loss times `scale`, rounded to float: a function
 * that commutes with powers of two. */
static inline void product_train(product *p, const task *t, double scale) {
  const size_t n = p->graph->n;
  double *w = doubles(n), *g = doubles(n);
  to_double(n, p->u.w, w);
  task_gradient(t, w, g);
  for (size_t i = 0; i < n; i++) g[i] *= scale;
  to_float(n, g, p->g);
  product_update(p);
  free(w);
  free(g);
}

/* The program's own forward and backward pass on the CPU, at p->u.w into p->g. */
typedef struct passes {
  tg_device *device;
  tg_plan *plan;
  void *block;
  float *w, *g;
} passes;

static inline passes passes_open(const product *p) {
  const tg_plan_options train = {.train = true};
  passes s = {0};
  MUST(tg_device_open("cpu", &s.device));
  MUST(tg_plan_create(p->graph, s.device, &train, &s.plan));
  MUST(s.device->backend->alloc(s.device, tg_plan_bytes(s.plan), &s.block));
  MUST(s.device->backend->alloc(s.device, p->graph->n * sizeof(float), (void **)&s.w));
  MUST(s.device->backend->alloc(s.device, p->graph->n * sizeof(float), (void **)&s.g));
  tg_plan_place(s.plan, s.block);
  tg_plan_bind(s.plan, s.w, s.g, NULL, NULL);
  return s;
}

static inline void passes_close(passes *s) {
  tg_plan_destroy(s->plan);
  s->device->backend->free(s->device, s->block);
  s->device->backend->free(s->device, s->w);
  s->device->backend->free(s->device, s->g);
  tg_device_close(s->device);
}

static inline void write_value(passes *s, const char *name, size_t n, const double *x) {
  float *values = calloc(n, sizeof *values);
  to_float(n, x, values);
  MUST(tg_plan_write(s->plan, name, values, n * sizeof *values));
  free(values);
}

static inline void passes_gradient(passes *s, product *p, const task *t) {
  const size_t bytes = p->graph->n * sizeof(float);
  write_value(s, "x", t->net.count[0], t->x);
  write_value(s, "target", t->net.count[t->net.layers], t->target);
  MUST(s->device->backend->to_device(s->device, s->w, p->u.w, bytes));
  MUST(tg_plan_run(s->plan));
  MUST(s->device->backend->to_host(s->device, p->g, s->g, bytes));
}

#endif
