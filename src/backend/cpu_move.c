#include "backend/cpu_move.h"

#include <stdlib.h>

/* ---- layouts ---- */

static dnnl_dim_t inner_block(const dnnl_blocking_desc_t *b, int dim) {
  dnnl_dim_t block = 1;
  for (int k = 0; k < b->inner_nblks; k++)
    if (b->inner_idxs[k] == dim) block *= b->inner_blks[k];
  return block;
}

void tg_cpu_desc_like(const dnnl_memory_desc_t *like, const tg_shape *shape, tg_dtype dtype,
                      dnnl_memory_desc_t *out) {
  *out = *like;
  out->data_type = tg_cpu_dtype(dtype);
  dnnl_blocking_desc_t *b = &out->format_desc.blocking;
  dnnl_dim_t stride = 1;
  for (int k = 0; k < b->inner_nblks; k++) stride *= b->inner_blks[k];
  int order[DNNL_MAX_NDIMS]; /* outermost first; ties as they are written */
  for (int i = 0; i < like->ndims; i++) {
    int at = i;
    for (; at > 0 && b->strides[order[at - 1]] < b->strides[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  for (int i = like->ndims - 1; i >= 0; i--) {
    int d = order[i];
    dnnl_dim_t block = inner_block(b, d);
    out->dims[d] = shape->dim[d];
    out->padded_dims[d] = (shape->dim[d] + block - 1) / block * block;
    b->strides[d] = stride;
    stride *= out->padded_dims[d] / block;
  }
}

size_t tg_cpu_part(const dnnl_memory_desc_t *desc, int dim, int64_t i) {
  const dnnl_blocking_desc_t *b = &desc->format_desc.blocking;
  dnnl_dim_t offset = 0, stride = 1;
  for (int k = b->inner_nblks - 1; k >= 0; k--) {
    if (b->inner_idxs[k] == dim) {
      offset += i % b->inner_blks[k] * stride;
      i /= b->inner_blks[k];
    }
    stride *= b->inner_blks[k];
  }
  return (size_t)(offset + i * b->strides[dim]);
}

static size_t part_of_box(const tg_cpu_box *box, int dim, int64_t i) {
  return tg_cpu_part(box->desc, dim, dim == box->axis ? box->start + i * box->step : i);
}

static size_t elements(const dnnl_memory_desc_t *desc) {
  return dnnl_memory_desc_get_size(desc) / dnnl_data_type_size(desc->data_type);
}

static bool samples_apart(const dnnl_memory_desc_t *desc) {
  return inner_block(&desc->format_desc.blocking, 0) == 1;
}

/* Samples one behind the other: what lies between runs can be cleared sample by sample. */
static bool samples_outermost(const dnnl_memory_desc_t *desc) {
  const dnnl_blocking_desc_t *b = &desc->format_desc.blocking;
  size_t sample = elements(desc) / (size_t)desc->dims[0];
  return samples_apart(desc) && (desc->dims[0] == 1 || (size_t)b->strides[0] == sample);
}

/* ---- the list of runs ---- */

static tg_status push(tg_cpu_move *m, size_t from, size_t to) {
  tg_cpu_run *last = m->run_count ? &m->run[m->run_count - 1] : NULL;
  if (last && last->from + last->length == from && last->to + last->length == to) {
    last->length++;
    return TG_OK;
  }
  if (m->run_count == m->run_room) {
    size_t room = m->run_room ? 2 * m->run_room : 64;
    tg_cpu_run *more = realloc(m->run, room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for a list of %zu runs", room);
    m->run = more;
    m->run_room = room;
  }
  m->run[m->run_count++] = (tg_cpu_run){.from = from, .to = to, .length = 1};
  return TG_OK;
}

/* The dimensions from `first` on, the one whose neighbours are neighbours in the target last. */
static int inner_order(const dnnl_memory_desc_t *to, int first, int order[DNNL_MAX_NDIMS]) {
  int count = 0;
  for (int d = first; d < to->ndims; d++) {
    int at = count++;
    for (; at > 0 && tg_cpu_part(to, order[at - 1], 1) < tg_cpu_part(to, d, 1); at--)
      order[at] = order[at - 1];
    order[at] = d;
  }
  return count;
}

/* Every element of dimensions `first` and up, in the target's order as far as blocks allow. */
static tg_status list_runs(tg_cpu_move *m, const tg_cpu_box *from, const tg_cpu_box *to,
                           const int64_t *dims, int first) {
  int order[DNNL_MAX_NDIMS];
  int64_t index[DNNL_MAX_NDIMS] = {0};
  size_t from_part[DNNL_MAX_NDIMS] = {0}, to_part[DNNL_MAX_NDIMS] = {0};
  int count = inner_order(to->desc, first, order);
  for (int d = first; d < to->desc->ndims; d++) {
    from_part[d] = part_of_box(from, d, 0);
    to_part[d] = part_of_box(to, d, 0);
  }
  for (;;) {
    size_t a = 0, b = 0;
    for (int k = 0; k < count; k++) {
      a += from_part[order[k]];
      b += to_part[order[k]];
    }
    TG_TRY(push(m, a, b));
    int k = count - 1;
    for (; k >= 0; k--) {
      int d = order[k];
      index[d] = index[d] + 1 < dims[d] ? index[d] + 1 : 0;
      from_part[d] = part_of_box(from, d, index[d]);
      to_part[d] = part_of_box(to, d, index[d]);
      if (index[d] != 0) break;
    }
    if (k < 0) return TG_OK;
  }
}

static int by_target(const void *a, const void *b) {
  size_t i = ((const tg_cpu_run *)a)->to, j = ((const tg_cpu_run *)b)->to;
  return i < j ? -1 : i > j;
}

static void merge_runs(tg_cpu_move *m) {
  qsort(m->run, m->run_count, sizeof *m->run, by_target);
  size_t kept = 0;
  for (size_t i = 1; i < m->run_count; i++) {
    tg_cpu_run *last = &m->run[kept], *next = &m->run[i];
    if (last->from + last->length == next->from && last->to + last->length == next->to)
      last->length += next->length;
    else
      m->run[++kept] = *next;
  }
  m->run_count = kept + 1;
}

/* Clears what lies before and between runs, and behind the last one up to `end`. */
static tg_status fill_gaps(tg_cpu_move *m, size_t end) {
  size_t at = 0;
  for (size_t i = 0; i < m->run_count; i++) {
    m->run[i].zeros = m->run[i].to - at;
    at = m->run[i].to + m->run[i].length;
  }
  if (at == end) return TG_OK;
  TG_TRY(push(m, SIZE_MAX, end));
  m->run[m->run_count - 1].length = 0;
  m->run[m->run_count - 1].zeros = end - at;
  return TG_OK;
}

tg_status tg_cpu_move_create(tg_cpu_move *m, const tg_cpu_box *from, const tg_cpu_box *to,
                             const tg_shape *shape, bool fill) {
  if (from->desc->format_kind != dnnl_blocked || to->desc->format_kind != dnnl_blocked)
    TG_FAIL(TG_ERUNTIME, "oneDNN: a layout that is not made of blocks cannot be cut");
  *m = (tg_cpu_move){.from_type = from->desc->data_type, .to_type = to->desc->data_type};
  bool apart = samples_apart(from->desc) && samples_outermost(to->desc);
  m->samples = apart ? (size_t)shape->dim[0] : 1;
  if (apart) {
    m->from_first = part_of_box(from, 0, 0);
    m->from_stride = part_of_box(from, 0, 1) - m->from_first;
    m->to_first = part_of_box(to, 0, 0);
    m->to_stride = part_of_box(to, 0, 1) - m->to_first;
  }
  m->from_first += (size_t)from->desc->offset0;
  m->to_first += (size_t)to->desc->offset0;
  TG_TRY(list_runs(m, from, to, shape->dim, apart ? 1 : 0));
  merge_runs(m);
  if (!fill) return TG_OK;
  bool samples_left_out = to->axis == 0 && shape->dim[0] != to->desc->dims[0];
  if (samples_left_out) m->clear_bytes = dnnl_memory_desc_get_size(to->desc);
  return samples_left_out ? TG_OK : fill_gaps(m, elements(to->desc) / m->samples);
}

void tg_cpu_move_destroy(tg_cpu_move *m) {
  free(m->run);
  memset(m, 0, sizeof *m);
}

/* ---- the walk ---- */

/* Lengths of whole blocks are known to the compiler: copies of them are a few instructions. */
static inline void copy_bytes(void *to, const void *from, size_t bytes) {
  switch (bytes) {
  case 2:
    memcpy(to, from, 2);
    break;
  case 4:
    memcpy(to, from, 4);
    break;
  case 16:
    memcpy(to, from, 16);
    break;
  case 32:
    memcpy(to, from, 32);
    break;
  case 64:
    memcpy(to, from, 64);
    break;
  default:
    memcpy(to, from, bytes);
  }
}

static void move_same(const tg_cpu_run *run, size_t count, size_t size, const char *from,
                      char *to) {
  for (size_t i = 0; i < count; i++) {
    const tg_cpu_run *r = &run[i];
    if (r->zeros) memset(to + (r->to - r->zeros) * size, 0, r->zeros * size);
    if (r->length) copy_bytes(to + r->to * size, from + r->from * size, r->length * size);
  }
}

static void move_to_bf16(const tg_cpu_run *run, size_t count, const float *from, uint16_t *to) {
  for (size_t i = 0; i < count; i++) {
    const tg_cpu_run *r = &run[i];
    if (r->zeros) memset(to + r->to - r->zeros, 0, r->zeros * sizeof *to);
    for (size_t j = 0; j < r->length; j++) to[r->to + j] = tg_f32_to_bf16(from[r->from + j]);
  }
}

static void move_to_f32(const tg_cpu_run *run, size_t count, const uint16_t *from, float *to) {
  for (size_t i = 0; i < count; i++) {
    const tg_cpu_run *r = &run[i];
    if (r->zeros) memset(to + r->to - r->zeros, 0, r->zeros * sizeof *to);
    for (size_t j = 0; j < r->length; j++) to[r->to + j] = tg_bf16_to_f32(from[r->from + j]);
  }
}

enum { RUNS_AT_A_TIME = 256, ELEMENTS_WORTH_THREADS = 1 << 14 };

void tg_cpu_move_run(const tg_cpu_move *m, const void *from, void *to) {
  size_t from_size = dnnl_data_type_size(m->from_type), to_size = dnnl_data_type_size(m->to_type);
  size_t parts = (m->run_count + RUNS_AT_A_TIME - 1) / RUNS_AT_A_TIME;
  if (m->clear_bytes) memset(to, 0, m->clear_bytes);
  bool threads = m->samples * m->to_stride >= ELEMENTS_WORTH_THREADS;
#pragma omp parallel for collapse(2) schedule(static) if (threads)
  for (size_t s = 0; s < m->samples; s++) {
    for (size_t p = 0; p < parts; p++) {
      const tg_cpu_run *run = m->run + p * RUNS_AT_A_TIME;
      size_t left = m->run_count - p * RUNS_AT_A_TIME;
      size_t count = left < RUNS_AT_A_TIME ? left : RUNS_AT_A_TIME;
      const char *a = (const char *)from + (m->from_first + s * m->from_stride) * from_size;
      char *b = (char *)to + (m->to_first + s * m->to_stride) * to_size;
      if (m->from_type == m->to_type)
        move_same(run, count, from_size, a, b);
      else if (m->to_type == dnnl_bf16)
        move_to_bf16(run, count, (const float *)(const void *)a, (uint16_t *)(void *)b);
      else
        move_to_f32(run, count, (const uint16_t *)(const void *)a, (float *)(void *)b);
    }
  }
}
