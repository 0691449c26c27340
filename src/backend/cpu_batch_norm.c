/* cpu_batch_norm.c - batch norm, with the addition and the ReLU behind it: what is prepared, and
 * where things lie. The loops are in cpu_norm.c. */
#include <omp.h>
#include <stdlib.h>

#include "backend/cpu_norm.h"
#include "tardigrad/ops.h"

typedef struct batch_norm {
  tg_cpu_norm norm;
  dnnl_memory_desc_t layout;     /* of y: x's, with y's type */
  size_t channel_bytes;          /* the workspace: mean, then deviation */
  tg_cpu_call copy_in, copy_out; /* of the addend and its gradient, if laid out in another way */
  size_t copy_offset;            /* of the copy in scratch */
} batch_norm;

static tg_status prepare_addend(tg_exec *e, batch_norm *b) {
  dnnl_memory_desc_t addend;
  tg_cpu_desc(e->x[1], &addend);
  TG_TRY(tg_cpu_copy_create(&b->copy_in, e->device, &addend, &b->layout));
  if (!tg_cpu_copy_needed(&b->copy_in)) return TG_OK;
  TG_TRY(tg_cpu_copy_create(&b->copy_out, e->device, &b->layout, &addend));
  tg_cpu_need_scratch(e, b->copy_in.scratch_bytes);
  tg_cpu_need_scratch(e, b->copy_out.scratch_bytes);
  b->copy_offset = (e->scratch_bytes + 63) & ~(size_t)63;
  e->scratch_bytes = b->copy_offset + tg_cpu_bytes(&b->layout);
  return TG_OK;
}

/* Where a gradient may be written over dy: the addend's, which is dy masked; else x's. */
static void prepare_aliases(tg_exec *e, const batch_norm *b) {
  if (!e->fuse_add || !e->needs_dx[1])
    e->dx_alias[0] = e->x[0]->dtype == e->y->dtype ? TG_ALIAS_OVER_DY : TG_ALIAS_NONE;
  else if (!tg_cpu_copy_needed(&b->copy_in))
    e->dx_alias[1] = TG_ALIAS_OVER_DY;
}

static tg_status prepare(tg_exec *e) {
  const tg_batch_norm_attr *a = e->node->attr;
  batch_norm *b = calloc(1, sizeof *b);
  if (!b) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = b;
  tg_cpu_desc(e->x[0], &b->layout);
  tg_cpu_norm *n = &b->norm;
  if (!tg_lane_walk_create(&b->layout, &n->walk))
    TG_FAIL(TG_ERUNTIME, "%s: input %s is in a format that batch norm has no loop for",
            e->node->name, e->node->in[0]->name);
  n->x_type = e->x[0]->dtype;
  n->y_type = e->y->dtype;
  n->relu = e->fuse_relu;
  n->threads = omp_get_max_threads();
  n->count = (int64_t)tg_shape_count(&e->y->shape) / n->walk.channels;
  /* The unbiased variance of one number does not exist; PyTorch refuses it too. */
  if (e->train && n->count < 2)
    TG_FAIL(TG_ECONFIG, "%s: one number per channel has no variance to train with", e->node->name);
  n->epsilon = a->epsilon;
  b->layout.data_type = tg_cpu_dtype(e->y->dtype);
  tg_cpu_place(e->y, &b->layout);
  e->scratch_bytes = tg_cpu_norm_scratch(n);
  if (e->fuse_add) TG_TRY(prepare_addend(e, b));
  if (!e->train) return TG_OK;
  b->channel_bytes = ((size_t)n->walk.channels * sizeof(float) + 63) & ~(size_t)63;
  e->workspace_bytes = 2 * b->channel_bytes;
  e->keep_x[0] = true;
  e->keep_y = e->fuse_add && e->fuse_relu; /* else the ReLU's mask follows from x */
  prepare_aliases(e, b);
  return TG_OK;
}

static tg_cpu_norm_args arguments(const tg_exec *e) {
  const batch_norm *b = e->state;
  const tg_device *d = e->device;
  char *workspace = tg_cpu_host(d, e->workspace);
  return (tg_cpu_norm_args){.x = tg_cpu_host(d, e->x[0]->data),
                            .gamma = tg_cpu_host(d, e->w[0]),
                            .beta = tg_cpu_host(d, e->w[1]),
                            .mean = (float *)workspace,
                            .deviation = (float *)(workspace + b->channel_bytes),
                            .scratch = tg_cpu_host(d, e->scratch)};
}

static char *copy_place(const tg_exec *e, const batch_norm *b) {
  return (char *)e->scratch + b->copy_offset;
}

static tg_status forward(tg_exec *e) {
  batch_norm *b = e->state;
  tg_cpu_norm_args a = arguments(e);
  a.y = tg_cpu_host(e->device, e->y->data);
  if (e->fuse_add) {
    a.addend = e->x[1]->data;
    if (tg_cpu_copy_needed(&b->copy_in)) {
      TG_TRY(tg_cpu_copy_run(&b->copy_in, a.addend, copy_place(e, b), e->scratch));
      a.addend = copy_place(e, b);
    }
    a.addend = tg_cpu_host(e->device, a.addend);
  }
  for (int i = 0; i < 2; i++) {
    if (e->train)
      a.batch_stat[i] = tg_cpu_host(e->device, e->batch_stat[i]);
    else
      a.running[i] = tg_cpu_host(e->device, e->running[i]);
  }
  tg_cpu_norm_forward(&b->norm, &a);
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  batch_norm *b = e->state;
  tg_cpu_norm_args a = arguments(e);
  a.dy = tg_cpu_host(e->device, e->dy);
  a.dy_too = tg_cpu_host(e->device, e->dy_too);
  a.dx = tg_cpu_host(e->device, e->dx[0]);
  a.dgamma = tg_cpu_host(e->device, e->dw[0]);
  a.dbeta = tg_cpu_host(e->device, e->dw[1]);
  if (e->keep_y) a.y_was = tg_cpu_host(e->device, e->y->data);
  bool copied = e->dx[1] && tg_cpu_copy_needed(&b->copy_out);
  if (e->fuse_add) a.d_addend = tg_cpu_host(e->device, copied ? copy_place(e, b) : e->dx[1]);
  tg_cpu_norm_backward(&b->norm, &a);
  return copied ? tg_cpu_copy_run(&b->copy_out, copy_place(e, b), e->dx[1], e->scratch) : TG_OK;
}

static void destroy(tg_exec *e) {
  batch_norm *b = e->state;
  if (!b) return;
  tg_cpu_call_destroy(&b->copy_in);
  tg_cpu_call_destroy(&b->copy_out);
  free(b);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_batch_norm = {.fuses_relu = true,
                                            .fuses_add = true,
                                            .sums_dy = true,
                                            .prepare = prepare,
                                            .forward = forward,
                                            .backward = backward,
                                            .destroy = destroy};
