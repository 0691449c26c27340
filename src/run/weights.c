/* weights.c - saved weights: read, evaluated, exported. */
#include "run/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tardigrad/run.h"

static void describe(tg_ckpt_array *a, const char *name, const tg_shape *shape, float *data) {
  *a = (tg_ckpt_array){.dtype = TG_ST_F32, .nd = shape->nd, .data = data};
  snprintf(a->name, sizeof a->name, "%s", name);
  memcpy(a->dim, shape->dim, sizeof a->dim);
}

tg_status tg_weight_arrays(const tg_graph *g, float *w, float *b, tg_ckpt_array **out,
                           size_t *count) {
  *count = (size_t)g->param_count + (size_t)g->stat_count;
  tg_ckpt_array *a = calloc(*count + 1, sizeof *a);
  if (!a) TG_FAIL(TG_ERUNTIME, "no memory for the names of %zu arrays", *count);
  for (int i = 0; i < g->param_count; i++)
    describe(&a[i], g->param[i]->name, &g->param[i]->shape, w + g->param[i]->offset);
  for (int i = 0; i < g->stat_count; i++) {
    const tg_stat *stat = g->stat[i];
    tg_shape shape = {.nd = 1, .dim = {(int64_t)stat->count}};
    describe(&a[g->param_count + i], stat->name, &shape, b + stat->offset);
  }
  *out = a;
  return TG_OK;
}

typedef struct loaded {
  tg_outline *outline;
  float *w, *b;
  tg_ckpt_array *array;
  size_t count;
  uint64_t update;
} loaded;

static void unload(loaded *l) {
  tg_outline_destroy(l->outline);
  free(l->w);
  free(l->b);
  free(l->array);
}

static tg_status load(const tg_source *source, loaded *l) {
  *l = (loaded){0};
  TG_TRY(tg_outline_create(source->config, 1, &l->outline));
  const tg_graph *g = l->outline->graph;
  l->w = tg_alloc_aligned(g->n * sizeof(float));
  l->b = tg_alloc_aligned(g->k * sizeof(float));
  if (!l->w || !l->b) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", g->n);
  TG_TRY(tg_weight_arrays(g, l->w, l->b, &l->array, &l->count));
  tg_ckpt_content content = {.weights = l->array, .weight_count = l->count};
  TG_TRY(tg_checkpoint_load(source->checkpoint, &content));
  l->update = content.update;
  return TG_OK;
}

tg_status tg_evaluate(const tg_source *source, tg_split split, tg_evaluation *out) {
  tg_status status = TG_OK;
  tg_net *net = NULL;
  loaded l;
  TG_DO(load(source, &l));
  tg_net_options options = {.workers = 1, .batch = 1, .evaluate = true, .split = split};
  TG_DO(tg_net_create(source->config, &options, &net));
  tg_compute *c = tg_net_compute(net);
  double loss_sum;
  uint64_t correct;
  TG_DO(c->evaluate(c, l.w, l.b, &loss_sum, &correct, &out->samples));
  out->loss = loss_sum / out->samples;
  out->error = 100.0 * (double)(out->samples - correct) / out->samples;
done:
  tg_net_destroy(net);
  unload(&l);
  return status;
}

/* PyTorch's batch norm also has a scalar num_batches_tracked, and load_state_dict asks for it. */
static size_t add_tracked(tg_st_tensor *tensor, const loaded *l, char (*name)[160],
                          const int64_t *update) {
  size_t added = 0;
  for (size_t i = 0; i < l->count; i++) {
    const char *dot = strrchr(l->array[i].name, '.');
    if (!dot || strcmp(dot, ".running_mean") != 0) continue;
    snprintf(name[added], sizeof name[added], "%.*s.num_batches_tracked",
             (int)(dot - l->array[i].name), l->array[i].name);
    tensor[added] = (tg_st_tensor){
        .name = name[added], .dtype = TG_ST_I64, .nd = 0, .data = update, .bytes = sizeof *update};
    added++;
  }
  return added;
}

static tg_status write_export(const loaded *l, const tg_source *source, const char *path) {
  tg_status status = TG_OK;
  char part[1200];
  size_t n = l->count;
  tg_st_tensor *tensor = calloc(2 * n + 1, sizeof *tensor);
  char(*names)[160] = calloc(n + 1, sizeof *names);
  int64_t update = (int64_t)l->update;
  if (!tensor || !names) TG_DO(tg_status_set(TG_ERUNTIME, "no memory for %zu arrays", n));
  for (size_t i = 0; i < n; i++) {
    const tg_ckpt_array *a = &l->array[i];
    tensor[i] = (tg_st_tensor){.name = a->name, .dtype = a->dtype, .nd = a->nd, .data = a->data};
    memcpy(tensor[i].dim, a->dim, sizeof a->dim);
    tensor[i].bytes = sizeof(float);
    for (int d = 0; d < a->nd; d++) tensor[i].bytes *= (size_t)a->dim[d];
  }
  n += add_tracked(tensor + n, l, names, &update);
  const char *const metadata[][2] = {{"format", "pt"}, {"model", source->config->model_name}};
  snprintf(part, sizeof part, "%s.part", path);
  status = tg_safetensors_write(part, tensor, n, metadata, 2, NULL, NULL);
  if (status == TG_OK && rename(part, path) != 0)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", path, strerror(errno));
  if (status != TG_OK) unlink(part);
done:
  free(tensor);
  free(names);
  return status;
}

tg_status tg_export(const tg_source *source, const char *path) {
  loaded l;
  tg_status status = load(source, &l);
  if (status == TG_OK) status = write_export(&l, source, path);
  unload(&l);
  return status;
}
