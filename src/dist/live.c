#include "dist/live.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/paths.h"

enum { PARALLEL_FROM = 1 << 16 }; /* floats */

void tg_live_open(tg_live *l, tg_device *device, size_t n) {
  *l = (tg_live){.device = device, .n = n};
}

void tg_live_close(tg_live *l) {
  for (size_t i = 0; l->device && i < l->count; i++)
    l->device->backend->free(l->device, l->pair[i].live);
  if (l->whole) l->device->backend->whole_close(l->device, l->whole);
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

/* With the next copy that waits. */
static tg_status fetch_clamped(tg_live *l) {
  if (!l->whole || !l->device->backend->whole_clamped) return TG_OK;
  return l->device->backend->whole_clamped(l->device, l->whole, &l->clamped);
}

static void tell_clamped(tg_live *l) {
  if (l->whole && l->device->backend->whole_clamped) tg_paths_tell_clamped(l->paths, l->clamped);
}

tg_status tg_live_clamped(tg_live *l) {
  if (!l->device) return TG_OK;
  tell_clamped(l);
  return fetch_clamped(l);
}

tg_status tg_live_fetch(tg_live *l) {
  TG_TRY(fetch_clamped(l));
  for (size_t i = 0; i < l->count; i++)
    TG_TRY(l->device->backend->to_host(l->device, l->pair[i].host, l->pair[i].live,
                                       l->n * sizeof(float)));
  tell_clamped(l);
  return TG_OK;
}

tg_status tg_live_store(tg_live *l) {
  for (size_t i = 0; i < l->count; i++)
    TG_TRY(l->device->backend->to_device(l->device, l->pair[i].live, l->pair[i].host,
                                         l->n * sizeof(float)));
  return TG_OK;
}

static void copy(float *to, const float *from, size_t count) {
#pragma omp parallel if (count >= PARALLEL_FROM)
  {
    size_t me = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
    size_t first = count * me / team, last = count * (me + 1) / team;
    memcpy(to + first, from + first, (last - first) * sizeof *to);
  }
}

tg_status tg_live_take(tg_live *l, tg_span span, float **g) {
  if (!l->device) return TG_OK;
  if (!l->g) TG_TRY(on_device(l, l->n * sizeof(float), (void **)&l->g));
  float *there = l->g + span.lo;
  TG_TRY(l->device->backend->to_device(l->device, there, *g, (span.hi - span.lo) * sizeof(float)));
  *g = there;
  return TG_OK;
}

tg_status tg_live_put(tg_live *l, float *sum, tg_span span, const float *g) {
  size_t count = span.hi - span.lo;
  if (l->device) return l->device->backend->copy(l->device, sum + span.lo, g, count * sizeof *g);
  copy(sum + span.lo, g, count);
  return TG_OK;
}

tg_status tg_live_add_to(tg_live *l, float *sum, tg_span span, const float *g) {
  size_t count = span.hi - span.lo;
  float *to = sum + span.lo;
  if (l->device) return l->device->backend->add_f32(l->device, count, to, g);
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_FROM)
  for (size_t i = 0; i < count; i++) to[i] += g[i];
  return TG_OK;
}

tg_status tg_live_mean(tg_live *l, float *g, const float *sum, tg_span span, float part) {
  size_t count = span.hi - span.lo;
  const float *from = sum + span.lo;
  if (l->device) {
    TG_TRY(l->device->backend->add_f32(l->device, count, g, from));
    return l->device->backend->scale(l->device, count, g, part);
  }
#pragma omp parallel for simd schedule(static) if (count >= PARALLEL_FROM)
  for (size_t i = 0; i < count; i++) g[i] = (from[i] + g[i]) * part;
  return TG_OK;
}

tg_status tg_live_update(tg_live *l, const tg_update *u, tg_span span, float *g, bool g_on_device,
                         tg_update_sums *sums) {
  if (!l->device) {
    tg_update_apply(u, span, g, sums);
    return TG_OK;
  }
  if (!g_on_device) TG_TRY(tg_live_take(l, span, &g));
  return l->device->backend->update(l->device, u, span, g, sums ? l->sums : NULL);
}

tg_status tg_live_whole_open(tg_live *l, const tg_update *u, const tg_layout *layout) {
  if (!l->device || !u->optimizer->whole) return TG_OK;
  if (!l->device->backend->whole_open)
    TG_FAIL(TG_ECONFIG, "device %s has no kernel for optimizer %s: set server.device=cpu",
            l->device->backend->name, u->optimizer->name);
  l->paths = layout->paths;
  return l->device->backend->whole_open(l->device, u, layout, l->n, &l->whole);
}

tg_status tg_live_whole(tg_live *l, const tg_update *u, const tg_layout *layout, float *g,
                        tg_update_sums *sums) {
  if (!l->device) return tg_update_whole(u, layout, l->n, g, sums);
  return l->device->backend->update_whole(l->device, l->whole, u, g, sums ? l->sums : NULL);
}

tg_status tg_live_serve(tg_live *l, const tg_update *u, tg_span span) {
  tg_update_sums none = {0};
  if (!u->rule->serve || u->as_it_is) return tg_live_put(l, u->bak_out, span, u->w + span.lo);
  if (l->device) return l->device->backend->update(l->device, u, span, NULL, NULL);
  tg_update_apply(u, span, NULL, &none);
  return TG_OK;
}

tg_status tg_live_sums(tg_live *l, tg_update_sums *sums) {
  if (!l->device) return TG_OK;
  TG_TRY(fetch_clamped(l));
  TG_TRY(l->device->backend->to_host(l->device, sums, l->sums, sizeof *sums));
  tell_clamped(l);
  return l->device->backend->zero(l->device, l->sums, sizeof *l->sums);
}
