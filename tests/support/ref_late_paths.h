/* ref_late_paths.h - a parameter server whose optimiser moves basis paths, as it should be: in
 * double, one weight at a time, from the definitions and not from the formulas of two passes. It
 * shares nothing with src/. */
#ifndef SUPPORT_REF_LATE_PATHS_H
#define SUPPORT_REF_LATE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

enum { REF_PATH_LAYERS = 6, REF_PATH_WORKERS = 8 };
#define REF_PATH_NO_BIAS ((size_t)-1)

/* A network of dense layers 1 .. layers, all in one block: layer l has `width[l]` units, its weight
 * [width[l],width[l-1]] begins at weight[l], its bias at bias[l] or is not there. */
typedef struct ref_path_shape {
  int layers;
  size_t n, width[REF_PATH_LAYERS + 1];
  size_t weight[REF_PATH_LAYERS + 1], bias[REF_PATH_LAYERS + 1];
} ref_path_shape;

typedef enum { REF_PATH_ASGD, REF_PATH_DC_C, REF_PATH_DC_A } ref_path_rule;

typedef struct ref_path_settings {
  ref_path_shape shape;
  ref_path_rule rule;
  bool in_paths; /* compensation of path gradients, which are then those at the weights pulled */
  bool global;   /* one mean square for all */
  double lambda, decay, epsilon, cap;
  double momentum, weight_decay;
  int workers;
} ref_path_settings;

typedef struct ref_path_server {
  ref_path_settings set;
  double *w, *velocity, *bak[REF_PATH_WORKERS], *square[REF_PATH_WORKERS];
} ref_path_server;

void ref_path_open(ref_path_server *r, const ref_path_settings *set, const float *w0);
void ref_path_close(ref_path_server *r);
void ref_path_push(ref_path_server *r, int worker, const float *g, double lr);
void ref_path_pull(ref_path_server *r, int worker);

/* Value of the basis path that weight i of the vector stands for: of a frozen skeleton itself. */
double ref_path_value(const ref_path_shape *s, const double *w, size_t i);

#endif
