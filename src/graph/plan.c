/* plan.c - a graph prepared for one device, and its forward and backward walk. */
#include "tardigrad/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan_private.h"

static tg_status allocate(tg_plan *p) {
  size_t n = (size_t)p->count + 1;
  p->exec = calloc(n, sizeof *p->exec);
  p->step = calloc(n, sizeof *p->step);
  p->root = malloc(n * sizeof *p->root);
  p->tensor = calloc(n, sizeof *p->tensor);
  p->data = malloc(n * sizeof *p->data);
  p->grad = malloc(n * sizeof *p->grad);
  p->grad_too = malloc(n * sizeof *p->grad_too);
  p->grad_shared = calloc(n, sizeof *p->grad_shared);
  p->param_done = calloc((size_t)p->graph->param_count + 1, sizeof *p->param_done);
  p->final_from = calloc(n, sizeof *p->final_from);
  if (!p->exec || !p->step || !p->root || !p->tensor || !p->data || !p->grad || !p->grad_too ||
      !p->grad_shared || !p->param_done || !p->final_from)
    TG_FAIL(TG_ERUNTIME, "no memory for a plan of %d nodes", p->count);
  for (int i = 0; i < p->count; i++) {
    tg_step *s = &p->step[i];
    p->root[i] = i;
    p->data[i] = p->grad[i] = p->grad_too[i] = TG_NO_BUFFER;
    s->workspace = s->dy = s->dy_too = s->result = TG_NO_BUFFER;
    for (int j = 0; j < TG_MAX_INPUTS; j++) s->dx[j] = s->sum[j].dst = s->sum[j].src = TG_NO_BUFFER;
    for (int j = 0; j < TG_MAX_PARAMS; j++) s->dw_aside[j] = TG_NO_BUFFER;
  }
  return TG_OK;
}

static tg_dtype dtype_of(const tg_plan *p, const tg_value *value) {
  if (value->labels) return TG_I32;
  return value->keep_f32 ? TG_F32 : p->options.precision;
}

static tg_status prepare(tg_plan *p, int i) {
  tg_exec *e = &p->exec[i];
  const tg_node *node = e->node;
  const tg_kernel *kernel = tg_plan_kernel(p, node);
  if (!kernel)
    TG_FAIL(TG_ECONFIG, "%s: device %s has no kernel for op %s", node->name,
            p->device->backend->name, node->op->name);
  for (int j = 0; j < tg_plan_input_count(p, i); j++) {
    const tg_value *in = tg_plan_input(p, i, j);
    e->x[j] = &p->tensor[tg_plan_root(p, in)];
    e->needs_dx[j] = p->options.train && in->needs_grad;
  }
  e->y = &p->tensor[i];
  *e->y = (tg_tensor){.shape = node->out->shape, .dtype = dtype_of(p, node->out)};
  e->y->bytes = tg_shape_count(&e->y->shape) * tg_dtype_bytes(e->y->dtype);
  p->step[i].prepared = true; /* destroy() must see a half prepared one too */
  TG_TRY(kernel->prepare(e));
  if (e->scratch_bytes > p->scratch_bytes) p->scratch_bytes = e->scratch_bytes;
  return TG_OK;
}

/* The node whose backward pass is the last to touch a parameter's gradient; count: none does. */
static int last_writer(const tg_plan *p, const tg_param *param) {
  for (int i = 0; i < p->count; i++)
    for (int j = 0; p->step[i].backward && j < p->exec[i].node->param_count; j++)
      if (p->exec[i].node->param[j] == param) return i;
  return p->count;
}

/* Parameters lie in the order of the forward pass, so that g is final from its end on. */
static void find_final(tg_plan *p) {
  int left = p->graph->param_count;
  size_t from = p->graph->n;
  for (int i = p->count - 1; i >= 0; i--) {
    while (left > 0 && last_writer(p, p->graph->param[left - 1]) >= i)
      from = p->graph->param[--left]->offset;
    p->final_from[i] = from;
  }
}

static tg_status build(tg_plan *p) {
  TG_TRY(allocate(p));
  for (int i = 0; i < p->count; i++) {
    p->exec[i].node = p->graph->node[i];
    p->exec[i].device = p->device;
    p->exec[i].train = p->options.train;
  }
  tg_plan_fold(p);
  for (int i = 0; i < p->count; i++)
    if (!p->step[i].folded) TG_TRY(prepare(p, i));
  TG_TRY(tg_plan_lifetimes(p));
  find_final(p);
  return tg_plan_offsets(p);
}

tg_status tg_plan_create(const tg_graph *g, tg_device *device, const tg_plan_options *options,
                         tg_plan **out) {
  TG_TRY(tg_graph_status(g));
  tg_plan *p = calloc(1, sizeof *p);
  if (!p) TG_FAIL(TG_ERUNTIME, "no memory for a plan");
  p->graph = g;
  p->device = device;
  p->options = *options;
  if (device->backend->precision)
    p->options.precision = device->backend->precision(device, options->precision);
  p->count = g->node_count;
  tg_status status = build(p);
  if (status != TG_OK) {
    tg_plan_destroy(p);
    return status;
  }
  *out = p;
  return TG_OK;
}

/* A record holds addresses. */
static void forget(tg_plan *p) {
  if (p->record) p->device->backend->forget(p->device, p->record);
  p->record = NULL;
}

void tg_plan_destroy(tg_plan *p) {
  if (!p) return;
  for (int i = 0; p->exec && p->step && i < p->count; i++) {
    if (!p->step[i].prepared) continue;
    const tg_kernel *kernel = tg_plan_kernel(p, p->exec[i].node);
    if (kernel->destroy) kernel->destroy(&p->exec[i]);
  }
  forget(p);
  free(p->exec);
  free(p->step);
  free(p->root);
  free(p->tensor);
  free(p->data);
  free(p->grad);
  free(p->grad_too);
  free(p->grad_shared);
  free(p->param_done);
  free(p->final_from);
  free(p->buffer);
  free(p);
}

size_t tg_plan_bytes(const tg_plan *p) {
  return p->block_bytes;
}

size_t tg_plan_unshared_bytes(const tg_plan *p) {
  size_t bytes = 0;
  for (int i = 0; i < p->buffer_count; i++) bytes += p->buffer[i].bytes;
  for (int i = 0; i < p->count; i++) bytes += p->exec[i].scratch_bytes;
  return bytes;
}

static void *at(const tg_plan *p, int buffer) {
  return buffer == TG_NO_BUFFER ? NULL : p->block + p->buffer[buffer].offset;
}

void tg_plan_place(tg_plan *p, void *block) {
  forget(p);
  p->block = block;
  for (int i = 0; i < p->count; i++) {
    if (p->step[i].folded) continue;
    tg_exec *e = &p->exec[i];
    const tg_step *s = &p->step[i];
    e->y->data = at(p, p->data[i]);
    e->workspace = at(p, s->workspace);
    e->scratch = p->block + p->scratch_offset;
    e->result = at(p, s->result);
    e->dy = at(p, s->dy);
    e->dy_too = at(p, s->dy_too);
    for (int j = 0; j < tg_plan_input_count(p, i); j++) e->dx[j] = at(p, s->dx[j]);
  }
}

void tg_plan_bind(tg_plan *p, const float *w, float *g, const float *b, float *s) {
  if (w != p->bound_w || g != p->g || b != p->bound_b || s != p->bound_s) forget(p);
  p->bound_w = w;
  p->bound_b = b;
  p->bound_s = s;
  p->g = g;
  for (int i = 0; i < p->count; i++) {
    tg_exec *e = &p->exec[i];
    for (int j = 0; j < e->node->param_count; j++) {
      const tg_param *param = e->node->param[j];
      float *aside = at(p, p->step[i].dw_aside[j]);
      e->w[j] = w + param->offset;
      e->dw[j] = aside ? aside : g ? g + param->offset : NULL;
    }
    for (int j = 0; j < e->node->stat_count; j++) {
      e->running[j] = b ? b + e->node->stat[j].stat->offset : NULL;
      e->batch_stat[j] = s ? s + e->node->stat[j].s_offset : NULL;
    }
  }
}

static tg_status find(const tg_plan *p, const char *name, int *out) {
  const tg_value *value = tg_graph_value(p->graph, name);
  if (!value) TG_FAIL(TG_ERUNTIME, "the graph has no value named %s", name);
  *out = tg_plan_root(p, value);
  return TG_OK;
}

tg_status tg_plan_write(tg_plan *p, const char *input, const void *host, size_t bytes) {
  int i = 0;
  TG_TRY(find(p, input, &i));
  if (p->graph->node[i]->op->id != TG_OP_input)
    TG_FAIL(TG_ERUNTIME, "value %s is computed, not an input", input);
  if (bytes != p->tensor[i].bytes)
    TG_FAIL(TG_ERUNTIME, "input %s takes %zu bytes, not %zu", input, p->tensor[i].bytes, bytes);
  const tg_backend *backend = p->device->backend;
  if (backend->write) return backend->write(p->device, &p->tensor[i], host);
  return backend->to_device(p->device, p->tensor[i].data, host, bytes);
}

tg_status tg_plan_cut(tg_plan *p, const void *images, const tg_cut *cut, size_t count) {
  int x = 0, y = 0;
  TG_TRY(find(p, "x", &x));
  TG_TRY(find(p, "y", &y));
  if ((int64_t)count != p->tensor[x].shape.dim[0])
    TG_FAIL(TG_ERUNTIME, "input x takes %lld samples, not %zu",
            (long long)p->tensor[x].shape.dim[0], count);
  return p->device->backend->images_cut(p->device, images, cut, count, &p->tensor[x],
                                        &p->tensor[y]);
}

tg_status tg_plan_forward(tg_plan *p) {
  for (int i = 0; i < p->count; i++)
    if (!p->step[i].folded) TG_TRY(tg_plan_kernel(p, p->exec[i].node)->forward(&p->exec[i]));
  return TG_OK;
}

/* Gradients of parameters on which no loss depends. */
static tg_status zero_unused(const tg_plan *p) {
  for (int i = 0; i < p->graph->param_count; i++) {
    const tg_param *param = p->graph->param[i];
    if (!p->param_done[i])
      TG_TRY(
          p->device->backend->zero(p->device, p->g + param->offset, param->count * sizeof(float)));
  }
  return TG_OK;
}

static tg_status node_backward(tg_plan *p, int i) {
  tg_exec *e = &p->exec[i];
  const tg_step *s = &p->step[i];
  const tg_backend *backend = p->device->backend;
  TG_TRY(tg_plan_kernel(p, e->node)->backward(e));
  for (int j = 0; j < tg_plan_input_count(p, i); j++)
    if (s->sum[j].dst != TG_NO_BUFFER)
      TG_TRY(backend->add(p->device, e->x[j], at(p, s->sum[j].dst), at(p, s->sum[j].src)));
  for (int j = 0; j < e->node->param_count; j++)
    if (s->dw_aside[j] != TG_NO_BUFFER)
      TG_TRY(backend->add_f32(p->device, e->node->param[j]->count, p->g + e->node->param[j]->offset,
                              e->dw[j]));
  return TG_OK;
}

tg_status tg_plan_backward(tg_plan *p) {
  if (!p->options.train) TG_FAIL(TG_ERUNTIME, "a plan for evaluation has no backward pass");
  TG_TRY(zero_unused(p));
  size_t told = p->graph->n;
  for (int i = p->count - 1; i >= 0; i--) {
    if (p->step[i].backward) TG_TRY(node_backward(p, i));
    tg_span final = {p->final_from[i], told};
    if (!p->watch || final.hi - final.lo < (i > 0 ? p->piece : 1)) continue;
    TG_TRY(p->watch(p->watcher, final));
    told = final.lo;
  }
  const tg_backend *backend = p->device->backend;
  return p->watch && backend->join ? backend->join(p->device) : TG_OK;
}

void tg_plan_watch(tg_plan *p, size_t piece, tg_gradient_fn *fn, void *self) {
  forget(p);
  p->piece = piece > 0 ? piece : 1;
  p->watch = fn;
  p->watcher = self;
}

static tg_status one_by_one(tg_plan *p) {
  TG_TRY(tg_plan_forward(p));
  return p->options.train ? tg_plan_backward(p) : TG_OK;
}

static tg_status record(tg_plan *p) {
  const tg_backend *backend = p->device->backend;
  void *made = NULL;
  char why[1024] = ""; /* what failed first; the end of a recording says only that something did */
  TG_TRY(backend->record_begin(p->device));
  tg_status status = one_by_one(p);
  if (status != TG_OK) snprintf(why, sizeof why, "%s", tg_status_message());
  tg_status ended = backend->record_end(p->device, &made);
  if (status == TG_OK && ended == TG_OK) p->record = made;
  if (status == TG_OK) return ended;
  if (made) backend->forget(p->device, made);
  return tg_status_set(status, "%s", why);
}

/* The first step is not recorded: libraries set themselves up in it. */
tg_status tg_plan_run(tg_plan *p) {
  const tg_backend *backend = p->device->backend;
  if (!backend->play) return one_by_one(p);
  if (!p->warm) {
    p->warm = true;
    return one_by_one(p);
  }
  if (!p->record) TG_TRY(record(p));
  return backend->play(p->device, p->record);
}

tg_status tg_plan_loss_later(tg_plan *p, const char *loss, tg_loss_result *out) {
  const tg_backend *backend = p->device->backend;
  int i = 0;
  TG_TRY(find(p, loss, &i));
  if (!p->exec[i].result) TG_FAIL(TG_ERUNTIME, "value %s is not a loss", loss);
  return backend->to_host_later(p->device, out, p->exec[i].result, sizeof *out);
}

/* How a device says what the CPU's kernel finds before it starts. */
tg_status tg_plan_loss_check(const char *loss, const tg_loss_result *result) {
  if (result->counted != UINT64_MAX) return TG_OK;
  TG_FAIL(TG_EDATA, "%s: a label is not less than the number of classes", loss);
}

tg_status tg_plan_loss(tg_plan *p, const char *loss, tg_loss_result *out) {
  TG_TRY(tg_plan_loss_later(p, loss, out));
  TG_TRY(p->device->backend->sync(p->device));
  return tg_plan_loss_check(loss, out);
}

tg_status tg_plan_read(tg_plan *p, const char *value, float *host) {
  int i = 0;
  TG_TRY(find(p, value, &i));
  return p->device->backend->read(p->device, &p->tensor[i], host);
}
