#include "tardigrad/registry.h"

#include <string.h>

enum { LONGEST = 63 };

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Levenshtein distance, over two rows; names longer than LONGEST are never near. */
static size_t distance(const char *a, const char *b) {
  size_t na = strlen(a), nb = strlen(b), row[LONGEST + 1];
  if (na > LONGEST || nb > LONGEST) return LONGEST;
  for (size_t j = 0; j <= nb; j++) row[j] = j;
  for (size_t i = 1; i <= na; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      size_t above = row[j];
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      row[j] = smaller(change, smaller(above, row[j - 1]) + 1);
      diagonal = above;
    }
  }
  return row[nb];
}

const char *tg_nearest(const char *name, const char *const *names, size_t count) {
  const char *best = NULL;
  size_t best_distance = strlen(name) / 3 + 2;
  for (size_t i = 0; i < count; i++) {
    size_t d = distance(name, names[i]);
    if (d < best_distance) {
      best_distance = d;
      best = names[i];
    }
  }
  return best;
}

const void *tg_registry_find(const char *name, const void *const *rows, size_t count,
                             const char **nearest) {
  const char *names[64];
  if (count > 64) count = 64;
  for (size_t i = 0; i < count; i++) {
    names[i] = ((const tg_named *)rows[i])->name;
    if (strcmp(names[i], name) == 0) return rows[i];
  }
  if (nearest) *nearest = tg_nearest(name, names, count);
  return NULL;
}
