/* ref_update.h - what the rules and optimisers should do: one scalar loop each, written from the
 * papers, sharing nothing with src/. In double and in float. Also two mistakes that other
 * implementations made, to show that ours is not one of them. */
#ifndef SUPPORT_REF_UPDATE_H
#define SUPPORT_REF_UPDATE_H

#include <stdbool.h>
#include <stddef.h>

enum { REF_WORKERS = 16 };

typedef enum {
  REF_ASGD,
  REF_DC_C,
  REF_DC_A,
  REF_MXNET,     /* one backup for all workers: the weights before the last update by anyone */
  REF_MULTIVERSO /* as DC_C, but backups begin at zero */
} ref_rule;
typedef enum { REF_SGD, REF_MOMENTUM, REF_NESTEROV } ref_optimizer;

typedef struct ref_settings {
  ref_rule rule;
  ref_optimizer optimizer;
  bool global_mean_square;
  double lambda, decay, epsilon, cap, momentum, weight_decay;
  size_t n;
  int workers;
} ref_settings;

/* A parameter server in double and in float: w[n], and what each worker last pulled. */
typedef struct ref_double {
  ref_settings set;
  double *w, *bak[REF_WORKERS], *ms[REF_WORKERS], *v;
} ref_double;
typedef struct ref_float {
  ref_settings set;
  float *w, *bak[REF_WORKERS], *ms[REF_WORKERS], *v;
} ref_float;

void ref_double_open(ref_double *r, const ref_settings *set, const float *w0);
void ref_double_push(ref_double *r, int worker, const float *g, double lr);
void ref_double_pull(ref_double *r, int worker);
void ref_double_close(ref_double *r);

void ref_float_open(ref_float *r, const ref_settings *set, const float *w0);
void ref_float_push(ref_float *r, int worker, const float *g, double lr);
void ref_float_pull(ref_float *r, int worker);
void ref_float_close(ref_float *r);

#endif
