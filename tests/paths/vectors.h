/* vectors.h - updates worked by hand: three networks of two units a layer, one sample, lr 0.1. */
#ifndef PATHS_VECTORS_H
#define PATHS_VECTORS_H

#include "nets.h"

enum { VECTOR_MOST = 12 };

typedef struct vector {
  ref_net_spec net;
  size_t outputs;
  double target[2], w[VECTOR_MOST], g[VECTOR_MOST], dv[2], after[VECTOR_MOST];
  double y[2], y10;             /* after one update, and after ten */
  double c[2][2];               /* how hidden units are rescaled, c[n][j] of node layer n+1 */
  double rescaled[VECTOR_MOST]; /* the weights then */
  double rescaled_after[VECTOR_MOST];
  double sgd_y[2]; /* after one update by SGD: of w, and rescaled */
} vector;

static const vector vectors[] = {
    {{"A", 2, {2, 2, 1}, .batch = 1},
     1,
     {3},
     {1, .5, -.25, 1, 1, 1},
     {.75, 1.5, .75, 1.5, 1.5, 1.3125},
     {.75, 1.5},
     {.925, .35, -.325, .85, 1, 1},
     {3},
     3,
     {{2, .5}},
     {2, 1, -.125, .5, .5, 2},
     {1.85, .7, -.1625, .425, .5, 2},
     {2.57578125, 1.004296875}},
    {{"B", 3, {2, 2, 2, 1}, .batch = 1},
     1,
     {2},
     {1, .5, -.5, 1.25, 1, .25, -.5, 1, 1, 1},
     {.75, 1.5, 1.875, 3.75, 3, 3, 3, 3, 3.75, 1.5},
     {2.25, 3.15},
     {.775, .35, -.6875, .935, 1, .07754010695187162, -1.032258064516129, 1, 1, 1},
     {1.5666911764705882},
     1.9999775018013013,
     {{2, .5}, {4, .25}},
     {2, 1, -.25, .625, 2, 2, -.0625, .5, .25, 4},
     {1.55, .7, -.34375, .4675, 2, .620320855614973, -.12903225806451613, .5, .25, 4},
     {.677734375, -8.81640625}},
    {{"C", 2, {2, 2, 2}, .batch = 1},
     2,
     {2, 1},
     {1, .5, -.25, 1, 1, .5, -.75, 1},
     {1.4375, 2.875, -.3125, -.625, 1.75, 1.53125, -1.5, -1.3125},
     {.3125, -1.390625},
     {.96875, .2125, -.21875, 1.1390625, 1, .30452674897119336, -.6193548387096774, 1},
     {2.0208847736625515, 1.1961491935483874},
     0,
     {{4, .125}},
     {4, 2, -.03125, .125, .25, 4, -.1875, 8},
     {3.875, .85, -.02734375, .1423828125, .25, 8 * .30452674897119336, -.6193548387096774 / 4, 8},
     {0}},
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

/* Of the weights, or of the same function's rescaled ones. Inputs are (1, 2). */
static inline task vector_open(const vector *v, bool rescaled) {
  task t = task_open(&v->net);
  memcpy(t.w, rescaled ? v->rescaled : v->w, t.net.n * sizeof *t.w);
  for (size_t i = 0; i < 2; i++) t.x[i] = (double)(i + 1);
  memcpy(t.target, v->target, v->outputs * sizeof *t.target);
  return t;
}

static inline void vector_check(const vector *v, const char *what, const double *want,
                                const double *have, double tolerance) {
  size_t n = ref_net_of(&v->net).n;
  for (size_t i = 0; want && i < n; i++)
    ck_assert_msg(fabs(have[i] - want[i]) <= tolerance * fmax(1, fabs(want[i])),
                  "%s: %s[%zu] is %.17g, not %.17g", v->net.name, what, i, have[i], want[i]);
}

#endif
