/* model.c - models by name, and the parts that families share. */
#include <stdio.h>
#include <string.h>

#include "models/models.h"
#include "tardigrad/registry.h"

#define TG_MODEL(name, family, depth, help)                                                        \
  static const tg_model model_##name = {#name, help, tg_build_##family, depth};
#include "models/models.def"
#undef TG_MODEL

const tg_model *const tg_models[] = {
#define TG_MODEL(name, family, depth, help) &model_##name,
#include "models/models.def"
#undef TG_MODEL
};
const size_t tg_model_count = sizeof tg_models / sizeof tg_models[0];

tg_status tg_model_find(const char *name, const tg_model **out) {
  const char *nearest = NULL;
  *out = tg_registry_find(name, (const void *const *)tg_models, tg_model_count, &nearest);
  if (*out) return TG_OK;
  if (nearest) TG_FAIL(TG_ECONFIG, "no model '%s'; did you mean '%s'?", name, nearest);
  TG_FAIL(TG_ECONFIG, "no model '%s'; `list models` shows what there is", name);
}

static tg_status check_options(const char *name, const tg_model_options *o) {
  if (o->channels < 1 || o->height < 1 || o->width < 1)
    TG_FAIL(TG_ECONFIG, "model %s: images of %d x %d x %d (channels x height x width)", name,
            o->channels, o->height, o->width);
  if (o->classes < 2)
    TG_FAIL(TG_ECONFIG, "model %s: %d classes, at least 2 are needed", name, o->classes);
  if (o->batch < 1)
    TG_FAIL(TG_ECONFIG, "model %s: a batch of %lld samples, at least 1 is needed", name,
            (long long)o->batch);
  return TG_OK;
}

/* A family that knows nothing of model.norm has no layer that it changes. */
static tg_status check_norm(const char *name, const tg_model_options *o, const tg_graph *g) {
  bool hollow = false;
  for (int i = 0; i < g->node_count; i++)
    hollow |= g->node[i]->op->id == TG_OP_conv && ((const tg_conv_attr *)g->node[i]->attr)->hollow;
  if (o->norm == TG_NORM_BATCH || hollow) return TG_OK;
  TG_FAIL(TG_ECONFIG,
          "model.norm=path: model.name=%s has no batch norm in path blocks: plain* and resnet* do",
          name);
}

tg_status tg_model_build(const char *name, const tg_model_options *options, tg_graph **out) {
  const tg_model *model;
  tg_graph *g = NULL;
  tg_status status = TG_OK;
  *out = NULL;
  TG_TRY(tg_model_find(name, &model));
  TG_TRY(check_options(name, options));
  TG_TRY(tg_graph_create(&g));
  TG_DO(model->build(model, options, g));
  TG_DO(check_norm(name, options, g));
  *out = g;
  return TG_OK;
done:
  tg_graph_destroy(g);
  return status;
}

tg_value *tg_model_input(tg_graph *g, const tg_model_options *options) {
  return tg_input(
      g, "x", (tg_shape){4, {options->batch, options->channels, options->height, options->width}});
}

tg_status tg_model_classify(tg_graph *g, const tg_model_options *options, const char *name,
                            tg_value *x, bool bias) {
  tg_value *logits = tg_output(g, "logits", tg_dense(g, name, x, options->classes, bias));
  tg_softmax_cross_entropy(g, "loss", logits, tg_labels(g, "y", options->batch), 1);
  return tg_graph_status(g);
}

static tg_value *conv_bn(tg_graph *g, const char *prefix, int number, tg_value *x,
                         tg_conv_attr attr) {
  char name[64];
  snprintf(name, sizeof name, "%sconv%d", prefix, number);
  x = tg_conv(g, name, x, attr);
  snprintf(name, sizeof name, "%sbn%d", prefix, number);
  return tg_batch_norm(g, name, x);
}

static tg_conv_attr square(int64_t out, int64_t kernel, int64_t stride) {
  return (tg_conv_attr){.out = out,
                        .kernel = {kernel, kernel},
                        .stride = {stride, stride},
                        .pad = {kernel / 2, kernel / 2}};
}

tg_value *tg_conv_bn(tg_graph *g, const char *prefix, int number, tg_value *x, int64_t out,
                     int64_t kernel, int64_t stride) {
  return conv_bn(g, prefix, number, x, square(out, kernel, stride));
}

/* Whether the path block that is being built has a layer. */
static bool block_begun(const tg_graph *g) {
  for (int i = g->node_count - 1; g->path_block && i >= 0; i--)
    if (g->node[i]->op->id == TG_OP_conv && g->node[i]->path_block == g->path_block) return true;
  return false;
}

tg_value *tg_path_conv(tg_graph *g, const tg_model_options *options, const char *prefix, int number,
                       tg_value *x, int64_t out, int64_t kernel, int64_t stride, float lambda) {
  tg_conv_attr attr = square(out, kernel, stride);
  attr.hollow = options->norm == TG_NORM_PATH && block_begun(g);
  tg_value *y = conv_bn(g, prefix, number, x, attr);
  return attr.hollow ? tg_skip(g, y, x, stride, lambda) : y;
}

void tg_path_branch(tg_graph *g, const char *prefix) {
  char name[64];
  size_t length = strlen(prefix);
  snprintf(name, sizeof name, "%.*s", (int)(length ? length - 1 : 0), prefix);
  tg_graph_path_block(g, name);
}

tg_value *tg_resnet_stages(tg_graph *g, const tg_model_options *options, tg_value *x,
                           int64_t planes, int stages, const int *blocks, tg_block block) {
  char prefix[32];
  for (int stage = 0; stage < stages; stage++) {
    snprintf(prefix, sizeof prefix, "layer%d", stage + 1);
    tg_graph_path_block(g, prefix);
    for (int i = 0; i < blocks[stage]; i++) {
      snprintf(prefix, sizeof prefix, "layer%d.%d.", stage + 1, i);
      x = block(g, options, prefix, x, planes << stage, stage > 0 && i == 0 ? 2 : 1);
    }
  }
  tg_graph_path_block(g, NULL);
  return tg_flatten(g, tg_global_avg_pool(g, x));
}
