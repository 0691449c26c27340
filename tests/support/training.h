/* training.h - a small model on one device and the data it is trained with: what tests of training
 * compare between devices and between runs. */
#ifndef TEST_SUPPORT_TRAINING_H
#define TEST_SUPPORT_TRAINING_H

#include "../ops/tools.h"
#include "tardigrad/model.h"

enum { BATCH = 8, BATCHES = 5, CHANNELS = 3, SIDE = 8, CLASSES = 5 };
enum { IMAGE = CHANNELS * SIDE * SIDE };

typedef struct batch {
  float x[BATCH * IMAGE];
  int32_t y[BATCH];
} batch;

/* Images of five patterns, as much noise as pattern: small models learn them, but not at once. The
 * same on every call. */
static inline void make_batches(batch out[BATCHES]) {
  float pattern[CLASSES][IMAGE];
  random_state = 88172645463325252u;
  for (int c = 0; c < CLASSES; c++)
    for (int i = 0; i < IMAGE; i++) pattern[c][i] = random_number();
  for (int k = 0; k < BATCHES; k++)
    for (int j = 0; j < BATCH; j++) {
      out[k].y[j] = (int32_t)(random_bits() % CLASSES);
      for (int i = 0; i < IMAGE; i++)
        out[k].x[j * IMAGE + i] = pattern[out[k].y[j]][i] + random_number();
    }
}

/* name: of a model, or "<model>+path" with Path-BN. */
static inline tg_graph *make_model(const char *name, int64_t size) {
  char model[32];
  const int64_t hidden[] = {48, 31};
  tg_model_options o = {.channels = CHANNELS,
                        .height = SIDE,
                        .width = SIDE,
                        .classes = CLASSES,
                        .batch = size,
                        .hidden = hidden,
                        .hidden_count = 2,
                        .norm = strchr(name, '+') ? TG_NORM_PATH : TG_NORM_BATCH};
  tg_graph *g = NULL;
  snprintf(model, sizeof model, "%.*s", (int)strcspn(name, "+"), name);
  MUST(tg_model_build(model, &o, &g));
  return g;
}

typedef struct trainer {
  tg_device *d;
  tg_graph *graph;
  tg_plan *plan;
  void *block;
  float *w, *g, *s; /* device memory */
  tg_update_sums *sums;
  bool one_by_one; /* kernels, where the step would be recorded */
} trainer;

/* At the weights of seed 1. */
static inline trainer trainer_open(const char *model, const char *device, tg_dtype precision) {
  trainer t = {.graph = make_model(model, BATCH)};
  tg_plan_options options = {.train = true, .precision = precision};
  const size_t n = t.graph->n, bytes = n * sizeof(float);
  float *w = malloc(bytes), *b = malloc((t.graph->k + 1) * sizeof *b);
  tg_model_init(t.graph, TG_HE, 1, w, b);
  MUST(tg_device_open(device, &t.d));
  MUST(tg_plan_create(t.graph, t.d, &options, &t.plan));
  t.block = on_device(t.d, NULL, tg_plan_bytes(t.plan));
  t.w = on_device(t.d, w, bytes);
  t.g = on_device(t.d, NULL, bytes);
  t.s = on_device(t.d, NULL, t.graph->ks * sizeof(float));
  MUST(t.d->backend->alloc(t.d, sizeof *t.sums, (void **)&t.sums));
  tg_plan_place(t.plan, t.block);
  tg_plan_bind(t.plan, t.w, t.g, NULL, t.s);
  free(w);
  free(b);
  return t;
}

static inline void trainer_close(trainer *t) {
  void *used[] = {t->block, t->w, t->g, t->s, t->sums};
  tg_plan_destroy(t->plan);
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) t->d->backend->free(t->d, used[i]);
  tg_device_close(t->d);
  tg_graph_destroy(t->graph);
}

/* Fills t->g, and gives the sum of the losses. */
static inline double trainer_gradient(trainer *t, const batch *from) {
  tg_loss_result loss;
  MUST(tg_plan_write(t->plan, "x", from->x, sizeof from->x));
  MUST(tg_plan_write(t->plan, "y", from->y, sizeof from->y));
  if (t->one_by_one) {
    MUST(tg_plan_forward(t->plan));
    MUST(tg_plan_backward(t->plan));
  } else {
    MUST(tg_plan_run(t->plan));
  }
  MUST(tg_plan_loss(t->plan, "loss", &loss));
  return loss.sum;
}

static inline void trainer_update(trainer *t, float lr) {
  const tg_rule *rule = NULL;
  const tg_optimizer *optimizer = NULL;
  MUST(tg_rule_find("sgd", &rule));
  MUST(tg_optimizer_find("sgd", &optimizer));
  tg_update u = {.rule = rule, .optimizer = optimizer, .hyper = {.lr = lr}, .w = t->w};
  MUST(t->d->backend->update(t->d, &u, (tg_span){0, t->graph->n}, t->g, t->sums));
}

/* Some steps of gradient descent. loss[steps]: the mean loss before each. */
static inline void train(trainer *t, const batch data[BATCHES], int steps, float lr, double *loss) {
  for (int i = 0; i < steps; i++) {
    loss[i] = trainer_gradient(t, &data[i % BATCHES]) / BATCH;
    trainer_update(t, lr);
  }
}

#endif
