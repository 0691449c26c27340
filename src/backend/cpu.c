#include "backend/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "tardigrad/arena.h"
#include "tardigrad/log.h"

const tg_kernel *const tg_cpu_kernels[TG_OP_COUNT] = {
#define TG_OP(name) &tg_cpu_kernel_##name,
#include "tardigrad/ops.def"
#undef TG_OP
};

static const char *isa_name(void) {
  switch (dnnl_get_effective_cpu_isa()) {
  case dnnl_cpu_isa_sse41:
    return "SSE4.1";
  case dnnl_cpu_isa_avx:
    return "AVX";
  case dnnl_cpu_isa_avx2:
  case dnnl_cpu_isa_avx2_vnni:
    return "AVX2";
  case dnnl_cpu_isa_avx512_core:
  case dnnl_cpu_isa_avx512_core_vnni:
    return "AVX-512";
  case dnnl_cpu_isa_avx512_core_bf16:
    return "AVX-512 with bf16";
  case dnnl_cpu_isa_avx512_core_amx:
    return "AVX-512 with bf16, AMX";
  default:
    return "unknown instruction set";
  }
}

static bool has_isa(dnnl_cpu_isa_t isa) {
  return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}

/* oneDNN computes with bf16 from AVX-512 on, and fast where there are instructions for it. */
tg_dtype tg_cpu_precision(tg_device *device, tg_dtype wanted) {
  tg_cpu_device *d = (tg_cpu_device *)device;
  if (wanted != TG_BF16 || has_isa(dnnl_cpu_isa_avx512_core_bf16)) return wanted;
  bool emulated = has_isa(dnnl_cpu_isa_avx512_core);
  if (!d->warned)
    tg_warn(emulated ? "bf16: this processor (%s) has no instructions for it; slower than fp32"
                     : "bf16: oneDNN cannot compute with it on this processor (%s); using fp32",
            isa_name());
  d->warned = true;
  return emulated ? TG_BF16 : TG_F32;
}

static void describe(tg_cpu_device *d) {
  const dnnl_version_t *v = dnnl_version();
  snprintf(d->description, sizeof d->description, "%s: %s, %d threads, oneDNN %d.%d.%d",
           d->base.backend->name, isa_name(), omp_get_max_threads(), v->major, v->minor, v->patch);
}

tg_status tg_cpu_open_masked(const tg_backend *self, uintptr_t mask, const tg_device_options *o,
                             tg_device **out) {
  tg_status status = TG_OK;
  tg_cpu_device *d = calloc(1, sizeof *d);
  if (!d) TG_FAIL(TG_ERUNTIME, "no memory for device %s", self->name);
  d->base.backend = self;
  d->base.address_mask = mask;
  TG_DO(tg_cpu_check(dnnl_engine_create(&d->engine, dnnl_cpu, 0), "engine", NULL));
  TG_DO(tg_cpu_check(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags), "stream",
                     NULL));
  describe(d);
  if (o->tf32) tg_warn("device %s has no TF32: products are computed in float32", self->name);
  *out = &d->base;
  return TG_OK;
done:
  tg_cpu_close(&d->base);
  return status;
}

static tg_status cpu_open(const tg_backend *self, const tg_device_options *o, tg_device **out) {
  return tg_cpu_open_masked(self, UINTPTR_MAX, o, out);
}

void tg_cpu_close(tg_device *device) {
  tg_cpu_device *d = (tg_cpu_device *)device;
  if (!d) return;
  dnnl_stream_destroy(d->stream);
  dnnl_engine_destroy(d->engine);
  free(d);
}

const char *tg_cpu_describe(tg_device *d) {
  return tg_cpu(d)->description;
}

tg_status tg_cpu_alloc(tg_device *d, size_t bytes, void **out) {
  *out = tg_alloc_aligned(bytes);
  if (!*out) TG_FAIL(TG_ERUNTIME, "%s: no memory for %zu bytes", d->backend->name, bytes);
  return TG_OK;
}

void tg_cpu_free(tg_device *d, void *p) {
  free(tg_cpu_host(d, p));
}

tg_status tg_cpu_to_device(tg_device *d, void *dst, const void *src, size_t bytes) {
  memcpy(tg_cpu_host(d, dst), src, bytes);
  return TG_OK;
}

tg_status tg_cpu_to_host(tg_device *d, void *dst, const void *src, size_t bytes) {
  memcpy(dst, tg_cpu_host(d, src), bytes);
  return TG_OK;
}

tg_status tg_cpu_copy(tg_device *d, void *dst, const void *src, size_t bytes) {
  memcpy(tg_cpu_host(d, dst), tg_cpu_host(d, src), bytes);
  return TG_OK;
}

tg_status tg_cpu_zero(tg_device *d, void *dst, size_t bytes) {
  memset(tg_cpu_host(d, dst), 0, bytes);
  return TG_OK;
}

static float *host_floats(const tg_device *d, const float *p) {
  return tg_cpu_host(d, p);
}

static tg_update in_host_memory(const tg_device *d, const tg_update *u) {
  tg_update here = *u;
  here.w = host_floats(d, u->w);
  here.w_bak = host_floats(d, u->w_bak);
  here.bak_out = host_floats(d, u->bak_out);
  here.rule_state = host_floats(d, u->rule_state);
  for (int i = 0; i < TG_MAX_SLOTS; i++) here.slot[i] = host_floats(d, u->slot[i]);
  return here;
}

tg_status tg_cpu_update(tg_device *d, const tg_update *u, tg_span span, float *g,
                        tg_update_sums *sums) {
  tg_update here = in_host_memory(d, u);
  tg_update_sums nobody_asks = {0};
  tg_update_apply(&here, span, host_floats(d, g), sums ? tg_cpu_host(d, sums) : &nobody_asks);
  return TG_OK;
}

/* ---- optimisers in path space ---- */

typedef struct whole_model {
  tg_layout layout;
  size_t n;
} whole_model;

tg_status tg_cpu_whole_open(tg_device *d, const tg_update *u, const tg_layout *layout, size_t n,
                            void **out) {
  if (!u->optimizer->path_step)
    TG_FAIL(TG_ECONFIG, "device %s has no kernel for optimizer %s: set server.device=cpu",
            d->backend->name, u->optimizer->name);
  whole_model *w = malloc(sizeof *w);
  if (!w) TG_FAIL(TG_ERUNTIME, "%s: no memory", d->backend->name);
  *w = (whole_model){*layout, n};
  *out = w;
  return TG_OK;
}

void tg_cpu_whole_close(tg_device *d, void *whole) {
  (void)d;
  free(whole);
}

tg_status tg_cpu_update_whole(tg_device *d, void *whole, const tg_update *u, float *g,
                              tg_update_sums *sums) {
  const whole_model *w = whole;
  tg_update here = in_host_memory(d, u);
  tg_update_sums nobody_asks = {0};
  return tg_update_whole(&here, &w->layout, w->n, host_floats(d, g),
                         sums ? tg_cpu_host(d, sums) : &nobody_asks);
}

/* ---- whole vectors ---- */

tg_status tg_cpu_scale(tg_device *d, size_t n, float *x, float factor) {
  tg_scale(n, host_floats(d, x), factor);
  return TG_OK;
}

tg_status tg_cpu_square_sum(tg_device *d, size_t n, const float *x, double *out) {
  *out = tg_square_sum(n, host_floats(d, x));
  return TG_OK;
}

tg_status tg_cpu_sync(tg_device *d) {
  return tg_cpu_check(dnnl_stream_wait(tg_cpu(d)->stream), "synchronisation", NULL);
}

tg_status tg_cpu_add_f32(tg_device *d, size_t n, float *dst, const float *src) {
  float *a = tg_cpu_host(d, dst);
  const float *b = tg_cpu_host(d, src);
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; i++) a[i] += b[i];
  return TG_OK;
}

static void add_bf16(size_t n, uint16_t *a, const uint16_t *b) {
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; i++) a[i] = tg_f32_to_bf16(tg_bf16_to_f32(a[i]) + tg_bf16_to_f32(b[i]));
}

/* Whatever the layout: both are laid out alike, and padding is zero in both. */
tg_status tg_cpu_add(tg_device *d, const tg_tensor *like, void *dst, const void *src) {
  size_t n = like->bytes / tg_dtype_bytes(like->dtype);
  if (like->dtype == TG_F32) return tg_cpu_add_f32(d, n, dst, src);
  add_bf16(n, tg_cpu_host(d, dst), tg_cpu_host(d, src));
  return TG_OK;
}

/* Reading is for people and tests, never in a training step: it may create a primitive. */
tg_status tg_cpu_read(tg_device *d, const tg_tensor *t, float *host) {
  if (t->dtype == TG_I32) TG_FAIL(TG_ERUNTIME, "labels cannot be read as numbers");
  tg_status status = TG_OK;
  tg_cpu_call copy = {0};
  dnnl_memory_desc_t from, to;
  void *scratch = NULL;
  tg_cpu_desc(t, &from);
  tg_cpu_plain_desc(&t->shape, TG_F32, &to);
  TG_DO(tg_cpu_copy_create(&copy, d, &from, &to));
  if (!tg_cpu_copy_needed(&copy)) {
    memcpy(host, tg_cpu_host(d, t->data), dnnl_memory_desc_get_size(&to));
    goto done;
  }
  TG_DO(tg_cpu_alloc(d, copy.scratch_bytes, &scratch));
  TG_DO(tg_cpu_copy_run(&copy, t->data, host, scratch));
  TG_DO(tg_cpu_sync(d));
done:
  free(scratch);
  tg_cpu_call_destroy(&copy);
  return status;
}

const tg_backend tg_backend_cpu = {.name = "cpu",
                                   .help = "this machine's processors: oneDNN and OpenBLAS",
                                   .host_memory = true,
                                   .open = cpu_open,
                                   .close = tg_cpu_close,
                                   .alloc = tg_cpu_alloc,
                                   .free = tg_cpu_free,
                                   .to_device = tg_cpu_to_device,
                                   .to_host = tg_cpu_to_host,
                                   .sync = tg_cpu_sync,
                                   .copy = tg_cpu_copy,
                                   .zero = tg_cpu_zero,
                                   .update = tg_cpu_update,
                                   .whole_open = tg_cpu_whole_open,
                                   .whole_close = tg_cpu_whole_close,
                                   .update_whole = tg_cpu_update_whole,
                                   .scale = tg_cpu_scale,
                                   .square_sum = tg_cpu_square_sum,
                                   .to_host_later = tg_cpu_to_host,
                                   .square_sum_later = tg_cpu_square_sum,
                                   .add = tg_cpu_add,
                                   .add_f32 = tg_cpu_add_f32,
                                   .read = tg_cpu_read,
                                   .precision = tg_cpu_precision,
                                   .kernel = tg_cpu_kernels,
                                   .describe = tg_cpu_describe,
                                   .preference = 1};
