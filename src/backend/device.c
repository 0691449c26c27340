#include <stdio.h>
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

/* The most preferred backend that opens, with a note why those before it did not; else the message
 * is that of the last one tried. */
static tg_status open_best(const tg_device_options *o, tg_device **out) {
  int below = INT32_MAX;
  tg_status status = TG_EUNAVAILABLE;
  char note[sizeof(*out)->note] = "";
  while (status != TG_OK) {
    const tg_backend *best = NULL;
    for (size_t i = 0; i < tg_backend_count; i++) {
      const tg_backend *b = tg_backends[i];
      if (b->preference > 0 && b->preference < below && (!best || b->preference > best->preference))
        best = b;
    }
    if (!best) return status;
    status = best->open(best, o, out);
    below = best->preference;
    if (status != TG_OK) snprintf(note, sizeof note, "%s", tg_status_message());
  }
  snprintf((*out)->note, sizeof note, "%s", note);
  return TG_OK;
}

const char *tg_device_describe(tg_device *d) {
  const char *is = d->backend->describe(d);
  if (!d->note[0]) return is;
  snprintf(d->text, sizeof d->text, "%s (auto: %s)", is, d->note);
  return d->text;
}

tg_status tg_device_open(const char *name, tg_device **out) {
  return tg_device_open_with(name, &(tg_device_options){0}, out);
}

tg_status tg_device_open_with(const char *name, const tg_device_options *o, tg_device **out) {
  *out = NULL;
  if (strcmp(name, "auto") == 0) return open_best(o, out);
  const char *nearest = NULL;
  const tg_backend *b =
      tg_registry_find(name, (const void *const *)tg_backends, tg_backend_count, &nearest);
  if (!b && nearest) TG_FAIL(TG_ECONFIG, "no device \"%s\"; did you mean \"%s\"?", name, nearest);
  if (!b) TG_FAIL(TG_ECONFIG, "no device \"%s\"; `list devices` shows what there is", name);
  return b->open(b, o, out);
}

void tg_device_close(tg_device *d) {
  if (d) d->backend->close(d);
}
