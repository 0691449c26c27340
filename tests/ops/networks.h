/* networks.h - small networks that have what large ones are made of, and one training step of them.
 * Inputs are "x" [6,3,8,8], "target" (where there is one) and labels "y" [6]. */
#ifndef TEST_OPS_NETWORKS_H
#define TEST_OPS_NETWORKS_H

#include "ref_graph.h"

typedef void network_fn(tg_graph *g, tg_value *x);

static inline tg_value *unit(tg_graph *g, const char *name, tg_value *x, int64_t out,
                             int64_t stride) {
  char norm[64];
  snprintf(norm, sizeof norm, "%s.bn", name);
  return tg_batch_norm(g, norm, tg_conv2d(g, name, x, out, 3, stride, 1, false));
}

static inline void classify(tg_graph *g, const char *loss, tg_value *x, float weight) {
  tg_value *features = tg_flatten(g, tg_global_avg_pool(g, x));
  tg_softmax_cross_entropy(g, loss, tg_dense(g, "fc", features, 5, true), tg_labels(g, "y", 6),
                           weight);
}

/* A basic block, and one that halves space and doubles channels behind an option-A shortcut. */
static inline void residual(tg_graph *g, tg_value *x) {
  x = tg_relu(g, unit(g, "stem", x, 16, 1));
  tg_value *y = tg_relu(g, unit(g, "a1", x, 16, 1));
  x = tg_relu(g, tg_add(g, unit(g, "a2", y, 16, 1), x));
  tg_value *shortcut = tg_slice(g, tg_slice(g, x, 2, 0, 4, 2), 3, 0, 4, 2);
  y = tg_relu(g, unit(g, "b1", x, 32, 2));
  x = tg_relu(g, tg_add(g, unit(g, "b2", y, 32, 1), tg_pad(g, shortcut, 1, 8, 8)));
  classify(g, "loss", x, 1);
}

/* One value used again and again: by add twice, by concat, by itself. What follows reads whole
 * blocks of channels, also where concat and slice filled a part of the last one only. */
static inline void fan_out(tg_graph *g, tg_value *x) {
  x = tg_conv2d(g, "conv", x, 5, 3, 1, 1, true);
  tg_value *twice = tg_add(g, x, x);
  tg_value *parts[] = {x, tg_leaky_relu(g, twice, 0.25f), tg_sigmoid(g, x), twice, x};
  x = tg_conv2d(g, "mix", tg_concat(g, 1, 5, parts), 19, 3, 1, 1, false);
  classify(g, "loss", tg_conv2d(g, "last", tg_slice(g, x, 1, 1, 9, 2), 8, 3, 1, 1, false), 1);
}

/* A view of plain memory, used beside what it is a view of. */
static inline void views(tg_graph *g, tg_value *x) {
  tg_value *features = tg_dense(g, "first", tg_flatten(g, x), 7, true);
  tg_value *view = tg_flatten(g, features), *again = tg_flatten(g, view);
  tg_value *sum = tg_add(g, tg_add(g, view, features), tg_add(g, again, view));
  tg_softmax_cross_entropy(g, "loss", tg_dense(g, "fc", sum, 5, true), tg_labels(g, "y", 6), 1);
}

/* Path-BN as in plain and in residual networks: lambda 1 and another, with a stride, to more and to
 * fewer channels, folded with the shortcut behind it and not. */
static inline tg_value *beside(tg_graph *g, const char *name, tg_value *x, int64_t out,
                               int64_t stride, float lambda) {
  char norm[64];
  snprintf(norm, sizeof norm, "%s.bn", name);
  tg_conv_attr attr = {.out = out, .kernel = {3, 3}, .pad = {1, 1}, .hollow = true};
  attr.stride[0] = attr.stride[1] = stride;
  return tg_skip(g, tg_batch_norm(g, norm, tg_conv(g, name, x, attr)), x, stride, lambda);
}

static inline void path_norm(tg_graph *g, tg_value *x) {
  x = tg_relu(g, unit(g, "stem", x, 16, 1));
  x = tg_relu(g, beside(g, "plain", x, 16, 1, 1));
  tg_value *y = tg_relu(g, unit(g, "a1", x, 16, 1));
  x = tg_relu(g, tg_add(g, beside(g, "a2", y, 16, 1, 0.125f), x));
  y = tg_relu(g, beside(g, "wider", x, 32, 2, 0.125f));
  x = tg_relu(g, tg_add(g, unit(g, "down", x, 32, 2), beside(g, "b", y, 32, 1, -0.5f)));
  x = beside(g, "narrower", x, 8, 1, 0.25f); /* no ReLU, read twice */
  classify(g, "loss", tg_add(g, tg_relu(g, x), tg_sigmoid(g, x)), 1);
}

/* The same layers twice: gradients of shared parameters add up. */
static inline void shared_layers(tg_graph *g, tg_value *x) {
  x = tg_conv2d(g, "stem", x, 8, 3, 1, 1, true);
  x = tg_relu(g, tg_conv2d(g, "same", x, 8, 3, 1, 1, true));
  x = tg_relu(g, tg_conv2d(g, "same", x, 8, 3, 1, 1, true));
  classify(g, "loss", tg_conv2d(g, "same", x, 8, 3, 1, 1, true), 1);
}

/* Two environments in one batch: common layers, batch statistics and a loss of their own each. */
static inline void environments(tg_graph *g, tg_value *x) {
  const char *const loss[] = {"loss", "loss2"}, *const target[] = {"target", "target2"};
  for (int i = 0; i < 2; i++) {
    tg_value *part = tg_slice(g, x, 0, 3 * i, 3, 1);
    tg_value *y = tg_relu(g, unit(g, "common", part, 4, 1));
    y = tg_conv2d(g, "head", y, 3, 1, 1, 0, true);
    tg_shape shape = {.nd = 4, .dim = {3, 3, 8, 8}};
    tg_mean_squared_error(g, loss[i], y, tg_input(g, target[i], shape), i ? 0.25f : 2);
  }
}

/* An encoder with two heads: it draws its input again, and classifies. A third head has no loss. */
static inline void heads(tg_graph *g, tg_value *x) {
  tg_conv_attr up = {.out = 3,
                     .kernel = {4, 4},
                     .stride = {2, 2},
                     .pad = {1, 1},
                     .bias = true,
                     .transposed = true};
  tg_value *code = tg_leaky_relu(g, tg_conv2d(g, "down", x, 16, 3, 2, 1, true), 0.125f);
  tg_value *drawn = tg_sigmoid(g, tg_conv(g, "up", code, up));
  tg_mean_squared_error(g, "draw", drawn, x, 3);
  tg_conv2d(g, "idle", code, 4, 3, 1, 1, true);
  classify(g, "loss", tg_max_pool(g, code, 2, 2, 0), 0.5f);
}

/* Both sides of a squared error learn, and one of them is also averaged over windows. */
static inline void two_sides(tg_graph *g, tg_value *x) {
  tg_value *a = tg_conv2d(g, "a", x, 4, 3, 1, 1, true), *b = tg_conv2d(g, "b", x, 4, 1, 1, 0, true);
  tg_mean_squared_error(g, "loss2", a, b, 1);
  classify(g, "loss", tg_avg_pool(g, tg_relu(g, a), 3, 2, 1), 1);
}

static const struct {
  const char *name;
  network_fn *build;
} networks[] = {{"residual", residual},    {"fan-out", fan_out},           {"views", views},
                {"shared", shared_layers}, {"environments", environments}, {"heads", heads},
                {"two sides", two_sides},  {"path norm", path_norm}};
enum { NETWORKS = sizeof networks / sizeof *networks };

/* ---- one step ---- */

typedef struct network {
  tg_graph *g;
  float *w, *x, *target;
  int32_t labels[6];
} network;

static inline network network_create(network_fn *build) {
  network n = {.labels = {0, 4, -1, 2, 3, 2}};
  random_state = 88172645463325252u;
  MUST(tg_graph_create(&n.g));
  build(n.g, tg_input(n.g, "x", (tg_shape){.nd = 4, .dim = {6, 3, 8, 8}}));
  MUST(tg_graph_status(n.g));
  n.w = malloc(n.g->n * sizeof *n.w);
  for (int i = 0; i < n.g->param_count; i++) {
    const tg_param *p = n.g->param[i];
    float scale = p->init == TG_INIT_WEIGHT ? sqrtf(3 / (float)p->fan_in) : 1;
    for (size_t j = 0; j < p->count; j++) n.w[p->offset + j] = as_bf16(scale * random_number());
  }
  for (int i = 0; i < n.g->node_count; i++) leave_hollow(n.g->node[i], n.w);
  n.x = random_numbers(6 * 3 * 8 * 8);
  n.target = random_numbers(3 * 3 * 8 * 8);
  return n;
}

static inline void network_free(network *n) {
  free(n->w);
  free(n->x);
  free(n->target);
  tg_graph_destroy(n->g);
}

static inline void network_write(const network *n, tg_plan *p) {
  MUST(tg_plan_write(p, "x", n->x, 6 * 3 * 8 * 8 * sizeof(float)));
  const char *const targets[] = {"target", "target2"};
  for (int i = 0; i < 2; i++)
    if (tg_graph_value(n->g, targets[i]))
      MUST(tg_plan_write(p, targets[i], n->target, 3 * 3 * 8 * 8 * sizeof(float)));
  if (tg_graph_value(n->g, "y")) MUST(tg_plan_write(p, "y", n->labels, sizeof n->labels));
}

static inline ref_graph network_reference(const network *n) {
  ref_graph r = ref_graph_create(n->g, n->w);
  ref_graph_input(&r, "x", n->x);
  if (tg_graph_value(n->g, "target")) ref_graph_input(&r, "target", n->target);
  if (tg_graph_value(n->g, "target2")) ref_graph_input(&r, "target2", n->target);
  return r;
}

/* What a step gives: g, s, and the losses by node. */
typedef struct step_results {
  float *g, *s;
  tg_loss_result *loss;
} step_results;

static inline step_results network_step(const network *n, tg_device *d, tg_plan *p) {
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *w = on_device(d, n->w, n->g->n * sizeof *w);
  float *g = on_device(d, NULL, n->g->n * sizeof *g);
  float *s = on_device(d, NULL, n->g->ks * sizeof *s);
  tg_plan_place(p, block);
  tg_plan_bind(p, w, g, NULL, s);
  network_write(n, p);
  MUST(tg_plan_forward(p));
  MUST(tg_plan_backward(p));
  step_results r = {.g = to_host(d, g, n->g->n), .s = to_host(d, s, n->g->ks)};
  r.loss = calloc((size_t)n->g->node_count, sizeof *r.loss);
  for (int i = 0; i < n->g->node_count; i++)
    if (n->g->node[i]->op->loss) MUST(tg_plan_loss(p, n->g->node[i]->name, &r.loss[i]));
  void *used[] = {block, w, g, s};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
  return r;
}

static inline step_results network_run(const network *n, const char *device, tg_dtype precision,
                                       bool own_memory) {
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_plan_options options = {.train = true, .precision = precision};
  MUST(tg_device_open(device, &d));
  MUST(tg_plan_create(n->g, d, &options, &p));
  if (own_memory) unshare(p);
  step_results r = network_step(n, d, p);
  tg_plan_destroy(p);
  tg_device_close(d);
  return r;
}

static inline void step_free(step_results *r) {
  free(r->g);
  free(r->s);
  free(r->loss);
}

static inline bool steps_equal(const network *n, const step_results *a, const step_results *b) {
  return memcmp(a->g, b->g, n->g->n * sizeof *a->g) == 0 &&
         memcmp(a->s, b->s, n->g->ks * sizeof *a->s) == 0 &&
         memcmp(a->loss, b->loss, (size_t)n->g->node_count * sizeof *a->loss) == 0;
}

#endif
