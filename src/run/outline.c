/* outline.c - what the configuration says about a model and its data, without any numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/net_private.h"

tg_data_options tg_net_data_options(const tg_config *c) {
  return (tg_data_options){.name = c->data_name,
                           .path = c->data_path,
                           .train_limit = (uint32_t)c->data_train_limit,
                           .test_limit = (uint32_t)c->data_test_limit,
                           .validation = (uint32_t)c->data_validation,
                           .seed = (uint64_t)c->run_seed};
}

tg_split tg_net_eval_split(const tg_config *c) {
  return c->data_validation > 0 ? TG_VALIDATION : TG_TEST;
}

static tg_stem stem_of(const char *name) {
  if (strcmp(name, "cifar") == 0) return TG_STEM_CIFAR;
  return strcmp(name, "imagenet") == 0 ? TG_STEM_IMAGENET : TG_STEM_AUTO;
}

tg_model_options tg_net_model_options(const tg_config *c, const tg_dataset_source *source,
                                      int64_t batch) {
  return (tg_model_options){.channels = source->channels,
                            .height = source->height,
                            .width = source->width,
                            .classes = source->classes,
                            .batch = batch,
                            .hidden = c->model_hidden.item,
                            .hidden_count = c->model_hidden.count,
                            .no_bias = !c->model_bias,
                            .stem = stem_of(c->model_stem),
                            .norm =
                                strcmp(c->model_norm, "path") == 0 ? TG_NORM_PATH : TG_NORM_BATCH};
}

static tg_status collect_folds(const tg_graph *g, tg_fold **out, size_t *count) {
  size_t uses = 0;
  for (int i = 0; i < g->node_count; i++) uses += (size_t)g->node[i]->stat_count;
  tg_fold *folds = calloc(uses + 1, sizeof *folds);
  if (!folds) TG_FAIL(TG_ERUNTIME, "no memory for %zu statistics", uses);
  *count = 0;
  for (int i = 0; i < g->node_count; i++)
    for (int j = 0; j < g->node[i]->stat_count; j++) {
      const tg_stat_use *use = &g->node[i]->stat[j];
      folds[(*count)++] = (tg_fold){.b_lo = use->stat->offset,
                                    .s_lo = use->s_offset,
                                    .count = use->stat->count,
                                    .momentum = use->momentum};
    }
  *out = folds;
  return TG_OK;
}

static tg_status collect_parts(const tg_graph *g, tg_layout *out) {
  tg_part *part = calloc((size_t)g->param_count + 1, sizeof *part);
  if (!part) TG_FAIL(TG_ERUNTIME, "no memory for %d parameters", g->param_count);
  for (int i = 0; i < g->param_count; i++) {
    const tg_param *p = g->param[i];
    size_t rows = p->shape.nd > 0 ? (size_t)p->shape.dim[0] : 1;
    part[i] = (tg_part){.offset = p->offset,
                        .count = p->count,
                        .rows = rows,
                        .cols = rows ? p->count / rows : 0,
                        .weight = p->init == TG_INIT_WEIGHT};
  }
  *out = (tg_layout){.part = part, .count = (size_t)g->param_count};
  return TG_OK;
}

tg_status tg_net_count_samples(const tg_config *c, const tg_dataset_source *source, tg_split split,
                               uint32_t *out) {
  uint32_t held = (uint32_t)c->data_validation;
  uint32_t known = split == TG_TEST ? source->test_count : source->train_count;
  uint32_t limit = (uint32_t)(split == TG_TRAIN ? c->data_train_limit : c->data_test_limit);
  if (split == TG_TRAIN) known = known > held ? known - held : 0;
  if (split == TG_VALIDATION) known = known > held ? held : 0;
  if (split == TG_VALIDATION) limit = held;
  if (known > 0 && limit <= known) {
    *out = limit > 0 ? limit : known;
    return TG_OK;
  }
  tg_data_options options = tg_net_data_options(c);
  tg_dataset *set;
  TG_TRY(tg_dataset_open(&options, split, &set));
  *out = set->count;
  tg_dataset_close(set);
  return TG_OK;
}

void tg_outline_destroy(tg_outline *o) {
  if (!o) return;
  tg_paths_destroy(o->paths);
  tg_graph_destroy(o->graph);
  free(o->folds);
  free((void *)o->layout.part);
  free(o);
}

tg_status tg_outline_create(const tg_config *c, uint32_t batch, tg_outline **out) {
  const tg_dataset_source *source;
  TG_TRY(tg_dataset_find(c->data_name, &source));
  tg_status status = TG_OK;
  tg_outline *o = calloc(1, sizeof *o);
  if (!o) TG_FAIL(TG_ERUNTIME, "no memory for a model");
  o->model = tg_net_model_options(c, source, batch);
  bool path = o->model.norm == TG_NORM_PATH;
  snprintf(o->model_name, sizeof o->model_name, "%s%s", c->model_name,
           path ? ", model.norm=path" : "");
  TG_DO(tg_model_build(c->model_name, &o->model, &o->graph));
  TG_DO(collect_folds(o->graph, &o->folds, &o->fold_count));
  TG_DO(collect_parts(o->graph, &o->layout));
  TG_DO(tg_paths_create(o->graph, &o->paths));
  o->layout.paths = o->paths;
  TG_DO(tg_net_count_samples(c, source, TG_TRAIN, &o->train_count));
  TG_DO(tg_net_count_samples(c, source, tg_net_eval_split(c), &o->test_count));
  *out = o;
  return TG_OK;
done:
  tg_outline_destroy(o);
  return status;
}

/* What the configuration wants of skeletons. */
static tg_status skeleton_of(const tg_config *c, tg_skeleton_kind *out) {
  static const char *const names[] = {"none", "ones", "signs", "canonical"};
  const tg_optimizer *optimizer;
  TG_TRY(tg_optimizer_find(c->optimizer_name, &optimizer));
  *out = optimizer->path_step ? TG_SKELETON_ONES : TG_SKELETON_NONE;
  for (int i = 0; i < 4; i++)
    if (strcmp(c->optimizer_gsgd_skeleton, names[i]) == 0) *out = (tg_skeleton_kind)i;
  return TG_OK;
}

tg_status tg_outline_initial(const tg_outline *o, const tg_config *c, float *w, float *b) {
  tg_init_scheme scheme = strcmp(c->model_init, "pytorch") == 0 ? TG_PYTORCH : TG_HE;
  tg_skeleton_kind skeleton;
  tg_model_init(o->graph, scheme, (uint64_t)c->run_seed, w, b);
  TG_TRY(skeleton_of(c, &skeleton));
  if (skeleton == TG_SKELETON_NONE) return TG_OK;
  TG_TRY(tg_paths_check(o->paths, c->model_name));
  return tg_paths_init(o->paths, skeleton, w);
}
