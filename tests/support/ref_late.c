#include "ref_late.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *copy_of(const float *x, size_t n) {
  double *y = calloc(n, sizeof *y);
  for (size_t i = 0; x && i < n; i++) y[i] = x[i];
  return y;
}

void ref_late_open(ref_late *r, const float *w0) {
  bool own_weights = strcmp(r->rule, "dana-slim") != 0;
  r->w = copy_of(w0, r->n);
  r->v = copy_of(NULL, r->n);
  r->squares = copy_of(NULL, r->n);
  r->last = copy_of(NULL, r->n);
  r->updates = 0;
  for (int m = 0; m < r->workers; m++) {
    r->sent[m] = copy_of(w0, r->n);
    r->own[m] = copy_of(own_weights ? w0 : NULL, r->n);
  }
}

void ref_late_close(ref_late *r) {
  free(r->w);
  free(r->v);
  free(r->squares);
  free(r->last);
  for (int m = 0; m < r->workers; m++) {
    free(r->sent[m]);
    free(r->own[m]);
  }
}

static bool is(const ref_late *r, const char *rule) {
  return strcmp(r->rule, rule) == 0;
}

/* w -= lr (g + wd w), or the same through a velocity. */
static void descend(ref_late *r, size_t i, double g, double lr) {
  double d = g + r->weight_decay * r->w[i];
  r->v[i] = r->momentum * r->v[i] + d;
  r->w[i] -= lr * (r->velocity ? r->v[i] : d);
}

static double gap_penalty(const ref_late *r, int m, size_t i) {
  double gap = fabs(r->w[i] - r->sent[m][i]), c = sqrt(r->squares[i]);
  return gap == 0 ? 1 : 1 + gap / c;
}

static void dana(ref_late *r, int m, size_t i, double g, double lr) {
  double d = g + r->weight_decay * r->w[i];
  r->own[m][i] = r->momentum * r->own[m][i] + d;
  r->w[i] -= lr * (r->momentum * r->own[m][i] + d);
}

static void dave(ref_late *r, int m, size_t i, double g, double lr) {
  double z = r->sent[m][i], mean = 0;
  r->own[m][i] = z - lr * (g + r->weight_decay * z);
  for (int k = 0; k < r->workers; k++) mean += r->own[k][i] / r->workers;
  r->w[i] = mean;
}

static void elastic(ref_late *r, int m, size_t i, double x) {
  double w = r->w[i];
  r->w[i] = w + r->elasticity * (x - w);
  r->own[m][i] = x + r->elasticity * (w - x);
}

void ref_late_push(ref_late *r, int m, const double *brought, double lr, double staleness) {
  double forget = 1 - r->step_decay;
  r->updates++;
  if (1 / r->updates > forget) forget = 1 / r->updates;
  for (size_t i = 0; i < r->n; i++) {
    double before = r->w[i], g = brought[i];
    if (is(r, "staleness-lr")) descend(r, i, g, staleness >= 1 ? lr / staleness : lr);
    if (is(r, "gap-aware")) descend(r, i, g / gap_penalty(r, m, i), lr);
    if (is(r, "xgrad")) descend(r, i, g, lr);
    if (is(r, "dana-slim")) dana(r, m, i, g, lr);
    if (is(r, "dave-rpg")) dave(r, m, i, g, lr);
    if (is(r, "easgd")) elastic(r, m, i, g);
    r->last[i] = r->w[i] - before;
    r->squares[i] += forget * (r->last[i] * r->last[i] - r->squares[i]);
  }
}

void ref_late_pull(ref_late *r, int m, bool evaluates) {
  for (size_t i = 0; i < r->n; i++) {
    r->sent[m][i] = r->w[i];
    if (evaluates) continue;
    if (is(r, "xgrad")) r->sent[m][i] += r->steps_ahead * r->last[i];
    if (is(r, "easgd")) r->sent[m][i] = r->own[m][i];
  }
}
