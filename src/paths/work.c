/* work.c - scratch memory of updates in path space, as large as the blocks ask for. */
#include <stdlib.h>

#include "paths/paths_private.h"

static void *some(tg_arena *arena, size_t count, size_t bytes, bool *short_of) {
  void *p = tg_arena_alloc(arena, (count ? count : 1) * bytes);
  if (!p) *short_of = true;
  return p;
}

/* Floats that a loop reads beside weights. */
static float *lines(tg_arena *arena, size_t count, bool *short_of) {
  char *p = some(arena, count * sizeof(float) + TG_ALIGNMENT, 1, short_of);
  return p ? (float *)(void *)(p + (TG_ALIGNMENT - (uintptr_t)p % TG_ALIGNMENT)) : NULL;
}

static void make_gauge(tg_arena *arena, const tg_path_block *b, tg_gauge *out, bool *short_of) {
  size_t nodes = (size_t)b->count + 1;
  out->p = some(arena, nodes, sizeof *out->p, short_of);
  out->q = some(arena, nodes, sizeof *out->q, short_of);
  out->v = some(arena, tg_path_width(b, b->special), sizeof(float), short_of);
  for (size_t n = 0; n < nodes && !*short_of; n++) {
    out->p[n] = some(arena, tg_path_width(b, (int)n), sizeof(float), short_of);
    out->q[n] = some(arena, tg_path_width(b, (int)n), sizeof(float), short_of);
  }
}

static void make_scratch(tg_arena *arena, const tg_path_block *b, tg_path_scratch *out,
                         bool *short_of) {
  size_t h = tg_path_width(b, b->special);
  make_gauge(arena, b, &out->now, short_of);
  make_gauge(arena, b, &out->then, short_of);
  out->inverse_ratio = some(arena, h, sizeof(float), short_of);
  out->g = some(arena, h, sizeof(float), short_of);
  out->sum = some(arena, h, sizeof(double), short_of);
  for (int l = 1; l <= b->count; l++) out->skeletons += tg_path_skeletons(b, l);
  out->kept = some(arena, (2 + TG_MAX_SLOTS) * out->skeletons, sizeof(float), short_of);
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static bool belongs(const tg_paths *paths, size_t offset) {
  for (size_t i = 0; i < paths->count; i++)
    for (int l = 0; l < paths->block[i].count; l++)
      if (paths->block[i].layer[l].offset == offset || paths->block[i].layer[l].bias == offset)
        return true;
  return false;
}

/* Parameters are laid out one behind the other: neighbours become one span. */
static void list_outside(const tg_paths *paths, const tg_graph *g, tg_path_work *work) {
  for (int i = 0; i < g->param_count; i++) {
    const tg_param *p = g->param[i];
    if (belongs(paths, p->offset)) continue;
    tg_span *last = work->outside_count ? &work->outside[work->outside_count - 1] : NULL;
    if (last && last->hi == p->offset)
      last->hi += p->count;
    else
      work->outside[work->outside_count++] = (tg_span){p->offset, p->offset + p->count};
  }
}

/* `work->outside` is listed already. */
static void make_shared(tg_paths *paths, tg_path_work *work, bool *short_of) {
  tg_arena *arena = paths->arena;
  size_t cols = 1, rows = 1, norms = 1;
  for (size_t i = 0; i < paths->count; i++)
    for (int l = 0; l < paths->block[i].count; l++) {
      const tg_path_layer *y = &paths->block[i].layer[l];
      cols = larger(cols, larger(y->in * y->taps, y->out));
      rows = larger(rows, y->out);
      norms = larger(norms, y->out * y->taps);
    }
  for (size_t i = 0; i < work->outside_count; i++) {
    size_t count = work->outside[i].hi - work->outside[i].lo;
    rows = larger(rows, (count + TG_BLOCK - 1) / TG_BLOCK);
  }
  for (int i = 0; i < 5; i++) work->column[i] = lines(arena, cols, short_of);
  work->part = lines(arena, TG_PATH_PARTS * cols, short_of);
  work->norm = some(arena, norms, sizeof(float), short_of);
  work->sums = some(arena, 2 * rows, sizeof(double), short_of);
  for (int i = 0; i < 2; i++) work->row[i] = some(arena, rows, sizeof(float), short_of);
  work->ones = some(arena, TG_BLOCK, sizeof(float), short_of);
  for (size_t i = 0; i < TG_BLOCK && work->ones; i++) work->ones[i] = 1;
}

tg_status tg_path_work_create(tg_paths *paths, const tg_graph *g) {
  bool short_of = false;
  tg_path_work *work = some(paths->arena, 1, sizeof *work, &short_of);
  if (work) {
    work->block = some(paths->arena, paths->count, sizeof *work->block, &short_of);
    work->outside = some(paths->arena, (size_t)g->param_count, sizeof *work->outside, &short_of);
    if (work->outside) list_outside(paths, g, work);
    make_shared(paths, work, &short_of);
  }
  for (size_t i = 0; i < paths->count && !short_of; i++)
    if (paths->block[i].special > 0)
      make_scratch(paths->arena, &paths->block[i], &work->block[i], &short_of);
  if (short_of) TG_FAIL(TG_ERUNTIME, "no memory for an update in path space");
  paths->work = work;
  return TG_OK;
}

uint64_t tg_paths_clamped(const tg_paths *paths) {
  return paths->work->clamped;
}

void tg_paths_tell_clamped(const tg_paths *paths, uint64_t count) {
  paths->work->clamped = count;
}

size_t tg_paths_bytes(const tg_paths *paths) {
  return tg_arena_bytes(paths->arena);
}
