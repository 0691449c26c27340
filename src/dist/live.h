/* live.h - the flat vectors that updates work on: in host memory, or in a device's.
 *
 * On the host the live vectors are the state itself. On a device the state that others see (for
 * checkpoints, hashes, messages) is a copy in host memory: tg_live_fetch brings it up to date,
 * tg_live_store is the other way. */
#ifndef DIST_LIVE_H
#define DIST_LIVE_H

#include "tardigrad/backend.h"

typedef struct tg_live_pair {
  float *host, *live; /* the same vector; equal pointers on the host */
} tg_live_pair;

typedef struct tg_live {
  tg_device *device; /* NULL: host memory */
  size_t n;
  tg_live_pair *pair;
  size_t count, room;
  tg_update_sums *sums; /* device memory, of the update in hand */
  float *g;             /* device memory: a gradient that came from the host */
  void *whole;          /* the device's, of an optimiser in path space; or NULL */
  const struct tg_paths *paths;
  uint64_t clamped; /* what whole_clamped gives */
} tg_live;

/* tg_live_open - vectors of n floats. Free with tg_live_close, also after a failure. */
void tg_live_open(tg_live *l, tg_device *device, size_t n);
void tg_live_close(tg_live *l);
/* tg_live_add - gives `host` [n], which stays the caller's, a live vector; *out. */
TG_CHECKED tg_status tg_live_add(tg_live *l, float *host, float **out);
TG_CHECKED tg_status tg_live_fetch(tg_live *l);
/* tg_live_clamped - brings tg_paths_clamped up to date but for the last update: nothing waits. */
TG_CHECKED tg_status tg_live_clamped(tg_live *l);
TG_CHECKED tg_status tg_live_store(tg_live *l);
/* tg_live_take - *g, which points at element span.lo in host memory, becomes a copy on the device;
 * on the host it stays. Valid until the next call for the same span. */
TG_CHECKED tg_status tg_live_take(tg_live *l, tg_span span, float **g);
/* Sums of gradients: sum [n] is live and given by element 0; g points at element span.lo, where the
 * live vectors are. tg_live_put: sum[span] = g. tg_live_add_to: sum[span] += g. tg_live_mean:
 * g = (sum[span] + g) part. */
TG_CHECKED tg_status tg_live_put(tg_live *l, float *sum, tg_span span, const float *g);
TG_CHECKED tg_status tg_live_add_to(tg_live *l, float *sum, tg_span span, const float *g);
TG_CHECKED tg_status tg_live_mean(tg_live *l, float *g, const float *sum, tg_span span, float part);
/* tg_live_update - tg_update_apply on live vectors. g points at element span.lo, in host memory or,
 * with on_device, in the device's. The sums come with tg_live_sums; NULL on a device: none. */
TG_CHECKED tg_status tg_live_update(tg_live *l, const tg_update *u, tg_span span, float *g,
                                    bool on_device, tg_update_sums *sums);
/* tg_live_whole_open - what a device needs for an optimiser of whole tensors that works there;
 * rule, optimiser and keys are *u's. The layout must live as long as *l. Errors: TG_ECONFIG where
 * it has no kernel. tg_live_whole - tg_update_whole on live vectors; g [n] is the whole gradient,
 * where they are. */
TG_CHECKED tg_status tg_live_whole_open(tg_live *l, const tg_update *u, const tg_layout *layout);
TG_CHECKED tg_status tg_live_whole(tg_live *l, const tg_update *u, const tg_layout *layout,
                                   float *g, tg_update_sums *sums);
/* tg_live_serve - writes u->bak_out[span], without a gradient. */
TG_CHECKED tg_status tg_live_serve(tg_live *l, const tg_update *u, tg_span span);
/* tg_live_sums - brings *sums of all updates since the last call; clears them on the device. */
TG_CHECKED tg_status tg_live_sums(tg_live *l, tg_update_sums *sums);

#endif
