#include "data/files.h"

#include "tardigrad/rng.h"

#include <inttypes.h>
#include <stdlib.h>

/* A set made from the seed, the same to the bit on every machine (integer arithmetic only), that
 * small networks learn in seconds and cannot learn to the last sample.
 *
 * Class c has a prototype: per channel a GRID x GRID grid of random bytes, interpolated to 32x32.
 * Sample i of a split has label i mod 10. Its image is the prototype of its class mixed with that
 * of another class (the share of its own is uniform in 1/2 to 1: near 1/2 the two cannot be told
 * apart), moved by up to SHIFT pixels each way around the edges, plus nearly normal noise. */
enum { CHANNELS = 3, SIDE = 32, CLASSES = 10, GRID = 4, CELL = SIDE / GRID, SHIFT = 3 };
enum { PLANE = SIDE * SIDE, IMAGE = CHANNELS * PLANE, TRAIN = 10000, TEST = 2000 };
enum { STREAM_PROTOTYPES = 2 }; /* beside TG_TRAIN and TG_TEST */

typedef uint8_t prototypes[CLASSES][CHANNELS][SIDE][SIDE];

/* Bilinear, around the edges, in units of 1/CELL^2. */
static uint8_t interpolate(uint8_t grid[GRID][GRID], int y, int x) {
  int y0 = y / CELL, x0 = x / CELL, y1 = (y0 + 1) % GRID, x1 = (x0 + 1) % GRID;
  int fy = y % CELL, fx = x % CELL;
  int top = grid[y0][x0] * (CELL - fx) + grid[y0][x1] * fx;
  int bottom = grid[y1][x0] * (CELL - fx) + grid[y1][x1] * fx;
  return (uint8_t)((top * (CELL - fy) + bottom * fy) / (CELL * CELL));
}

static void make_prototypes(uint64_t seed, prototypes p) {
  for (int c = 0; c < CLASSES; c++) {
    tg_rng r = tg_rng_open(seed, TG_RNG_DATA, STREAM_PROTOTYPES, (uint64_t)c);
    for (int k = 0; k < CHANNELS; k++) {
      uint8_t grid[GRID][GRID];
      for (int i = 0; i < GRID * GRID; i++) grid[i / GRID][i % GRID] = tg_rng_u32(&r) & 0xff;
      for (int i = 0; i < PLANE; i++)
        p[c][k][i / SIDE][i % SIDE] = interpolate(grid, i / SIDE, i % SIDE);
    }
  }
}

/* The sum of four uniform bytes less its mean: standard deviation 148, here made 37. */
static int noise(uint32_t bits) {
  int sum = (int)((bits & 0xff) + (bits >> 8 & 0xff) + (bits >> 16 & 0xff) + (bits >> 24));
  return (sum - 510) / 4;
}

static uint8_t clamp(int value) {
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void make_image(uint64_t seed, tg_split split, uint32_t sample, int label, prototypes p,
                       uint8_t *out) {
  tg_rng r = tg_rng_open(seed, TG_RNG_DATA, split, sample);
  int other = (label + 1 + (int)tg_rng_below(&r, CLASSES - 1)) % CLASSES;
  int share = 128 + (int)tg_rng_below(&r, 129); /* of 256 */
  int dy = SIDE - SHIFT + (int)tg_rng_below(&r, 2 * SHIFT + 1);
  int dx = SIDE - SHIFT + (int)tg_rng_below(&r, 2 * SHIFT + 1);
  for (int k = 0; k < CHANNELS; k++)
    for (int y = 0; y < SIDE; y++)
      for (int x = 0; x < SIDE; x++) {
        int sy = (y + dy) % SIDE, sx = (x + dx) % SIDE;
        int mixed = (share * p[label][k][sy][sx] + (256 - share) * p[other][k][sy][sx]) / 256;
        *out++ = clamp(mixed + noise(tg_rng_u32(&r)));
      }
}

static tg_status load(const tg_dataset_source *self, const tg_data_options *options,
                      const char *folder, tg_split split, uint32_t *count, uint8_t **pixels,
                      int32_t **labels) {
  (void)folder;
  uint32_t most = split == TG_TRAIN ? self->train_count : self->test_count;
  uint32_t limit = split == TG_TRAIN ? options->train_limit : options->test_limit;
  *count = limit > 0 && limit < most ? limit : most;
  *pixels = malloc((size_t)*count * IMAGE);
  *labels = malloc((size_t)*count * sizeof **labels);
  uint8_t(*p)[CHANNELS][SIDE][SIDE] = malloc(sizeof(prototypes));
  if (!*pixels || !*labels || !p) {
    free(p);
    TG_FAIL(TG_ERUNTIME, "%s: no memory for %" PRIu32 " images", self->name, *count);
  }
  make_prototypes(options->seed, p);
  for (uint32_t i = 0; i < *count; i++) {
    (*labels)[i] = (int32_t)(i % CLASSES);
    make_image(options->seed, split, i, (*labels)[i], p, *pixels + (size_t)i * IMAGE);
  }
  free(p);
  return TG_OK;
}

/* Mean and standard deviation are those over many seeds; one seed's set differs by a few percent.
 */
const tg_dataset_source tg_dataset_synthetic = {
    .name = "synthetic",
    .help = "made from run.seed: noisy mixtures of patterns, 3x32x32, 10 classes; needs no files",
    .channels = CHANNELS,
    .height = SIDE,
    .width = SIDE,
    .classes = CLASSES,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.215f, 0.215f, 0.215f},
    .train_count = TRAIN,
    .test_count = TEST,
    .folders = "",
    .load = load,
    .present = NULL,
};
