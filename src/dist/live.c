#include "dist/live.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { PARALLEL_FROM = 1 << 16 }; /* floats */

void tg_live_open(tg_live *l, tg_device *device, size_t n) {
  *l = (tg_live){.device = device, .n = n};
}

void tg_live_close(tg_live *l) {
  for (size_t i = 0; l->device && i < l->count; i++)
    l->device->backend->free(l->device, l->pair[i].live);
  if (l->sums) l->device->backend->free(l->device, l->sums);
  if (l->g) l->device->backend->free(l->device, l->g);
  free(l->pair);
  *l = (tg_live){0};
}

static tg_status on_device(tg_live *l, size_t bytes, void **out) {
  return l->device->backend->alloc(l->device, bytes, out);
}

tg_status tg_live_add(tg_live *l, float *host, float **out) {
  *out = host;
  if (!l->device) return TG_OK;
  if (l->count == l->room) {
    size_t room = l->room ? 2 * l->room : 8;
    tg_live_pair *more = realloc(l->pair, room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for %zu vectors", room);
    l->pair = more;
    l->room = room;
  }
  if (!l->sums) TG_TRY(on_device(l, sizeof *l->sums, (void **)&l->sums));
  TG_TRY(on_device(l, l->n * sizeof(float), (void **)out));
  l->pair[l->count++] = (tg_live_pair){host, *out};
  return TG_OK;
}

tg_status tg_live_fetch(tg_live *l) {
  for (size_t i = 0; i < l->count; i++)
    TG_TRY(l->device->backend->to_host(l->device, l->pair[i].host, l->pair[i].live,
                                       l->n * sizeof(float)));
  return TG_OK;
}

tg_status tg_live_store(tg_live *l) {
  for (size_t i = 0; i < l->count; i++)
    TG_TRY(l->device->backend->to_device(l->device, l->pair[i].live, l->pair[i].host,
                                         l->n * sizeof(float)));
  return TG_OK;
}

tg_status tg_live_copy(tg_live *l, float *to, const float *from, tg_span span) {
  size_t count = span.hi - span.lo;
  if (l->device)
    return l->device->backend->copy(l->device, to + span.lo, from + span.lo, count * sizeof *to);
#pragma omp parallel if (count >= PARALLEL_FROM)
  {
    size_t me = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
    size_t first = span.lo + count * me / team, last = span.lo + count * (me + 1) / team;
    memcpy(to + first, from + first, (last - first) * sizeof *to);
  }
  return TG_OK;
}

tg_status tg_live_update(tg_live *l, const tg_update *u, tg_span span, float *g, bool g_on_device,
                         tg_update_sums *sums) {
  if (!l->device) {
    tg_update_apply(u, span, g, sums);
    return TG_OK;
  }
  const tg_backend *backend = l->device->backend;
  if (!g_on_device) {
    if (!l->g) TG_TRY(on_device(l, l->n * sizeof(float), (void **)&l->g));
    TG_TRY(backend->to_device(l->device, l->g + span.lo, g, (span.hi - span.lo) * sizeof(float)));
    g = l->g + span.lo;
  }
  return backend->update(l->device, u, span, g, sums ? l->sums : NULL);
}

tg_status tg_live_serve(tg_live *l, const tg_update *u, tg_span span) {
  tg_update_sums none = {0};
  if (!u->rule->serve || u->as_it_is) return tg_live_copy(l, u->bak_out, u->w, span);
  if (l->device) return l->device->backend->update(l->device, u, span, NULL, NULL);
  tg_update_apply(u, span, NULL, &none);
  return TG_OK;
}

tg_status tg_live_sums(tg_live *l, tg_update_sums *sums) {
  if (!l->device) return TG_OK;
  TG_TRY(l->device->backend->to_host(l->device, sums, l->sums, sizeof *sums));
  return l->device->backend->zero(l->device, l->sums, sizeof *l->sums);
}
