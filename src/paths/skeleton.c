/* skeleton.c - what skeletons are before training: as published they become 1, which changes the
 * function and the networks that can be reached; rescaling hidden units does without either. */
#include <math.h>

#include "paths/paths_private.h"

static void overwrite(const tg_path_block *b, bool signs, float *w) {
  for (int l = 1; l <= b->count; l++) {
    if (b->layer[l - 1].hollow) continue;
    for (size_t t = 0; t < tg_path_skeletons(b, l); t++) {
      float *e = w + tg_path_skeleton(b, l, t);
      *e = signs && *e < 0 ? -1.0f : 1.0f;
    }
  }
}

/* ---- rescaling ---- */

static void scale(float *x, size_t count, size_t step, float by, bool divide) {
  for (size_t i = 0; i < count; i++) x[i * step] = divide ? x[i * step] / by : x[i * step] * by;
}

/* What enters unit j of node layer n, times or by `by`: its row and bias. */
static void scale_row(const tg_path_block *b, int n, size_t j, float by, bool divide, float *w) {
  const tg_path_layer *y = &b->layer[n - 1];
  scale(w + y->offset + j * y->in * y->taps, y->in * y->taps, 1, by, divide);
  if (y->bias != TG_NOWHERE) scale(w + y->bias + j, 1, 1, by, divide);
}

/* What leaves it: its column of the next layer. */
static void scale_column(const tg_path_block *b, int n, size_t j, float by, bool divide, float *w) {
  const tg_path_layer *y = &b->layer[n];
  for (size_t tap = 0; tap < y->taps; tap++)
    scale(w + y->offset + j * y->taps + tap, y->out, y->in * y->taps, by, divide);
}

static tg_status size_of(const tg_path_block *b, int l, size_t t, const float *w, float *out) {
  *out = fabsf(w[tg_path_skeleton(b, l, t)]);
  if (*out > 0 && isfinite(*out)) return TG_OK;
  TG_FAIL(TG_ECONFIG, "skeleton %zu of layer %s is %g: no rescaling makes it 1", t,
          b->layer[l - 1].name, (double)*out);
}

/* Unit j of node layer n >= s: what leaves it becomes 1, what enters makes up for it. Behind a
 * batch norm it is that one's output. */
static tg_status settle_behind(const tg_path_block *b, int n, size_t j, float *w) {
  const tg_path_layer *enters = &b->layer[n - 1];
  float a;
  TG_TRY(size_of(b, n + 1, j, w, &a));
  scale_column(b, n, j, a, true, w);
  if (enters->scale == TG_NOWHERE) {
    scale_row(b, n, j, a, false, w);
    return TG_OK;
  }
  w[enters->scale + j] *= a;
  w[enters->shift + j] *= a;
  return TG_OK;
}

/* Unit j of node layer n < s: what enters it becomes 1; a batch norm takes no notice. */
static tg_status settle_before(const tg_path_block *b, int n, size_t j, float *w) {
  float a;
  TG_TRY(size_of(b, n, j, w, &a));
  scale_row(b, n, j, a, true, w);
  if (b->layer[n - 1].scale == TG_NOWHERE) scale_column(b, n, j, a, false, w);
  return TG_OK;
}

static tg_status rescale(const tg_path_block *b, float *w) {
  for (int n = b->count - 1; n >= b->special; n--)
    for (size_t j = 0; j < tg_path_width(b, n) && !b->layer[n].hollow; j++)
      TG_TRY(settle_behind(b, n, j, w));
  for (int n = 1; n < b->special; n++)
    for (size_t j = 0; j < tg_path_width(b, n) && !b->layer[n - 1].hollow; j++)
      TG_TRY(settle_before(b, n, j, w));
  return TG_OK;
}

tg_status tg_paths_init(const tg_paths *paths, tg_skeleton_kind kind, float *w) {
  for (size_t i = 0; i < paths->count; i++) {
    const tg_path_block *b = &paths->block[i];
    if (kind == TG_SKELETON_ONES || kind == TG_SKELETON_SIGNS)
      overwrite(b, kind == TG_SKELETON_SIGNS, w);
    else if (kind == TG_SKELETON_CANONICAL)
      TG_TRY(rescale(b, w));
  }
  return TG_OK;
}
