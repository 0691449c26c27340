#include "dist/kept.h"

#include <stdlib.h>
#include <string.h>

static tg_status copy(const void *from, size_t bytes, void **out) {
  *out = malloc(bytes + 1);
  if (!*out) TG_FAIL(TG_ERUNTIME, "no memory for options of %zu bytes", bytes);
  if (bytes) memcpy(*out, from, bytes);
  return TG_OK;
}

tg_status tg_kept_open(tg_kept *k, const tg_fold **folds, size_t fold_count, tg_schedule *schedule,
                       tg_layout *layout, const tg_optimizer **optimizer) {
  TG_TRY(copy(*folds, fold_count * sizeof **folds, (void **)&k->folds));
  TG_TRY(copy(schedule->steps, schedule->count * sizeof *k->steps, (void **)&k->steps));
  TG_TRY(copy(layout->part, layout->count * sizeof *k->parts, (void **)&k->parts));
  k->optimizer = **optimizer;
  *folds = k->folds;
  schedule->steps = k->steps;
  layout->part = k->parts;
  *optimizer = &k->optimizer;
  return TG_OK;
}

void tg_kept_close(tg_kept *k) {
  free(k->folds);
  free(k->steps);
  free(k->parts);
}
