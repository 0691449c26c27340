/* registry.h - finding things by name. Each floor has a .def list that expands to an array of
 * pointers to const rows; a row begins with { name, help }. */
#ifndef TARDIGRAD_REGISTRY_H
#define TARDIGRAD_REGISTRY_H

#include <stddef.h>

/* The beginning of every row that can be listed by name. */
typedef struct tg_named {
  const char *name; /* what users write */
  const char *help; /* one line */
} tg_named;

/* tg_nearest - the entry of names[count] with the smallest edit distance to `name` if it is near
 * enough to be a slip of the fingers, else NULL. */
const char *tg_nearest(const char *name, const char *const *names, size_t count);

/* tg_registry_find - the row whose name is `name` among rows[count] (pointers to structs that
 * begin with tg_named), or NULL. On NULL, *nearest (if not NULL) is a suggestion or NULL. */
const void *tg_registry_find(const char *name, const void *const *rows, size_t count,
                             const char **nearest);

#endif
