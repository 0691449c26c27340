/* cpu_skip.c - x + factor z, with the addition and the ReLU behind it: what is prepared, and the
 * loops along memory. Everything is bound by memory: one pass, every byte once, where z lies as y
 * does; else what z adds is gathered before (cpu_pairs.c). */
#include <stdlib.h>

#include "backend/cpu_lanes.h"
#include "backend/cpu_pairs.h"
#include "tardigrad/ops.h"

/* All laid out alike. */
typedef struct elements {
  size_t count;
  tg_dtype type, z_type; /* of all; of z in the forward pass */
  bool relu;
  float factor;
} elements;

/* ---- loops, over pieces of memory; the type is a constant in each ---- */

enum { PIECE = 1 << 13 };

typedef struct operands {
  const void *x, *z, *addend; /* forward */
  const void *dy, *y_was;     /* backward */
  void *y, *d, *dz;
} operands;

TG_INLINE tg_lanes load_at(const void *p, size_t i, size_t left, tg_dtype type) {
  return left < TG_LANES ? tg_lanes_load_some(p, i, (int)left, type) : tg_lanes_load(p, i, type);
}

TG_INLINE void store_at(void *p, size_t i, size_t left, tg_lanes v, tg_dtype type) {
  if (left < TG_LANES)
    tg_lanes_store_some(p, i, (int)left, v, type);
  else
    tg_lanes_store(p, i, v, type);
}

TG_INLINE void forward_piece(const elements *k, const operands *o, size_t lo, size_t hi,
                             tg_dtype type, tg_dtype z_type) {
  for (size_t i = lo; i < hi; i += TG_LANES) {
    size_t left = hi - i;
    tg_lanes v = load_at(o->x, i, left, type) + k->factor * load_at(o->z, i, left, z_type);
    if (o->addend) v += load_at(o->addend, i, left, type);
    if (k->relu) v = tg_lanes_where(~(v <= 0), v); /* not a number stays so */
    store_at(o->y, i, left, v, type);
  }
}

TG_INLINE void backward_piece(const elements *k, const operands *o, size_t lo, size_t hi,
                              tg_dtype type) {
  for (size_t i = lo; i < hi; i += TG_LANES) {
    size_t left = hi - i;
    tg_lanes v = load_at(o->dy, i, left, type);
    if (k->relu) v = tg_lanes_where(load_at(o->y_was, i, left, type) > 0, v);
    if (o->d) store_at(o->d, i, left, v, type);
    if (o->dz) store_at(o->dz, i, left, k->factor * v, type);
  }
}

static void run(const elements *k, const operands *o, bool forward) {
#pragma omp parallel for schedule(static) if (k->count > PIECE)
  for (size_t lo = 0; lo < k->count; lo += PIECE) {
    size_t hi = k->count - lo < PIECE ? k->count : lo + PIECE;
    if (forward && k->type == TG_F32)
      forward_piece(k, o, lo, hi, TG_F32, TG_F32);
    else if (forward && k->z_type == TG_F32)
      forward_piece(k, o, lo, hi, TG_BF16, TG_F32);
    else if (forward)
      forward_piece(k, o, lo, hi, TG_BF16, TG_BF16);
    else if (k->type == TG_F32)
      backward_piece(k, o, lo, hi, TG_F32);
    else
      backward_piece(k, o, lo, hi, TG_BF16);
  }
}

/* ---- the kernel: inputs x, z and, where an addition is folded into it, the addend ---- */

enum { X, Z, ADDEND, INPUTS };

typedef struct skip {
  elements loop;
  tg_cpu_pairs pairs; /* where z does not lie as y does */
  bool paired;
  dnnl_memory_desc_t layout;           /* of y: x's, with y's type */
  tg_cpu_call in[INPUTS], out[INPUTS]; /* of x and the addend, where they lie in another way */
  size_t bytes; /* of such memory in float32; scratch: one for each input, then what copies need */
  size_t copying; /* where that is */
} skip;

static bool as_y(const skip *k, int j) {
  return !tg_cpu_copy_needed(&k->in[j]);
}

static tg_status prepare_inputs(tg_exec *e, skip *k) {
  const tg_skip_attr *a = e->node->attr;
  dnnl_memory_desc_t have[INPUTS];
  size_t inner = 0;
  int count = e->fuse_add ? INPUTS : ADDEND;
  for (int j = 0; j < count; j++) tg_cpu_desc(e->x[j], &have[j]);
  k->paired = !dnnl_memory_desc_equal(&have[Z], &k->layout);
  k->loop.z_type = k->paired ? TG_F32 : k->loop.type;
  if (k->paired) TG_TRY(tg_cpu_pairs_create(&k->pairs, &k->layout, &have[Z], a->stride));
  for (int j = 0; j < count; j++) {
    if (j == Z) continue;
    TG_TRY(tg_cpu_copy_create(&k->in[j], e->device, &have[j], &k->layout));
    TG_TRY(tg_cpu_copy_create(&k->out[j], e->device, &k->layout, &have[j]));
    if (inner < k->in[j].scratch_bytes) inner = k->in[j].scratch_bytes;
    if (inner < k->out[j].scratch_bytes) inner = k->out[j].scratch_bytes;
  }
  k->copying = INPUTS * k->bytes;
  bool all_alike = !k->paired && as_y(k, X) && as_y(k, ADDEND);
  if (!all_alike) tg_cpu_need_scratch(e, k->copying + inner);
  return TG_OK;
}

/* Without a ReLU dy is every gradient but z's; with one, what passes its mask is. */
static void prepare_aliases(tg_exec *e, const skip *k) {
  e->keep_y = e->fuse_relu;
  for (int j = 0; j < INPUTS; j += ADDEND)
    if (as_y(k, j) && !e->fuse_relu) e->dx_alias[j] = TG_ALIAS_DY;
  if (!e->fuse_relu || !as_y(k, X)) return;
  e->dx_alias[X] = TG_ALIAS_OVER_DY;
  if (as_y(k, ADDEND) && e->needs_dx[X]) e->dx_alias[ADDEND] = TG_ALIAS_DX0;
}

static tg_status prepare(tg_exec *e) {
  const tg_skip_attr *a = e->node->attr;
  skip *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  tg_cpu_desc(e->x[X], &k->layout);
  k->layout.data_type = tg_cpu_dtype(e->y->dtype);
  tg_cpu_place(e->y, &k->layout);
  k->bytes = (e->y->bytes / tg_dtype_bytes(e->y->dtype) * sizeof(float) + 63) & ~(size_t)63;
  k->loop = (elements){.count = e->y->bytes / tg_dtype_bytes(e->y->dtype),
                       .type = e->y->dtype,
                       .relu = e->fuse_relu,
                       .factor = a->factor};
  TG_TRY(prepare_inputs(e, k));
  if (e->train) prepare_aliases(e, k);
  return TG_OK;
}

static char *place(const tg_exec *e, const skip *k, int j) {
  return (char *)e->scratch + (size_t)j * k->bytes;
}

/* The address of input j, laid out as y is. */
static tg_status input(tg_exec *e, skip *k, int j, const void **out) {
  const void *from = e->x[j]->data;
  if (j == Z ? k->paired : !as_y(k, j)) {
    from = place(e, k, j);
    if (j == Z)
      tg_cpu_pairs_gather(&k->pairs, tg_cpu_host(e->device, e->x[j]->data),
                          tg_cpu_host(e->device, from));
    else
      TG_TRY(tg_cpu_copy_run(&k->in[j], e->x[j]->data, place(e, k, j),
                             (char *)e->scratch + k->copying));
  }
  *out = tg_cpu_host(e->device, from);
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  skip *k = e->state;
  const void *from[INPUTS] = {NULL};
  for (int j = 0; j < (e->fuse_add ? INPUTS : ADDEND); j++) TG_TRY(input(e, k, j, &from[j]));
  const operands o = {
      .x = from[X], .z = from[Z], .addend = from[ADDEND], .y = tg_cpu_host(e->device, e->y->data)};
  run(&k->loop, &o, true);
  return TG_OK;
}

/* Where dy, masked, is to be found: with a ReLU it is written there first. */
static void *masked_place(const tg_exec *e, const skip *k) {
  if (!e->fuse_relu) return (void *)e->dy;
  for (int j = 0; j < INPUTS; j += ADDEND)
    if (e->dx[j] && as_y(k, j)) return e->dx[j];
  return place(e, k, X);
}

/* dy, masked, as the gradient of x or of the addend. */
static tg_status pass(tg_exec *e, skip *k, int j, const void *masked) {
  if (!e->dx[j] || e->dx[j] == masked) return TG_OK;
  if (!as_y(k, j))
    return tg_cpu_copy_run(&k->out[j], masked, e->dx[j], (char *)e->scratch + k->copying);
  memcpy(tg_cpu_host(e->device, e->dx[j]), tg_cpu_host(e->device, masked), e->x[j]->bytes);
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  skip *k = e->state;
  void *masked = masked_place(e, k), *dz = tg_cpu_host(e->device, e->dx[Z]);
  const operands o = {.dy = tg_cpu_host(e->device, e->dy),
                      .y_was = tg_cpu_host(e->device, e->y->data),
                      .d = e->fuse_relu ? tg_cpu_host(e->device, masked) : NULL,
                      .dz = k->paired ? NULL : dz};
  if (o.d || o.dz) run(&k->loop, &o, false);
  if (dz && k->paired)
    tg_cpu_pairs_scatter(&k->pairs, k->loop.factor, tg_cpu_host(e->device, masked), dz);
  TG_TRY(pass(e, k, X, masked));
  return pass(e, k, ADDEND, masked);
}

static void destroy(tg_exec *e) {
  skip *k = e->state;
  if (!k) return;
  tg_cpu_pairs_destroy(&k->pairs);
  for (int j = 0; j < INPUTS; j++) {
    tg_cpu_call_destroy(&k->in[j]);
    tg_cpu_call_destroy(&k->out[j]);
  }
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_skip = {.fuses_relu = true,
                                      .fuses_add = true,
                                      .prepare = prepare,
                                      .forward = forward,
                                      .backward = backward,
                                      .destroy = destroy};
