/* paths.h - launchers of kernels/paths.cu: an update in path space, as tg_path_update
 * (tardigrad/paths.h) makes it on the CPU, to the last bit.
 *
 * What it works on is in tables, in device memory, that are made once for a model: all layers of
 * all blocks are in one launch of each step. Positions are those in the flat vectors. A gauge is an
 * array of products of skeletons, p[l-1] and q[l] of every layer and v of every block, and behind
 * it their inverses. */
#ifndef KERNELS_PATHS_H
#define KERNELS_PATHS_H

#include "kernels/update.h"
#include "tardigrad/paths.h"

enum {
  TG_CUDA_PATH_TILE = 4096, /* elements, at most, of a piece of work of the second pass */
  TG_CUDA_PATH_ROWS = 16,   /* rows, or */
  TG_CUDA_PATH_COLS = 256,  /* columns of a piece of work of the first one, and norms of a piece */
  TG_CUDA_PATH_SUMS = 4     /* of correction, gradient, gap; ratios kept in limits */
};

typedef struct tg_cuda_path_layer {
  size_t weight, bias; /* [out,in,taps], [out] or TG_NOWHERE */
  size_t part;         /* of its sums: [TG_PATH_PARTS][in,taps], or [out][TG_SUM_LANES] before s */
  uint32_t out, in, taps, centre;
  uint32_t skeletons, first; /* their number; the place of the first in `kept` */
  uint32_t p, q;             /* of p[l-1] [in] and q[l] [out] in a gauge */
  uint32_t norm;             /* of its norms [out,taps] */
  uint32_t trained;          /* of its block's in `ratio` */
  int8_t side;               /* -1: before s, 0: it is layer s, 1: behind it */
  bool hollow;
} tg_cuda_path_layer;

typedef struct tg_cuda_path_block {
  uint32_t layer, count; /* its first layer, how many */
  uint32_t special;      /* 1 .. count - 1 */
  uint32_t trained;      /* of the first of its skeleton paths, among those of all blocks */
  uint32_t v;            /* of them in a gauge */
} tg_cuda_path_block;

/* Of the first pass: sums of part `part` of the rows in columns from `first` on, or of the rows
 * from `first` on. Of norms: those from `first` on. */
typedef struct tg_cuda_path_strip {
  uint32_t layer, part, first;
} tg_cuda_path_strip;

typedef enum { TG_CUDA_PATH_WEIGHTS, TG_CUDA_PATH_BIASES, TG_CUDA_PATH_OUTSIDE } tg_cuda_path_kind;

/* Of the second pass: elements [at,at+count), the first in that row and column. */
typedef struct tg_cuda_path_tile {
  size_t at;
  uint32_t count, layer, row, col;
  tg_cuda_path_kind kind;
} tg_cuda_path_tile;

/* All pointers device memory, the numbers those of the arrays. */
typedef struct tg_cuda_path_tables {
  const tg_cuda_path_layer *layer;
  const tg_cuda_path_block *block;
  const tg_cuda_path_strip *strip, *norm_strip;
  const tg_cuda_path_tile *tile;
  const uint32_t *owner; /* [trained] */
  uint32_t layers, blocks, strips, norm_strips, tiles;
  uint32_t trained, skeletons; /* of all blocks */
  uint32_t gauge;              /* floats of one, without inverses */
  /* Scratch. */
  float *now, *then;  /* [2][gauge] */
  float *part, *norm; /* as the layers say; norm NULL: optimizer.gsgd.norm is not published */
  float *ratio, *g;   /* [trained]: 1 / R; gradients of trained skeletons */
  float *kept;        /* [3 + slots][skeletons]: w, w_bak, state, slots */
  double *parts;      /* [tg_cuda_path_parts()][TG_CUDA_PATH_SUMS] */
  uint64_t *clamped;  /* counts on */
} tg_cuda_path_tables;

/* Vectors [n], given by element 0. */
typedef struct tg_cuda_path_args {
  const char *rule, *optimizer; /* names; host memory. rule NULL: none compensates here */
  const struct tg_hyper *hyper; /* with factors; host memory */
  float *w, *g;                 /* overwritten both */
  const float *then;            /* weights that the gradient was computed at; may be w */
  const float *w_bak;           /* for the sum of the gap; NULL: it is not wanted */
  float *bak_out;               /* becomes w; NULL: none. May be `then` and w_bak */
  float *state;                 /* of rules that have one */
  float *slot[TG_CUDA_UPDATE_SLOTS];
  double *sums; /* [3]: squares of correction, gradient and gap are added; NULL: none */
} tg_cuda_path_args;

/* tg_cuda_path_has_rule - whether a rule's compensation has a kernel in path space; it has none
 * where it corrects nothing. tg_cuda_path_has_optimizer - likewise its path_step. */
bool tg_cuda_path_has_rule(const char *name);
bool tg_cuda_path_has_optimizer(const char *name);
/* tg_cuda_path_parts - rows of tables.parts. */
size_t tg_cuda_path_parts(const tg_cuda_path_tables *t);

/* tg_cuda_path_update - all of it. tg_cuda_path_sums, tg_cuda_path_move - its two passes over
 * memory alone, for benchmarks: what they read of the scratch must be there. cudaErrorInvalidValue
 * for names without a kernel, or where a vector is missing. */
int tg_cuda_path_update(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                        const tg_cuda_path_args *a);
int tg_cuda_path_sums(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                      const tg_cuda_path_args *a);
int tg_cuda_path_move(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                      const tg_cuda_path_args *a);

/* tg_cuda_path_compensate - what the rule makes of the gradient of weights, over a span: g becomes
 * it, and the state. Vectors begin at the first element of the span. parts
 * [TG_CUDA_PATH_SUMS * TG_CUDA_UPDATE_PARTS] is scratch where there are sums. */
int tg_cuda_path_compensate(const tg_cuda_launch *l, const tg_update_args *a, float *g);

#endif
