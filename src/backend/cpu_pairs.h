/* cpu_pairs.h - skip between layouts, with a stride, or between different numbers of channels. */
#ifndef TG_BACKEND_CPU_PAIRS_H
#define TG_BACKEND_CPU_PAIRS_H

#include "backend/cpu.h"

/* Where channel t of z and channel t mod K of y lie, and points that meet: sums of a part for the
 * sample, one for the channel and one for the point. */
typedef struct tg_cpu_pairs {
  int64_t samples, inputs, outputs, points;
  size_t *y_sample, *z_sample;   /* [samples] */
  size_t *y_channel, *z_channel; /* [outputs], [inputs] */
  size_t *y_point, *z_point;     /* [points] of y */
  bool channels_inside;          /* neighbouring channels are neighbours in y */
  tg_dtype y_type, z_type;
  size_t y_count, z_bytes; /* of all memory: elements, bytes */
} tg_cpu_pairs;

/* tg_cpu_pairs_create - of layouts so described, both in blocks. Free with tg_cpu_pairs_destroy,
 * also after a failure. */
TG_CHECKED tg_status tg_cpu_pairs_create(tg_cpu_pairs *pairs, const dnnl_memory_desc_t *y,
                                         const dnnl_memory_desc_t *z, int64_t stride);
void tg_cpu_pairs_destroy(tg_cpu_pairs *pairs);
/* tg_cpu_pairs_gather - what z adds to y, without the factor, in float32 laid out as y is; what
 * gets nothing is 0. */
void tg_cpu_pairs_gather(const tg_cpu_pairs *pairs, const void *z, float *out);
/* tg_cpu_pairs_scatter - dz = factor d where z is taken, else 0. */
void tg_cpu_pairs_scatter(const tg_cpu_pairs *pairs, float factor, const void *d, void *dz);

#endif
