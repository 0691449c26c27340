/* sizes.c - of types and shapes, and places in weights. */
#include <stdio.h>

#include "tardigrad/ops.h"

size_t tg_dtype_bytes(tg_dtype dtype) {
  return dtype == TG_BF16 ? 2 : 4;
}

size_t tg_shape_count(const tg_shape *shape) {
  size_t count = 1;
  for (int i = 0; i < shape->nd; i++) count *= (size_t)shape->dim[i];
  return count;
}

bool tg_shape_equal(const tg_shape *a, const tg_shape *b) {
  if (a->nd != b->nd) return false;
  for (int i = 0; i < a->nd; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

const char *tg_shape_text(const tg_shape *shape, char *text, size_t size) {
  size_t used = (size_t)snprintf(text, size, "[");
  for (int i = 0; i < shape->nd && used < size; i++)
    used +=
        (size_t)snprintf(text + used, size - used, i ? ",%lld" : "%lld", (long long)shape->dim[i]);
  if (used < size) snprintf(text + used, size - used, "]");
  return text;
}

size_t tg_conv_skeleton(const tg_shape *weight, int64_t t) {
  int64_t taps = 1, centre = 0;
  for (int i = 2; i < weight->nd; i++) {
    taps *= weight->dim[i];
    centre = centre * weight->dim[i] + weight->dim[i] / 2;
  }
  return (size_t)((t % weight->dim[0] * weight->dim[1] + t) * taps + centre);
}
