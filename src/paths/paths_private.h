/* paths_private.h - what an update in path space works with. */
#ifndef PATHS_PATHS_PRIVATE_H
#define PATHS_PATHS_PRIVATE_H

#include "tardigrad/paths.h"
#include "tardigrad/update.h"

enum { TG_PATH_ROWS = 4 /* that are moved together */ };

/* Products of skeletons of a block, at one vector of weights: p[n][j] from the input to unit j of
 * node layer n, q[n][j] from it to the output, by the routes of paths.h. A weight of layer l from
 * unit i to unit o has the path value w p[l-1][i] q[l][o]. */
typedef struct tg_gauge {
  float **p, **q; /* [L+1][h_n] */
  float *v;       /* [h_s]: values of the skeleton paths, p[s] q[s] */
} tg_gauge;

/* Scratch of one block. */
typedef struct tg_path_scratch {
  tg_gauge now, then;   /* at the weights to be updated, and at those the gradient is of */
  float *inverse_ratio; /* [h_s]: 1 / R */
  float *g;             /* [h_s]: gradients of the trained skeletons */
  double *sum;          /* [h_s]: S */
  float *kept;          /* [2 + TG_MAX_SLOTS][skeletons]: what they are after the update */
  size_t skeletons;     /* of all layers */
} tg_path_scratch;

/* Factors of consecutive weights of a row: [n] each, and one for all of them. */
typedef struct tg_path_factors {
  const float *c, *u, *r;       /* path value = w c, u = 1 / c, 1 / R */
  const float *then_c, *then_u; /* the same where the gradient was computed */
  float row_c, row_u, row_r, row_then_c, row_then_u;
  const float *norm; /* optimizer.gsgd.norm=published, or NULL */
  bool no_columns;   /* c, u, r and those of then are all 1 */
} tg_path_factors;

typedef struct tg_path_work {
  tg_path_scratch *block; /* [paths->count] */
  tg_span *outside;       /* what belongs to no block */
  size_t outside_count;
  float *column[5]; /* [widest row] each: c, u, r, then_c, then_u */
  float *ones;      /* [TG_BLOCK] */
  float *part;      /* [TG_PATH_PARTS][widest row] */
  float *norm;      /* [units x taps of a layer] */
  double *sums;     /* [rows of a layer, or pieces outside][2] */
  float *row[2];    /* [rows of a layer] each: u, then_u */
  uint64_t clamped;
} tg_path_work;

/* One update of one block. */
typedef struct tg_path_pass {
  const tg_update *u;
  const tg_path_block *b;
  tg_path_work *work;
  tg_path_scratch *k;
  float *g;          /* [n]; of skeletons 0 */
  const float *then; /* [n]: weights that the gradient was computed at */
  bool compensates;  /* the rule, here */
  bool plain;        /* the step is d + decay p, of the weights' own gradient */
  tg_update_sums *sums;
} tg_path_pass;

TG_CHECKED tg_status tg_path_work_create(tg_paths *paths, const tg_graph *g);

/* tg_gauge_read - the products at weights w. */
void tg_gauge_read(const tg_path_block *b, const float *w, tg_gauge *out);
/* tg_path_sums - S_j of every trained skeleton: the sum of w g over the weights, and biases, whose
 * path goes through it, skeletons left out: their g is 0. */
void tg_path_sums(const tg_path_block *b, tg_path_work *work, const float *w, const float *g,
                  double *sum);
/* tg_path_norms - of one output unit's weights [in,taps], over input units in their order: [taps].
 */
void tg_path_norms(const tg_path_layer *y, const float *row, float *norm);
/* tg_path_move - `n` weights from element `at` on, of one row or of TG_PATH_ROWS that are `stride`
 * apart; f: of each row. Adds to sums: squares of correction and gradient. n <= TG_BLOCK, and one
 * row, unless x->plain. */
void tg_path_move(const tg_path_pass *x, size_t at, size_t n, size_t stride, size_t rows,
                  const tg_path_factors *f, double *sums);

#endif
