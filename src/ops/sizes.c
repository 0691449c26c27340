/* sizes.c - of types and shapes. */
#include <stdio.h>

#include "tardigrad/graph.h"

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
