#include <string.h>

#include "tardigrad/backend.h"
#include "tardigrad/registry.h"

#define TG_BACKEND(name) extern const tg_backend tg_backend_##name;
#include "backend/backends.def"
#undef TG_BACKEND

const tg_backend *const tg_backends[] = {
#define TG_BACKEND(name) &tg_backend_##name,
#include "backend/backends.def"
#undef TG_BACKEND
};
const size_t tg_backend_count = sizeof tg_backends / sizeof *tg_backends;

/* The most preferred backend that opens; else the message is that of the last one tried. */
static tg_status open_best(tg_device **out) {
  int below = INT32_MAX;
  tg_status status = TG_EUNAVAILABLE;
  while (status != TG_OK) {
    const tg_backend *best = NULL;
    for (size_t i = 0; i < tg_backend_count; i++) {
      const tg_backend *b = tg_backends[i];
      if (b->preference > 0 && b->preference < below && (!best || b->preference > best->preference))
        best = b;
    }
    if (!best) return status;
    status = best->open(best, out);
    below = best->preference;
  }
  return status;
}

tg_status tg_device_open(const char *name, tg_device **out) {
  *out = NULL;
  if (strcmp(name, "auto") == 0) return open_best(out);
  const char *nearest = NULL;
  const tg_backend *b =
      tg_registry_find(name, (const void *const *)tg_backends, tg_backend_count, &nearest);
  if (!b && nearest) TG_FAIL(TG_ECONFIG, "no device \"%s\"; did you mean \"%s\"?", name, nearest);
  if (!b) TG_FAIL(TG_ECONFIG, "no device \"%s\"; `list devices` shows what there is", name);
  return b->open(b, out);
}

void tg_device_close(tg_device *d) {
  if (d) d->backend->close(d);
}
