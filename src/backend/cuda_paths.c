/* cuda_paths.c - what kernels/paths.cu works on, made once for a model: tables of layers, blocks
 * and pieces of work, and scratch, in one piece of device memory. */
#include "backend/cuda_paths.h"

#include <stdlib.h>
#include <string.h>

typedef struct device_paths {
  tg_cuda_path_tables t;
  void *memory;
} device_paths;

/* Tables in host memory. Filled twice: the first time they are NULL, and only their lengths are
 * found. */
typedef struct maker {
  const tg_paths *paths;
  size_t n;
  tg_cuda_path_tables t; /* the numbers */
  tg_cuda_path_layer *layer;
  tg_cuda_path_block *block;
  tg_cuda_path_strip *strip, *norm_strip;
  tg_cuda_path_tile *tile;
  uint32_t *owner;
  size_t parts, norms; /* floats */
} maker;

/* ---- pieces of work ---- */

static void add_strip(tg_cuda_path_strip *list, uint32_t *count, uint32_t layer, uint32_t part,
                      size_t first) {
  if (list) list[*count] = (tg_cuda_path_strip){layer, part, (uint32_t)first};
  (*count)++;
}

static void add_strips(maker *m, uint32_t layer, const tg_path_layer *y, int side) {
  size_t cols = y->in * y->taps, parts = side > 0 ? TG_PATH_PARTS : side < 0 ? 1 : 0;
  size_t length = side > 0 ? cols : y->out, step = side > 0 ? TG_CUDA_PATH_COLS : TG_CUDA_PATH_ROWS;
  for (uint32_t k = 0; k < parts; k++)
    for (size_t i = 0; i < length; i += step) add_strip(m->strip, &m->t.strips, layer, k, i);
  for (size_t i = 0; i < y->out * y->taps; i += TG_CUDA_PATH_COLS)
    add_strip(m->norm_strip, &m->t.norm_strips, layer, 0, i);
  m->parts += side > 0 ? TG_PATH_PARTS * cols : side < 0 ? TG_SUM_LANES * y->out : 0;
  m->norms += y->out * y->taps;
}

/* Cut where memory is aligned. */
static void add_tiles(maker *m, tg_cuda_path_kind kind, uint32_t layer, tg_span span, size_t cols) {
  for (size_t at = span.lo, end; at < span.hi; at = end) {
    end = (at / TG_CUDA_PATH_TILE + 1) * TG_CUDA_PATH_TILE;
    if (end > span.hi) end = span.hi;
    size_t e = kind == TG_CUDA_PATH_OUTSIDE ? 0 : at - span.lo;
    if (m->tile)
      m->tile[m->t.tiles] = (tg_cuda_path_tile){.at = at,
                                                .count = (uint32_t)(end - at),
                                                .layer = layer,
                                                .row = (uint32_t)(e / cols),
                                                .col = (uint32_t)(e % cols),
                                                .kind = kind};
    m->t.tiles++;
  }
}

/* The first tensor of a block that begins at `from` or behind it. */
static tg_span next_of_blocks(const tg_paths *paths, size_t from) {
  tg_span next = {SIZE_MAX, SIZE_MAX};
  for (size_t i = 0; i < paths->count; i++)
    for (int l = 0; l < paths->block[i].count; l++) {
      const tg_path_layer *y = &paths->block[i].layer[l];
      size_t size = y->out * y->in * y->taps;
      if (y->offset >= from && y->offset < next.lo) next = (tg_span){y->offset, y->offset + size};
      if (y->bias != TG_NOWHERE && y->bias >= from && y->bias < next.lo)
        next = (tg_span){y->bias, y->bias + y->out};
    }
  return next;
}

static void add_outside(maker *m) {
  for (size_t at = 0; at < m->n;) {
    tg_span next = next_of_blocks(m->paths, at);
    tg_span outside = {at, next.lo < m->n ? next.lo : m->n};
    add_tiles(m, TG_CUDA_PATH_OUTSIDE, 0, outside, 1);
    at = next.lo < m->n ? next.hi : m->n;
  }
}

/* ---- layers and blocks ---- */

static void add_layer(maker *m, const tg_path_block *b, int l, uint32_t trained) {
  const tg_path_layer *y = &b->layer[l - 1];
  uint32_t at = m->t.layers++;
  int side = (l > b->special) - (l < b->special);
  if (m->layer)
    m->layer[at] = (tg_cuda_path_layer){.weight = y->offset,
                                        .bias = y->bias,
                                        .part = m->parts,
                                        .out = (uint32_t)y->out,
                                        .in = (uint32_t)y->in,
                                        .taps = (uint32_t)y->taps,
                                        .centre = (uint32_t)y->centre,
                                        .skeletons = (uint32_t)tg_path_skeletons(b, l),
                                        .first = m->t.skeletons,
                                        .p = m->t.gauge,
                                        .q = m->t.gauge + (uint32_t)y->in,
                                        .norm = (uint32_t)m->norms,
                                        .trained = trained,
                                        .side = (int8_t)side,
                                        .hollow = y->hollow};
  m->t.gauge += (uint32_t)(y->in + y->out);
  m->t.skeletons += (uint32_t)tg_path_skeletons(b, l);
  size_t cols = y->in * y->taps;
  add_strips(m, at, y, side);
  add_tiles(m, TG_CUDA_PATH_WEIGHTS, at, (tg_span){y->offset, y->offset + y->out * cols}, cols);
  if (y->bias != TG_NOWHERE)
    add_tiles(m, TG_CUDA_PATH_BIASES, at, (tg_span){y->bias, y->bias + y->out}, y->out);
}

static void add_block(maker *m, const tg_path_block *b) {
  uint32_t at = m->t.blocks++, layer = m->t.layers, trained = m->t.trained;
  for (int l = 1; l <= b->count; l++) add_layer(m, b, l, trained);
  if (m->block)
    m->block[at] = (tg_cuda_path_block){.layer = layer,
                                        .count = (uint32_t)b->count,
                                        .special = (uint32_t)b->special,
                                        .trained = trained,
                                        .v = m->t.gauge};
  for (size_t j = 0; j < tg_path_width(b, b->special); j++) {
    if (m->owner) m->owner[m->t.trained] = at;
    m->t.trained++;
    m->t.gauge++;
  }
}

static void fill(maker *m) {
  m->t = (tg_cuda_path_tables){0};
  m->parts = m->norms = 0;
  for (size_t i = 0; i < m->paths->count; i++) add_block(m, &m->paths->block[i]);
  add_outside(m);
}

/* ---- memory ---- */

/* A piece of device memory, and what is copied there. */
typedef struct piece {
  void *pointer; /* of a pointer of the tables */
  size_t bytes;
  const void *from; /* NULL: scratch */
} piece;

static size_t room(size_t bytes) {
  return tg_cuda_round(bytes ? bytes : 1);
}

static tg_status place(tg_device *d, device_paths *p, const piece *list, size_t count) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += room(list[i].bytes);
  TG_TRY(d->backend->alloc(d, bytes, &p->memory));
  char *at = p->memory;
  for (size_t i = 0; i < count; at += room(list[i++].bytes)) {
    if (list[i].from) TG_TRY(d->backend->to_device(d, at, list[i].from, list[i].bytes));
    if (list[i].bytes) memcpy(list[i].pointer, &at, sizeof at);
  }
  return TG_OK;
}

static tg_status move_there(tg_device *d, const maker *m, const tg_update *u, device_paths *p) {
  tg_cuda_path_tables *t = &p->t;
  *t = m->t;
  size_t kept = (size_t)(3 + u->optimizer->slots) * t->skeletons, gauge = 2 * (size_t)t->gauge;
  const piece list[] = {
      {&t->layer, t->layers * sizeof *m->layer, m->layer},
      {&t->block, t->blocks * sizeof *m->block, m->block},
      {&t->strip, t->strips * sizeof *m->strip, m->strip},
      {&t->norm_strip, t->norm_strips * sizeof *m->norm_strip, m->norm_strip},
      {&t->tile, t->tiles * sizeof *m->tile, m->tile},
      {&t->owner, t->trained * sizeof *m->owner, m->owner},
      {&t->now, gauge * sizeof(float), NULL},
      {&t->then, gauge * sizeof(float), NULL},
      {&t->part, m->parts * sizeof(float), NULL},
      {&t->norm, u->hyper.keys.path_norm ? m->norms * sizeof(float) : 0, NULL},
      {&t->ratio, t->trained * sizeof(float), NULL},
      {&t->g, t->trained * sizeof(float), NULL},
      {&t->kept, kept * sizeof(float), NULL},
      {&t->parts, tg_cuda_path_parts(t) * TG_CUDA_PATH_SUMS * sizeof(double), NULL},
      {&t->clamped, sizeof *t->clamped, NULL},
  };
  return place(d, p, list, sizeof list / sizeof *list);
}

static tg_status make_lists(maker *m) {
  fill(m);
  m->layer = calloc(m->t.layers + 1, sizeof *m->layer);
  m->block = calloc(m->t.blocks + 1, sizeof *m->block);
  m->strip = calloc(m->t.strips + 1, sizeof *m->strip);
  m->norm_strip = calloc(m->t.norm_strips + 1, sizeof *m->norm_strip);
  m->tile = calloc(m->t.tiles + 1, sizeof *m->tile);
  m->owner = calloc(m->t.trained + 1, sizeof *m->owner);
  if (!m->layer || !m->block || !m->strip || !m->norm_strip || !m->tile || !m->owner)
    TG_FAIL(TG_ERUNTIME, "no memory for an update in path space");
  fill(m);
  return TG_OK;
}

static void free_lists(maker *m) {
  free(m->layer);
  free(m->block);
  free(m->strip);
  free(m->norm_strip);
  free(m->tile);
  free(m->owner);
}

/* ---- the row ---- */

static tg_status check(const tg_update *u, const tg_layout *layout) {
  const tg_rule *rule = u->rule;
  if (!u->optimizer->path_step || !tg_cuda_path_has_optimizer(u->optimizer->name))
    TG_FAIL(TG_ECONFIG, "device cuda has no kernel for optimizer %s: set server.device=cpu",
            u->optimizer->name);
  bool corrects = rule->compensate && !tg_cuda_path_has_rule(rule->name);
  if (corrects || rule->step || rule->settle || rule->serve)
    TG_FAIL(TG_ECONFIG,
            "device cuda has no kernel for rule %s with optimizer %s: set server.device=cpu",
            rule->name, u->optimizer->name);
  if (!layout->paths || layout->paths->count == 0)
    TG_FAIL(TG_ECONFIG, "optimizer %s: the model has no path blocks", u->optimizer->name);
  return TG_OK;
}

tg_status tg_cuda_paths_open(tg_device *d, const tg_update *u, const tg_layout *layout, size_t n,
                             void **out) {
  tg_status status = TG_OK;
  TG_TRY(check(u, layout));
  maker m = {.paths = layout->paths, .n = n};
  device_paths *p = calloc(1, sizeof *p);
  if (!p) TG_FAIL(TG_ERUNTIME, "no memory for an update in path space");
  TG_DO(make_lists(&m));
  TG_DO(move_there(d, &m, u, p));
  *out = p;
done:
  free_lists(&m);
  if (status != TG_OK) tg_cuda_paths_close(d, p);
  return status;
}

void tg_cuda_paths_close(tg_device *d, void *whole) {
  device_paths *p = whole;
  if (p && p->memory) d->backend->free(d, p->memory);
  free(p);
}

tg_status tg_cuda_paths_clamped(tg_device *d, void *whole, uint64_t *out) {
  const device_paths *p = whole;
  return d->backend->to_host_later(d, out, p->t.clamped, sizeof *out);
}

static bool compensates_weights(const tg_update *u) {
  return u->rule->compensate && !u->hyper.keys.path_compensate;
}

tg_status tg_cuda_paths_update(tg_device *d, void *whole, const tg_update *u, float *g,
                               tg_update_sums *sums) {
  const device_paths *p = whole;
  tg_hyper hyper = u->hyper;
  bool in_paths = hyper.keys.path_compensate;
  tg_optimizer_prepare(u->optimizer, &hyper);
  tg_cuda_path_args a = {.rule = in_paths && u->rule->compensate ? u->rule->name : NULL,
                         .optimizer = u->optimizer->name,
                         .hyper = &hyper,
                         .w = u->w,
                         .g = g,
                         .then = in_paths && u->w_bak ? u->w_bak : u->w,
                         .w_bak = sums && !compensates_weights(u) ? u->w_bak : NULL,
                         .bak_out = u->bak_out,
                         .state = u->rule_state,
                         .sums = (double *)sums};
  for (int i = 0; i < u->optimizer->slots; i++) a.slot[i] = u->slot[i];
  TG_CUDA((cudaError_t)tg_cuda_path_update(&tg_cuda(d)->launch, &p->t, &a));
  return TG_OK;
}

tg_status tg_cuda_paths_rule(tg_device *d, const tg_update *u, tg_span span, float *g,
                             tg_update_sums *sums) {
  tg_cuda_device *c = tg_cuda(d);
  size_t lo = span.lo, scratch = TG_CUDA_UPDATE_PARTS * TG_CUDA_PATH_SUMS * sizeof(double);
  if (!compensates_weights(u)) return TG_OK;
  TG_TRY(tg_cuda_need_staging(c, scratch));
  tg_update_args a = {.rule = u->rule->name,
                      .hyper = &u->hyper,
                      .count = span.hi - lo,
                      .w = u->w + lo,
                      .w_bak = u->w_bak ? u->w_bak + lo : NULL,
                      .state = u->rule_state ? u->rule_state + lo : NULL,
                      .sums = (double *)sums,
                      .parts = c->staging};
  TG_CUDA((cudaError_t)tg_cuda_path_compensate(&c->launch, &a, g));
  return TG_OK;
}
