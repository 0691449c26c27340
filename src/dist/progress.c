/* progress.c - effective epochs: samples applied over the size of the training set. */
#include <math.h>

#include "tardigrad/server.h"

uint64_t tg_progress_updates(double epochs, uint64_t train_count, uint64_t samples) {
  double updates = epochs * (double)train_count / (double)samples;
  return (uint64_t)ceil(updates * (1 - 1e-12));
}

uint64_t tg_progress_boundaries(double every, uint64_t train_count, uint64_t samples) {
  if (!(every > 0)) return 0;
  return (uint64_t)((double)samples / (double)train_count / every * (1 + 1e-12));
}

void tg_fold_apply(const tg_fold *folds, size_t count, const float *s, float *b) {
  for (size_t i = 0; i < count; i++) {
    const tg_fold *f = &folds[i];
    for (size_t j = 0; j < f->count; j++)
      b[f->b_lo + j] = (1 - f->momentum) * b[f->b_lo + j] + f->momentum * s[f->s_lo + j];
  }
}
