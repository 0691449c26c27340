/* ref_late.h - what rules that are more than a change of the gradient should do: scalar loops in
 * double, one coordinate at a time, written from the papers, sharing nothing with src/. */
#ifndef SUPPORT_REF_LATE_H
#define SUPPORT_REF_LATE_H

#include <stdbool.h>
#include <stddef.h>

enum { REF_LATE_WORKERS = 16 };

typedef struct ref_late {
  const char *rule;
  bool velocity; /* the optimiser is momentum */
  size_t n;
  int workers;
  double momentum, weight_decay, step_decay, steps_ahead, elasticity;
  double *w, *v, *sent[REF_LATE_WORKERS], *own[REF_LATE_WORKERS];
  double *squares, *last; /* of steps */
  double updates;
} ref_late;

/* Sizes and settings are laid down by the caller. */
void ref_late_open(ref_late *r, const float *w0);
void ref_late_close(ref_late *r);
/* What worker m brought, a gradient (easgd: weights), at this learning rate of the schedule, its
 * weights being `staleness` updates old. */
void ref_late_push(ref_late *r, int m, const double *brought, double lr, double staleness);
/* What worker m is sent: to train, or to evaluate. */
void ref_late_pull(ref_late *r, int m, bool evaluates);

#endif
