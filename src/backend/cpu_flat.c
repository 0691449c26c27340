#include "backend/cpu_flat.h"

tg_status tg_cpu_flat_create(tg_cpu_flat *f, tg_exec *e, const tg_tensor *t) {
  dnnl_memory_desc_t own, plain;
  tg_cpu_desc(t, &own);
  tg_cpu_plain_desc(&t->shape, TG_F32, &plain);
  TG_TRY(tg_cpu_copy_create(&f->in, e->device, &own, &plain));
  TG_TRY(tg_cpu_copy_create(&f->out, e->device, &plain, &own));
  f->copied = tg_cpu_copy_needed(&f->in);
  if (!f->copied) return TG_OK;
  size_t inner =
      f->in.scratch_bytes > f->out.scratch_bytes ? f->in.scratch_bytes : f->out.scratch_bytes;
  f->at = (e->scratch_bytes + 63) & ~(size_t)63;
  f->inner = f->at + tg_cpu_bytes(&plain);
  tg_cpu_need_scratch(e, f->inner + inner);
  return TG_OK;
}

static void *in_scratch(const tg_exec *e, size_t at) {
  return (char *)e->scratch + at;
}

tg_status tg_cpu_flat_read(tg_cpu_flat *f, const tg_exec *e, const void *data, const float **out) {
  *out = tg_cpu_flat_target(f, e, (void *)data);
  if (!f->copied) return TG_OK;
  return tg_cpu_copy_run(&f->in, data, in_scratch(e, f->at), in_scratch(e, f->inner));
}

float *tg_cpu_flat_target(const tg_cpu_flat *f, const tg_exec *e, void *data) {
  return tg_cpu_host(e->device, f->copied ? in_scratch(e, f->at) : data);
}

tg_status tg_cpu_flat_write(tg_cpu_flat *f, const tg_exec *e, void *data) {
  if (!f->copied) return TG_OK;
  return tg_cpu_copy_run(&f->out, in_scratch(e, f->at), data, in_scratch(e, f->inner));
}

void tg_cpu_flat_destroy(tg_cpu_flat *f) {
  tg_cpu_call_destroy(&f->in);
  tg_cpu_call_destroy(&f->out);
}
