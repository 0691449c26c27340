/* cuda_rows_paths.c - the two passes of an update in path space, for bench_cuda_kernels.c: one
 * block of `channels` layers of 3x3 convolutions that are `rows` wide. Tables and products of
 * skeletons are made once; weights, gradients and slots are other memory in each launch. */
#include <cuda_runtime.h>
#include <stdlib.h>

#include "cuda_rows.h"
#include "tardigrad/rule.h"

enum { TAPS = 9, MOST = 16 };

/* ---- tables ---- */

/* Device memory with these bytes; it stays until the end. NULL: there is none. */
static void *there(const void *from, size_t bytes) {
  void *p = NULL;
  if (cudaMalloc(&p, bytes + 1) != cudaSuccess ||
      cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice) != cudaSuccess)
    return NULL;
  return p;
}

static void *ones_there(size_t count) {
  float *one = malloc((count + 1) * sizeof *one);
  for (size_t i = 0; one && i < count; i++) one[i] = 1;
  void *p = one ? there(one, count * sizeof *one) : NULL;
  free(one);
  return p;
}

static void *layers_there(uint32_t width, uint32_t count) {
  size_t cols = (size_t)width * TAPS;
  tg_cuda_path_layer layer[MOST];
  for (uint32_t l = 0; l < count; l++)
    layer[l] = (tg_cuda_path_layer){.weight = l * width * cols,
                                    .bias = TG_NOWHERE,
                                    .part = l * TG_PATH_PARTS * cols,
                                    .out = width,
                                    .in = width,
                                    .taps = TAPS,
                                    .centre = TAPS / 2,
                                    .skeletons = width,
                                    .first = l * width,
                                    .p = 2 * l * width,
                                    .q = (2 * l + 1) * width,
                                    .side = l > 0};
  return there(layer, count * sizeof *layer);
}

/* Of the first pass: all layers but the first, which is s. */
static void *strips_there(uint32_t width, uint32_t count, uint32_t *strips) {
  uint32_t pieces = (width * TAPS + TG_CUDA_PATH_COLS - 1) / TG_CUDA_PATH_COLS;
  tg_cuda_path_strip *list = calloc((size_t)count * TG_PATH_PARTS * pieces, sizeof *list);
  for (uint32_t l = 1; list && l < count; l++)
    for (uint32_t k = 0; k < TG_PATH_PARTS; k++)
      for (uint32_t i = 0; i < pieces; i++)
        list[(*strips)++] = (tg_cuda_path_strip){l, k, i * TG_CUDA_PATH_COLS};
  void *p = list ? there(list, *strips * sizeof *list) : NULL;
  free(list);
  return p;
}

static void *tiles_there(uint32_t width, uint32_t count, uint32_t *tiles) {
  size_t cols = (size_t)width * TAPS, size = width * cols;
  size_t pieces = (size + TG_CUDA_PATH_TILE - 1) / TG_CUDA_PATH_TILE;
  tg_cuda_path_tile *list = calloc(count * pieces, sizeof *list);
  for (uint32_t l = 0; list && l < count; l++)
    for (size_t i = 0; i < size; i += TG_CUDA_PATH_TILE)
      list[(*tiles)++] = (tg_cuda_path_tile){
          .at = l * size + i,
          .count = (uint32_t)(size - i < TG_CUDA_PATH_TILE ? size - i : TG_CUDA_PATH_TILE),
          .layer = l,
          .row = (uint32_t)(i / cols),
          .col = (uint32_t)(i % cols),
          .kind = TG_CUDA_PATH_WEIGHTS};
  void *p = list ? there(list, *tiles * sizeof *list) : NULL;
  free(list);
  return p;
}

/* The same for every row of the table. */
static const tg_cuda_path_tables *tables_of(uint32_t width, uint32_t count) {
  static tg_cuda_path_tables t;
  if (t.layers) return &t;
  t.layers = count;
  t.blocks = 1;
  t.trained = width;
  t.gauge = 2 * width * count;
  t.layer = layers_there(width, count);
  t.strip = strips_there(width, count, &t.strips);
  t.tile = tiles_there(width, count, &t.tiles);
  t.now = t.then = ones_there((size_t)2 * t.gauge);
  t.ratio = ones_there(width);
  t.part = ones_there((size_t)count * TG_PATH_PARTS * width * TAPS);
  t.parts = ones_there(tg_cuda_path_parts(&t) * TG_CUDA_PATH_SUMS * sizeof(double) / sizeof(float));
  return &t;
}

/* ---- rows ---- */

typedef int pass(const tg_cuda_launch *l, const tg_cuda_path_tables *t, const tg_cuda_path_args *a);

/* So many vectors of parameters are moved. */
static int run_pass(tg_bench_run *r, pass *of, const char *optimizer, int slots, double vectors) {
  static const tg_hyper hyper = {.lr = 1e-6f, .momentum = 0.9f, .weight_decay = 1e-4f};
  double bytes = sizeof(float) * TAPS * (double)(r->rows * r->rows * r->channels);
  tg_cuda_path_args a = {.optimizer = optimizer, .hyper = &hyper};
  a.w = take(r, bytes);
  a.g = take(r, bytes);
  a.then = a.w;
  for (int i = 0; i < slots; i++) a.slot[i] = take(r, bytes);
  r->bytes = vectors * bytes;
  return LAUNCH(r, of(&r->launch, tables_of((uint32_t)r->rows, (uint32_t)r->channels), &a));
}

/* Nothing is read of the first of so many layers. */
static int sums(tg_bench_run *r) {
  return run_pass(r, tg_cuda_path_sums, "gsgd", 0, 2 - 2.0 / (double)r->channels);
}
static int move(tg_bench_run *r) {
  return run_pass(r, tg_cuda_path_move, "gsgd", 0, 3);
}
static int move_momentum(tg_bench_run *r) {
  return run_pass(r, tg_cuda_path_move, "gsgd-momentum", 1, 5);
}

const tg_bench_row tg_bench_paths[] = {
    {"path_sums", "11 x 512x512x3x3", 512, 11, TG_BENCH_F32, sums},
    {"path_move gsgd", "11 x 512x512x3x3", 512, 11, TG_BENCH_F32, move},
    {"path_move gsgd-momentum", "11 x 512x512x3x3", 512, 11, TG_BENCH_F32, move_momentum},
    {NULL, NULL, 0, 0, 0, NULL}};
