/* place.c - where buffers lie in the block: largest first, each at the lowest free place. Greedy by
 * size; Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020),
 * found it within a few per cent of the lower bound on convolutional networks. */
#include <stdlib.h>

#include "graph/plan_private.h"

static int larger_first(const void *a, const void *b, void *context) {
  const tg_buffer *buffer = context;
  int i = *(const int *)a, j = *(const int *)b;
  if (buffer[i].bytes != buffer[j].bytes) return buffer[i].bytes < buffer[j].bytes ? 1 : -1;
  return i - j; /* the same plan every time */
}

static int lower_first(const void *a, const void *b, void *context) {
  const tg_buffer *buffer = context;
  size_t i = buffer[*(const int *)a].offset, j = buffer[*(const int *)b].offset;
  return i < j ? -1 : i > j;
}

static bool alive_together(const tg_buffer *a, const tg_buffer *b) {
  return a->first <= b->last && b->first <= a->last;
}

/* The lowest gap that fits between the placed neighbours (sorted by offset). */
static size_t lowest_gap(const tg_buffer *buffer, const int *neighbour, int count, size_t bytes) {
  size_t at = 0;
  for (int i = 0; i < count; i++) {
    const tg_buffer *n = &buffer[neighbour[i]];
    if (n->offset >= at + bytes) break;
    if (n->offset + n->bytes > at) at = n->offset + n->bytes;
  }
  return at;
}

tg_status tg_plan_offsets(tg_plan *p) {
  int count = p->buffer_count;
  int *order = malloc((size_t)(2 * count + 1) * sizeof *order);
  if (!order) TG_FAIL(TG_ERUNTIME, "no memory for a plan of %d buffers", count);
  int *neighbour = order + count;
  for (int i = 0; i < count; i++) order[i] = i;
  qsort_r(order, (size_t)count, sizeof *order, larger_first, p->buffer);
  size_t top = 0;
  for (int i = 0; i < count; i++) {
    tg_buffer *b = &p->buffer[order[i]];
    int near = 0;
    for (int j = 0; j < i; j++)
      if (alive_together(b, &p->buffer[order[j]])) neighbour[near++] = order[j];
    qsort_r(neighbour, (size_t)near, sizeof *neighbour, lower_first, p->buffer);
    b->offset = lowest_gap(p->buffer, neighbour, near, b->bytes);
    if (b->offset + b->bytes > top) top = b->offset + b->bytes;
  }
  free(order);
  p->scratch_offset = top;
  p->block_bytes = top + ((p->scratch_bytes + TG_ALIGNMENT - 1) & ~(size_t)(TG_ALIGNMENT - 1));
  return TG_OK;
}
