/* path_net.h - a small network of dense layers for tests of updates in path space: its paths and
 * layout as a run would have them, and gradients of 1/2 |y - t|^2 in double. */
#ifndef SUPPORT_PATH_NET_H
#define SUPPORT_PATH_NET_H

#include "ref_late_paths.h"
#include "tardigrad/graph.h"
#include "tardigrad/optim.h"
#include "tardigrad/paths.h"

enum { PATH_NET_WIDTH = 16 };

typedef struct path_net {
  tg_graph *graph;
  tg_paths *paths;
  tg_layout layout;
  ref_path_shape shape;
  size_t n;
} path_net;

/* widths[0 .. layers]: of the input, of each layer. */
void path_net_open(path_net *net, const size_t *widths, int layers, bool bias);
void path_net_close(path_net *net);

/* Gradient g [n] at w of one sample; y: the outputs. Either may be NULL. Multiplying by powers of
 * two what enters a unit, and dividing what leaves it, does so to g the other way round, and to no
 * bit of y. */
void path_net_gradient(const path_net *net, const float *w, const double *x, const double *t,
                       float *g, double *y);

/* Weights to start from, skeletons of about 1 or, `canonical`, of 1: a function of the seed. */
void path_net_initial(const path_net *net, uint64_t seed, bool canonical, float *w);
/* Powers of two, up and down, for every hidden unit; `back`: undone. */
void path_net_rescale(const path_net *net, uint64_t seed, bool back, float *w);

#endif
