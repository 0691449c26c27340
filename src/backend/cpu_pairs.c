/* cpu_pairs.c - skip between layouts, with a stride, or between different numbers of channels:
 * every dimension adds its own part to an offset, so that three short lists tell every place. */
#include "backend/cpu_pairs.h"

#include <stdlib.h>

#include "backend/cpu_move.h"

static tg_status list(size_t **out, int64_t count) {
  *out = malloc((size_t)count * sizeof **out);
  if (!*out) TG_FAIL(TG_ERUNTIME, "no memory for a list of %lld places", (long long)count);
  return TG_OK;
}

static int64_t points_of(const dnnl_memory_desc_t *desc) {
  int64_t points = 1;
  for (int i = 2; i < desc->ndims; i++) points *= desc->dims[i];
  return points;
}

static tg_dtype type_of(const dnnl_memory_desc_t *desc) {
  return desc->data_type == dnnl_bf16 ? TG_BF16 : TG_F32;
}

/* Every step-th point of `desc`, where `shape` counts them. */
static void list_points(const dnnl_memory_desc_t *desc, const dnnl_memory_desc_t *shape,
                        int64_t step, size_t *out) {
  int64_t points = points_of(shape);
  for (int64_t p = 0; p < points; p++) {
    int64_t left = p;
    out[p] = 0;
    for (int i = shape->ndims - 1; i >= 2; i--) {
      out[p] += tg_cpu_part(desc, i, left % shape->dims[i] * step);
      left /= shape->dims[i];
    }
  }
}

static void list_parts(const dnnl_memory_desc_t *desc, int dim, size_t *out) {
  for (int64_t i = 0; i < desc->dims[dim]; i++) out[i] = tg_cpu_part(desc, dim, i);
}

tg_status tg_cpu_pairs_create(tg_cpu_pairs *m, const dnnl_memory_desc_t *y,
                              const dnnl_memory_desc_t *z, int64_t stride) {
  *m = (tg_cpu_pairs){.samples = y->dims[0],
                      .inputs = z->dims[1],
                      .outputs = y->dims[1],
                      .points = points_of(y),
                      .y_type = type_of(y),
                      .z_type = type_of(z),
                      .y_count = dnnl_memory_desc_get_size(y) / dnnl_data_type_size(y->data_type),
                      .z_bytes = dnnl_memory_desc_get_size(z)};
  if (y->format_kind != dnnl_blocked || z->format_kind != dnnl_blocked)
    TG_FAIL(TG_ERUNTIME, "oneDNN: a layout that is not made of blocks has no places to tell");
  TG_TRY(list(&m->y_sample, m->samples));
  TG_TRY(list(&m->z_sample, m->samples));
  TG_TRY(list(&m->y_channel, m->outputs));
  TG_TRY(list(&m->z_channel, m->inputs));
  TG_TRY(list(&m->y_point, m->points));
  TG_TRY(list(&m->z_point, m->points));
  list_parts(y, 0, m->y_sample);
  list_parts(z, 0, m->z_sample);
  list_parts(y, 1, m->y_channel);
  list_parts(z, 1, m->z_channel);
  list_points(y, y, 1, m->y_point);
  list_points(z, y, stride, m->z_point);
  m->channels_inside = m->outputs > 1 && m->y_channel[1] == 1;
  return TG_OK;
}

void tg_cpu_pairs_destroy(tg_cpu_pairs *m) {
  free(m->y_sample);
  free(m->z_sample);
  free(m->y_channel);
  free(m->z_channel);
  free(m->y_point);
  free(m->z_point);
  memset(m, 0, sizeof *m);
}

static float load(const void *p, size_t i, tg_dtype type) {
  return type == TG_F32 ? ((const float *)p)[i] : tg_bf16_to_f32(((const uint16_t *)p)[i]);
}

static void store(void *p, size_t i, tg_dtype type, float v) {
  if (type == TG_F32)
    ((float *)p)[i] = v;
  else
    ((uint16_t *)p)[i] = tg_f32_to_bf16(v);
}

/* Channel k and point p of one sample, from offsets within it. */
typedef void pair_fn(const tg_cpu_pairs *m, float factor, size_t y_at, size_t z_at, int64_t k,
                     const void *from, void *to);

static void gather(const tg_cpu_pairs *m, float factor, size_t y_at, size_t z_at, int64_t k,
                   const void *z, void *out) {
  float sum = 0;
  (void)factor;
  for (int64_t t = k; t < m->inputs; t += m->outputs)
    sum += load(z, z_at + m->z_channel[t], m->z_type);
  store(out, y_at + m->y_channel[k], TG_F32, sum);
}

static void scatter(const tg_cpu_pairs *m, float factor, size_t y_at, size_t z_at, int64_t k,
                    const void *d, void *dz) {
  float v = factor * load(d, y_at + m->y_channel[k], m->y_type);
  for (int64_t t = k; t < m->inputs; t += m->outputs)
    store(dz, z_at + m->z_channel[t], m->z_type, v);
}

/* One sample; inlined with f, which is inlined in turn. */
static inline __attribute__((always_inline)) void
walk(const tg_cpu_pairs *m, int64_t b, float factor, const void *from, void *to, pair_fn *f) {
  int64_t channels = m->inputs < m->outputs ? m->inputs : m->outputs;
  size_t y = m->y_sample[b], z = m->z_sample[b];
  if (m->channels_inside) {
    for (int64_t p = 0; p < m->points; p++)
      for (int64_t k = 0; k < channels; k++)
        f(m, factor, y + m->y_point[p], z + m->z_point[p], k, from, to);
    return;
  }
  for (int64_t k = 0; k < channels; k++)
    for (int64_t p = 0; p < m->points; p++)
      f(m, factor, y + m->y_point[p], z + m->z_point[p], k, from, to);
}

static bool worth_threads(const tg_cpu_pairs *m) {
  return m->samples * m->inputs * m->points > 1 << 14;
}

void tg_cpu_pairs_gather(const tg_cpu_pairs *m, const void *z, float *out) {
  memset(out, 0, m->y_count * sizeof *out);
#pragma omp parallel for schedule(static) if (worth_threads(m))
  for (int64_t b = 0; b < m->samples; b++) walk(m, b, 1, z, out, gather);
}

void tg_cpu_pairs_scatter(const tg_cpu_pairs *m, float factor, const void *d, void *dz) {
  memset(dz, 0, m->z_bytes);
#pragma omp parallel for schedule(static) if (worth_threads(m))
  for (int64_t b = 0; b < m->samples; b++) walk(m, b, factor, d, dz, scatter);
}
