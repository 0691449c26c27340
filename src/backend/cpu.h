/* cpu.h - what the CPU kernels share: the oneDNN engine, layouts, primitives with their arguments.
 *
 * A value's layout on this backend is a dnnl_memory_desc_t; tensor->layout == NULL means plain
 * row-major. prepare() creates every primitive and memory object; forward() and backward() only
 * bind pointers and run. All pointers that a kernel is given are device pointers: tg_cpu_host turns
 * them into addresses (the identity on the cpu backend, not on the fake one); tg_cpu_call_bind does
 * so by itself.
 *
 * A kernel is `const tg_kernel tg_cpu_kernel_<op>`; cpu.c collects them from ops.def. */
#ifndef TG_BACKEND_CPU_H
#define TG_BACKEND_CPU_H

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

#include "tardigrad/backend.h"

typedef struct tg_cpu_device {
  tg_device base;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  bool warned; /* of its precision */
  char description[160];
} tg_cpu_device;

#define TG_OP(name) extern const tg_kernel tg_cpu_kernel_##name;
#include "tardigrad/ops.def"
#undef TG_OP
extern const tg_kernel *const tg_cpu_kernels[TG_OP_COUNT];

/* ---- the device; the fake backend is made of these with another address mask ---- */

/* tg_cpu_open_masked - a device whose pointers become addresses by `& mask`. The rows' functions
 * below accept such pointers. */
TG_CHECKED tg_status tg_cpu_open_masked(const tg_backend *self, uintptr_t mask,
                                        const tg_device_options *o, tg_device **out);
void tg_cpu_close(tg_device *d);
tg_status tg_cpu_alloc(tg_device *d, size_t bytes, void **out); /* an address, unmasked */
void tg_cpu_free(tg_device *d, void *p);
tg_status tg_cpu_to_device(tg_device *d, void *dst, const void *src, size_t bytes);
tg_status tg_cpu_to_host(tg_device *d, void *dst, const void *src, size_t bytes);
tg_status tg_cpu_sync(tg_device *d);
tg_status tg_cpu_copy(tg_device *d, void *dst, const void *src, size_t bytes);
tg_status tg_cpu_zero(tg_device *d, void *dst, size_t bytes);
tg_status tg_cpu_update(tg_device *d, const tg_update *u, tg_span span, float *g,
                        tg_update_sums *sums);
tg_status tg_cpu_whole_open(tg_device *d, const tg_update *u, const tg_layout *layout, size_t n,
                            void **out);
void tg_cpu_whole_close(tg_device *d, void *whole);
tg_status tg_cpu_update_whole(tg_device *d, void *whole, const tg_update *u, float *g,
                              tg_update_sums *sums);
tg_status tg_cpu_scale(tg_device *d, size_t n, float *x, float factor);
tg_status tg_cpu_square_sum(tg_device *d, size_t n, const float *x, double *out);
tg_status tg_cpu_add(tg_device *d, const tg_tensor *like, void *dst, const void *src);
tg_status tg_cpu_add_f32(tg_device *d, size_t n, float *dst, const float *src);
tg_status tg_cpu_read(tg_device *d, const tg_tensor *t, float *host);
tg_dtype tg_cpu_precision(tg_device *d, tg_dtype wanted);
const char *tg_cpu_describe(tg_device *d);

static inline const tg_cpu_device *tg_cpu(const tg_device *d) {
  return (const tg_cpu_device *)d;
}

/* tg_cpu_host - the address behind a device pointer; NULL stays NULL. */
static inline void *tg_cpu_host(const tg_device *d, const void *p) {
  return (void *)((uintptr_t)p & d->address_mask);
}

/* ---- layouts ---- */

dnnl_data_type_t tg_cpu_dtype(tg_dtype dtype);
/* tg_cpu_plain_desc - row-major. tg_cpu_any_desc - format left to oneDNN. */
void tg_cpu_plain_desc(const tg_shape *shape, tg_dtype dtype, dnnl_memory_desc_t *out);
void tg_cpu_any_desc(const tg_shape *shape, tg_dtype dtype, dnnl_memory_desc_t *out);
/* tg_cpu_desc - where t's elements are: its layout, or plain. */
void tg_cpu_desc(const tg_tensor *t, dnnl_memory_desc_t *out);
/* tg_cpu_is_plain - whether memory so described is row-major without padding, whatever its name:
 * blocked channels over 1x1 space are. */
bool tg_cpu_is_plain(const dnnl_memory_desc_t *desc);
/* tg_cpu_place - gives a value this layout and its size. `desc` must live as long as the kernel's
 * state: the tensor points to it. */
void tg_cpu_place(tg_tensor *t, const dnnl_memory_desc_t *desc);
/* tg_cpu_place_plain - plain row-major. */
void tg_cpu_place_plain(tg_tensor *t);

/* ---- primitives ---- */

enum { TG_CPU_MAX_ARGS = 12 };

/* A oneDNN primitive with its memory objects. All zero: nothing to run, nothing to free.
 * An argument whose owner keeps it in another layout (or type) than the primitive wants has a copy
 * of its own in scratch, which is filled before the primitive runs or read back after it. */
typedef struct tg_cpu_call {
  dnnl_primitive_t primitive;
  tg_device *device;
  int count;
  dnnl_exec_arg_t arg[TG_CPU_MAX_ARGS];
  struct tg_cpu_detour *detour[TG_CPU_MAX_ARGS];
  size_t inner_bytes;   /* scratchpads of the primitive and of the copies: one at a time */
  size_t scratch_bytes; /* inner_bytes and the copies */
} tg_cpu_call;

/* tg_cpu_check - a oneDNN status as ours; `what` and `node` name what failed. */
TG_CHECKED tg_status tg_cpu_check(dnnl_status_t status, const char *what, const tg_node *node);
/* tg_cpu_primitive_desc - the first implementation that oneDNN has for op_desc, with the scratchpad
 * left to us; attr and hint may be NULL (attr's scratchpad mode is set). */
TG_CHECKED tg_status tg_cpu_primitive_desc(const tg_exec *e, const void *op_desc,
                                           dnnl_primitive_attr_t attr,
                                           const_dnnl_primitive_desc_t hint,
                                           dnnl_primitive_desc_t *out);
/* tg_cpu_query - the descriptor that a primitive wants there: dnnl_query_src_md, ...; for
 * dnnl_query_exec_arg_md index is DNNL_ARG_... */
const dnnl_memory_desc_t *tg_cpu_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                                       int index);
/* tg_cpu_call_create - takes pd over (destroys it) and creates the primitive and the scratchpad's
 * memory object. */
TG_CHECKED tg_status tg_cpu_call_create(tg_cpu_call *call, tg_device *d, dnnl_primitive_desc_t pd);
/* tg_cpu_call_arg - adds the argument DNNL_ARG_... with this descriptor. */
TG_CHECKED tg_status tg_cpu_call_arg(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *desc);
/* tg_cpu_call_in, tg_cpu_call_out - the same for memory that is laid out as `have` where the
 * primitive wants `want`. */
TG_CHECKED tg_status tg_cpu_call_in(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *have,
                                    const dnnl_memory_desc_t *want);
TG_CHECKED tg_status tg_cpu_call_out(tg_cpu_call *call, int arg, const dnnl_memory_desc_t *have,
                                     const dnnl_memory_desc_t *want);
/* tg_cpu_call_bind - points an argument at device memory. Unknown arguments are ignored. */
void tg_cpu_call_bind(tg_cpu_call *call, int arg, const void *p);
/* tg_cpu_call_run - with `scratch` [scratch_bytes] of device memory, aligned to 64. */
TG_CHECKED tg_status tg_cpu_call_run(tg_cpu_call *call, void *scratch);
void tg_cpu_call_destroy(tg_cpu_call *call);

/* A copy from one layout and type to another; a call with the arguments DNNL_ARG_FROM and
 * DNNL_ARG_TO. Stays all zero where both are equal: ask with tg_cpu_copy_needed. */
TG_CHECKED tg_status tg_cpu_copy_create(tg_cpu_call *copy, tg_device *d,
                                        const dnnl_memory_desc_t *from,
                                        const dnnl_memory_desc_t *to);
static inline bool tg_cpu_copy_needed(const tg_cpu_call *copy) {
  return copy->primitive != NULL;
}
TG_CHECKED tg_status tg_cpu_copy_run(tg_cpu_call *copy, const void *from, void *to, void *scratch);

/* tg_cpu_bytes - size of memory so described, rounded up to 64: offsets into scratch stay
 * aligned. */
static inline size_t tg_cpu_bytes(const dnnl_memory_desc_t *desc) {
  return (dnnl_memory_desc_get_size(desc) + 63) & ~(size_t)63;
}
/* tg_cpu_need_scratch - makes e->scratch_bytes at least `bytes`. */
static inline void tg_cpu_need_scratch(tg_exec *e, size_t bytes) {
  if (e->scratch_bytes < bytes) e->scratch_bytes = bytes;
}

/* ---- bfloat16 ---- */

static inline float tg_bf16_to_f32(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}
/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t tg_f32_to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

#endif
