#include "backend/cpu_lanes.h"

enum { LONGEST_RUN = 1024 };

static int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/* Points of space, if they are dense with the innermost stride `stride`; else 0. */
static int64_t dense_space(const dnnl_memory_desc_t *desc, int64_t stride) {
  int64_t points = 1;
  for (int i = desc->ndims - 1; i >= 2; i--) {
    if (desc->padded_dims[i] != desc->dims[i]) return 0;
    if (desc->dims[i] != 1 && desc->format_desc.blocking.strides[i] != stride * points) return 0;
    points *= desc->dims[i];
  }
  return points;
}

/* Runs of `run` elements for every sample and group of `period` channels. */
static void by_groups(const dnnl_memory_desc_t *desc, int64_t period, int64_t points,
                      tg_lane_walk *out) {
  const dnnl_blocking_desc_t *b = &desc->format_desc.blocking;
  out->period = period;
  out->groups = desc->padded_dims[1] / period;
  out->batches = desc->dims[0];
  out->vectors = divide_up(points * period, TG_LANES);
  out->tail = (int)(points * period % TG_LANES);
  out->last_width = TG_LANES;
  out->batch_stride = (size_t)b->strides[0];
  out->group_stride = (size_t)b->strides[1];
  out->vector_stride = TG_LANES;
}

/* Channels last: a row of channels for every point. */
static void by_rows(const dnnl_memory_desc_t *desc, int64_t points, tg_lane_walk *out) {
  int64_t channels = desc->dims[1];
  out->period = TG_LANES;
  out->groups = divide_up(channels, TG_LANES);
  out->batches = 1;
  out->vectors = desc->dims[0] * points;
  out->tail = 0;
  out->last_width = (int)(channels - (out->groups - 1) * TG_LANES);
  out->batch_stride = 0;
  out->group_stride = TG_LANES;
  out->vector_stride = (size_t)channels;
}

bool tg_lane_walk_create(const dnnl_memory_desc_t *desc, tg_lane_walk *out) {
  const dnnl_blocking_desc_t *b = &desc->format_desc.blocking;
  if (desc->format_kind != dnnl_blocked || desc->offset0 != 0 || desc->ndims < 2 ||
      desc->padded_dims[0] != desc->dims[0])
    return false;
  memset(out, 0, sizeof *out);
  int64_t channels = desc->dims[1], points;
  out->channels = channels;
  if (b->inner_nblks == 1 && b->inner_idxs[0] == 1 && TG_LANES % b->inner_blks[0] == 0 &&
      (points = dense_space(desc, b->inner_blks[0])) > 0) {
    by_groups(desc, b->inner_blks[0], points, out);
    return true;
  }
  if (b->inner_nblks != 0 || desc->padded_dims[1] != channels) return false;
  points = dense_space(desc, 1);
  if (points > 1) {
    by_groups(desc, 1, points, out);
    return true;
  }
  points = dense_space(desc, channels);
  bool rows = points > 0 && (channels == 1 || b->strides[1] == 1) &&
              (desc->dims[0] == 1 || b->strides[0] == points * channels);
  if (rows) by_rows(desc, points, out);
  return rows;
}

size_t tg_lane_first(const tg_lane_walk *walk, int64_t c) {
  return (size_t)(c / walk->period) * walk->group_stride + (size_t)(c % walk->period);
}

static void walk_group(const tg_lane_walk *walk, int64_t batch, int64_t group, int64_t lo,
                       int64_t hi, void (*f)(void *, const tg_lane_run *), void *context) {
  size_t base = (size_t)batch * walk->batch_stride + (size_t)group * walk->group_stride;
  bool last_is_short = walk->tail && hi == walk->vectors;
  int64_t full = last_is_short ? hi - 1 : hi;
  tg_lane_run run = {.group = group,
                     .stride = walk->vector_stride,
                     .width = group == walk->groups - 1 ? walk->last_width : TG_LANES};
  for (; lo < full; lo += run.count) {
    run.at = base + (size_t)lo * walk->vector_stride;
    run.count = full - lo < LONGEST_RUN ? full - lo : LONGEST_RUN;
    f(context, &run);
  }
  if (!last_is_short) return;
  run.at = base + (size_t)full * walk->vector_stride;
  run.count = 1;
  run.width = walk->tail;
  f(context, &run);
}

void tg_lane_walk_part(const tg_lane_walk *walk, int part, int parts,
                       void (*f)(void *context, const tg_lane_run *run), void *context) {
  int64_t total = walk->batches * walk->vectors;
  int64_t lo = total * part / parts, hi = total * (part + 1) / parts;
  while (lo < hi) {
    int64_t batch = lo / walk->vectors, first = lo % walk->vectors;
    int64_t count = walk->vectors - first < hi - lo ? walk->vectors - first : hi - lo;
    for (int64_t group = 0; group < walk->groups; group++)
      walk_group(walk, batch, group, first, first + count, f, context);
    lo += count;
  }
}
