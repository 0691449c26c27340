/* cpu_call.c - layouts, and oneDNN primitives with their arguments. */
#include "backend/cpu.h"

#include <stdlib.h>

static const char *dnnl_words(dnnl_status_t status) {
  switch (status) {
  case dnnl_success:
    return "success";
  case dnnl_out_of_memory:
    return "out of memory";
  case dnnl_invalid_arguments:
    return "invalid arguments";
  case dnnl_unimplemented:
    return "not implemented for this case";
  default:
    return "run-time error";
  }
}

tg_status tg_cpu_check(dnnl_status_t status, const char *what, const tg_node *node) {
  if (status == dnnl_success) return TG_OK;
  TG_FAIL(TG_ERUNTIME, "oneDNN: %s%s%s: %s", node ? node->name : "", node ? ": " : "", what,
          dnnl_words(status));
}

/* ---- layouts ---- */

dnnl_data_type_t tg_cpu_dtype(tg_dtype dtype) {
  return dtype == TG_F32 ? dnnl_f32 : dtype == TG_BF16 ? dnnl_bf16 : dnnl_s32;
}

void tg_cpu_plain_desc(const tg_shape *shape, tg_dtype dtype, dnnl_memory_desc_t *out) {
  int nd = shape->nd > 0 ? shape->nd : 1; /* oneDNN has no scalars */
  dnnl_dims_t dims = {1}, strides = {1};
  for (int i = 0; i < shape->nd; i++) dims[i] = shape->dim[i];
  strides[nd - 1] = 1;
  for (int i = nd - 1; i > 0; i--) strides[i - 1] = strides[i] * dims[i];
  dnnl_memory_desc_init_by_strides(out, nd, dims, tg_cpu_dtype(dtype), strides);
}

void tg_cpu_any_desc(const tg_shape *shape, tg_dtype dtype, dnnl_memory_desc_t *out) {
  dnnl_dims_t dims = {1};
  for (int i = 0; i < shape->nd; i++) dims[i] = shape->dim[i];
  dnnl_memory_desc_init_by_tag(out, shape->nd > 0 ? shape->nd : 1, dims, tg_cpu_dtype(dtype),
                               dnnl_format_tag_any);
}

void tg_cpu_desc(const tg_tensor *t, dnnl_memory_desc_t *out) {
  if (t->layout)
    memcpy(out, t->layout, sizeof *out);
  else
    tg_cpu_plain_desc(&t->shape, t->dtype, out);
}

bool tg_cpu_is_plain(const dnnl_memory_desc_t *desc) {
  const dnnl_blocking_desc_t *b = &desc->format_desc.blocking;
  if (desc->format_kind != dnnl_blocked || desc->offset0 != 0 || b->inner_nblks > 1) return false;
  int blocked = b->inner_nblks == 1 ? (int)b->inner_idxs[0] : -1;
  dnnl_dim_t stride = 1;
  for (int i = desc->ndims - 1; i >= 0; i--) {
    if (desc->padded_dims[i] != desc->dims[i]) return false;
    /* A block is in its place if nothing lies between it and the rest of its dimension. */
    if (i == blocked) {
      if (stride != 1 || b->strides[i] != b->inner_blks[0]) return false;
    } else if (desc->dims[i] != 1 && b->strides[i] != stride) {
      return false;
    }
    stride *= desc->dims[i];
  }
  return true;
}

void tg_cpu_place(tg_tensor *t, const dnnl_memory_desc_t *desc) {
  t->layout = tg_cpu_is_plain(desc) ? NULL : (void *)desc;
  t->bytes = dnnl_memory_desc_get_size(desc);
}

void tg_cpu_place_plain(tg_tensor *t) {
  t->layout = NULL;
  t->bytes = tg_shape_count(&t->shape) * tg_dtype_bytes(t->dtype);
}

/* ---- primitives ---- */

tg_status tg_cpu_primitive_desc(const tg_exec *e, const void *op_desc, dnnl_primitive_attr_t attr,
                                const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out) {
  dnnl_primitive_attr_t own = NULL;
  if (!attr) {
    TG_TRY(tg_cpu_check(dnnl_primitive_attr_create(&own), "attributes", NULL));
    attr = own;
  }
  dnnl_status_t s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  if (s == dnnl_success)
    s = dnnl_primitive_desc_create(out, op_desc, attr, tg_cpu(e->device)->engine, hint);
  if (own) dnnl_primitive_attr_destroy(own);
  return tg_cpu_check(s, "no primitive", e->node);
}

const dnnl_memory_desc_t *tg_cpu_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                                       int index) {
  return dnnl_primitive_desc_query_md(pd, what, index);
}

static void need_inner(tg_cpu_call *call, size_t bytes) {
  if (bytes <= call->inner_bytes) return;
  call->scratch_bytes += bytes - call->inner_bytes;
  call->inner_bytes = bytes;
}

tg_status tg_cpu_call_create(tg_cpu_call *call, tg_device *d, dnnl_primitive_desc_t pd) {
  tg_status status = TG_OK;
  call->device = d;
  TG_DO(tg_cpu_check(dnnl_primitive_create(&call->primitive, pd), "primitive", NULL));
  const dnnl_memory_desc_t *scratch = tg_cpu_query(pd, dnnl_query_scratchpad_md, 0);
  size_t bytes = tg_cpu_bytes(scratch);
  need_inner(call, bytes);
  if (bytes > 0) TG_DO(tg_cpu_call_arg(call, DNNL_ARG_SCRATCHPAD, scratch));
done:
  dnnl_primitive_desc_destroy(pd);
  return status;
}

tg_status tg_cpu_call_arg(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *desc) {
  if (call->count == TG_CPU_MAX_ARGS) TG_FAIL(TG_ERUNTIME, "oneDNN: too many arguments");
  dnnl_exec_arg_t *a = &call->arg[call->count];
  TG_TRY(tg_cpu_check(
      dnnl_memory_create(&a->memory, desc, tg_cpu(call->device)->engine, DNNL_MEMORY_NONE),
      "memory object", NULL));
  a->arg = arg;
  call->count++;
  return TG_OK;
}

/* The way round by scratch of one argument. */
struct tg_cpu_detour {
  tg_cpu_call copy;
  bool out;
  size_t offset;       /* of the copy, behind the inner scratch */
  const void *pointer; /* the owner's memory, device */
};

static tg_status add_arg(tg_cpu_call *call, int arg, bool out, const dnnl_memory_desc_t *have,
                         const dnnl_memory_desc_t *want) {
  TG_TRY(tg_cpu_call_arg(call, arg, want));
  struct tg_cpu_detour *d = calloc(1, sizeof *d);
  if (!d) TG_FAIL(TG_ERUNTIME, "no memory for a kernel");
  call->detour[call->count - 1] = d;
  d->out = out;
  TG_TRY(tg_cpu_copy_create(&d->copy, call->device, out ? want : have, out ? have : want));
  if (!tg_cpu_copy_needed(&d->copy)) {
    call->detour[call->count - 1] = NULL;
    free(d);
    return TG_OK;
  }
  d->offset = call->scratch_bytes - call->inner_bytes;
  call->scratch_bytes += tg_cpu_bytes(want);
  need_inner(call, d->copy.scratch_bytes);
  return TG_OK;
}

tg_status tg_cpu_call_in(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *have,
                         const dnnl_memory_desc_t *want) {
  return add_arg(call, arg, false, have, want);
}

tg_status tg_cpu_call_out(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *have,
                          const dnnl_memory_desc_t *want) {
  return add_arg(call, arg, true, have, want);
}

static void bind(tg_cpu_call *call, int i, const void *p) {
  dnnl_memory_set_data_handle_v2(call->arg[i].memory, tg_cpu_host(call->device, p),
                                 tg_cpu(call->device)->stream);
}

void tg_cpu_call_bind(tg_cpu_call *call, int arg, const void *p) {
  for (int i = 0; i < call->count; i++) {
    if (call->arg[i].arg != arg) continue;
    if (call->detour[i])
      call->detour[i]->pointer = p;
    else
      bind(call, i, p);
  }
}

tg_status tg_cpu_call_run(tg_cpu_call *call, void *scratch) {
  char *copies = (char *)scratch + call->inner_bytes;
  tg_cpu_call_bind(call, DNNL_ARG_SCRATCHPAD, scratch);
  for (int i = 0; i < call->count; i++) {
    struct tg_cpu_detour *d = call->detour[i];
    if (!d) continue;
    bind(call, i, copies + d->offset);
    if (!d->out) TG_TRY(tg_cpu_copy_run(&d->copy, d->pointer, copies + d->offset, scratch));
  }
  TG_TRY(tg_cpu_check(
      dnnl_primitive_execute(call->primitive, tg_cpu(call->device)->stream, call->count, call->arg),
      "execution", NULL));
  for (int i = 0; i < call->count; i++) {
    struct tg_cpu_detour *d = call->detour[i];
    if (d && d->out)
      TG_TRY(tg_cpu_copy_run(&d->copy, copies + d->offset, (void *)d->pointer, scratch));
  }
  return TG_OK;
}

void tg_cpu_call_destroy(tg_cpu_call *call) {
  for (int i = 0; i < call->count; i++) {
    dnnl_memory_destroy(call->arg[i].memory);
    if (call->detour[i]) tg_cpu_call_destroy(&call->detour[i]->copy);
    free(call->detour[i]);
  }
  if (call->primitive) dnnl_primitive_destroy(call->primitive);
  memset(call, 0, sizeof *call);
}

tg_status tg_cpu_copy_create(tg_cpu_call *copy, tg_device *d, const dnnl_memory_desc_t *from,
                             const dnnl_memory_desc_t *to) {
  bool same_type = from->data_type == to->data_type;
  if (dnnl_memory_desc_equal(from, to)) return TG_OK;
  if (same_type && tg_cpu_is_plain(from) && tg_cpu_is_plain(to)) return TG_OK;
  tg_status status = TG_OK;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  dnnl_engine_t engine = tg_cpu(d)->engine;
  TG_DO(tg_cpu_check(dnnl_primitive_attr_create(&attr), "attributes", NULL));
  TG_DO(tg_cpu_check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
                     "attributes", NULL));
  TG_DO(tg_cpu_check(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, attr),
                     "no reorder", NULL));
  TG_DO(tg_cpu_call_create(copy, d, pd));
  TG_DO(tg_cpu_call_arg(copy, DNNL_ARG_FROM, from));
  TG_DO(tg_cpu_call_arg(copy, DNNL_ARG_TO, to));
done:
  if (attr) dnnl_primitive_attr_destroy(attr);
  return status;
}

tg_status tg_cpu_copy_run(tg_cpu_call *copy, const void *from, void *to, void *scratch) {
  tg_cpu_call_bind(copy, DNNL_ARG_FROM, from);
  tg_cpu_call_bind(copy, DNNL_ARG_TO, to);
  return tg_cpu_call_run(copy, scratch);
}
