#include "ref_paths.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- skeletons ---- */

static size_t width(const ref_block *b, int n) {
  return n == 0 ? b->layer[0].in : b->layer[n - 1].out;
}

ref_block ref_block_of(const ref_net *net) {
  ref_block b = {.count = net->layers, .special = 1};
  for (int l = 0; l < net->layers; l++) {
    const ref_net_layer *y = &net->layer[l];
    b.layer[l].out = y->out;
    b.layer[l].in = y->in;
    b.layer[l].taps = y->kernel[0] * y->kernel[1];
    b.layer[l].centre = y->kernel[0] / 2 * y->kernel[1] + y->kernel[1] / 2;
    b.layer[l].weight = y->weight;
    b.layer[l].bias = y->bias;
  }
  for (int n = 2; n < b.count; n++)
    if (width(&b, n) > width(&b, b.special)) b.special = n;
  return b;
}

bool ref_is_skeleton(const ref_block *b, int l, size_t o, size_t i, size_t tap) {
  size_t out = b->layer[l - 1].out, in = b->layer[l - 1].in;
  if (tap != b->layer[l - 1].centre) return false;
  if (l == 1) return i == o % in;
  if (l == b->count) return o == i % out;
  return out > in ? i == o % in : o == i % out;
}

size_t ref_weight(const ref_block *b, int l, size_t o, size_t i, size_t tap) {
  return b->layer[l - 1].weight + (o * b->layer[l - 1].in + i) * b->layer[l - 1].taps + tap;
}

static size_t at_centre(const ref_block *b, int l, size_t o, size_t i) {
  return ref_weight(b, l, o, i, b->layer[l - 1].centre);
}

/* The trained skeleton of path j. */
static size_t trained(const ref_block *b, size_t j) {
  return at_centre(b, b->special, j, j % width(b, b->special - 1));
}

double ref_from_input(const ref_block *b, const double *w, int n, size_t j) {
  if (n == 0) return 1;
  size_t from = n <= b->special ? j % width(b, n - 1) : j;
  return w[at_centre(b, n, j, from)] * ref_from_input(b, w, n - 1, from);
}

double ref_to_output(const ref_block *b, const double *w, int n, size_t j) {
  if (n == b->count) return 1;
  size_t to = n < b->special ? j : j % width(b, n + 1);
  return w[at_centre(b, n + 1, to, j)] * ref_to_output(b, w, n + 1, to);
}

/* ---- other weights of the same function ---- */

void ref_rescale(const ref_block *b, double *w, int n, size_t j, double c) {
  size_t fan = b->layer[n - 1].in;
  for (size_t i = 0; i < fan; i++)
    for (size_t tap = 0; tap < b->layer[n - 1].taps; tap++) w[ref_weight(b, n, j, i, tap)] *= c;
  if (b->layer[n - 1].bias != REF_NONE) w[b->layer[n - 1].bias + j] *= c;
  for (size_t o = 0; o < width(b, n + 1); o++)
    for (size_t tap = 0; tap < b->layer[n].taps; tap++) w[ref_weight(b, n + 1, o, j, tap)] /= c;
}

void ref_canonical(const ref_block *b, double *w) {
  for (int n = b->count - 1; n >= b->special; n--)
    for (size_t j = 0; j < width(b, n); j++)
      ref_rescale(b, w, n, j, fabs(w[at_centre(b, n + 1, j % width(b, n + 1), j)]));
  for (int n = 1; n < b->special; n++)
    for (size_t j = 0; j < width(b, n); j++)
      ref_rescale(b, w, n, j, 1 / fabs(w[at_centre(b, n, j, j % width(b, n - 1))]));
}

/* ---- paths ---- */

typedef enum { OUTSIDE, FROZEN, TRAINED, PLAIN, BIAS } kind;

/* What the parameter at a position is. */
typedef struct place {
  kind kind;
  const ref_block *b;
  int l;
  size_t o, i, tap;
  size_t through; /* which trained skeleton its path goes through, or REF_NONE */
} place;

static place place_in(const ref_block *b, int l, size_t e) {
  size_t in = b->layer[l - 1].in, taps = b->layer[l - 1].taps;
  place p = {PLAIN, b, l, e / (in * taps), e / taps % in, e % taps, REF_NONE};
  if (ref_is_skeleton(b, l, p.o, p.i, p.tap)) p.kind = l == b->special ? TRAINED : FROZEN;
  if (l != b->special) p.through = l > b->special ? p.i : p.o;
  if (p.kind == TRAINED) p.through = p.o;
  return p;
}

static place place_of(const ref_paths *r, size_t at) {
  for (int k = 0; k < r->blocks; k++)
    for (int l = 1; l <= r->block[k].count; l++) {
      const ref_block *b = &r->block[k];
      size_t lo = b->layer[l - 1].weight, bias = b->layer[l - 1].bias, out = b->layer[l - 1].out;
      if (at >= lo && at < lo + out * b->layer[l - 1].in * b->layer[l - 1].taps)
        return place_in(b, l, at - lo);
      if (bias != REF_NONE && at >= bias && at < bias + out)
        return (place){BIAS, b, l, at - bias, 0, 0, l < b->special ? at - bias : REF_NONE};
    }
  return (place){.kind = OUTSIDE, .through = REF_NONE};
}

/* By what skeletons multiply a weight to make its path's value. */
static double others(const place *p, const double *w) {
  if (p->kind == OUTSIDE) return 1;
  double on = ref_to_output(p->b, w, p->l, p->o);
  return p->kind == BIAS ? on : on * ref_from_input(p->b, w, p->l - 1, p->i);
}

void ref_path_values(const ref_paths *r, const double *w, double *p) {
  for (size_t at = 0; at < r->n; at++) {
    place e = place_of(r, at);
    p[at] = e.kind == FROZEN ? 0 : w[at] * others(&e, w);
  }
}

/* n_l[o,tap] of the published program. */
static double norm(const place *p, const double *w) {
  double sum = 0;
  for (size_t i = 0; i < p->b->layer[p->l - 1].in; i++)
    sum += pow(w[ref_weight(p->b, p->l, p->o, i, p->tap)], 2);
  return sqrt(sum);
}

void ref_path_gradients(const ref_paths *r, const double *w, const double *g, double *d) {
  memset(d, 0, r->n * sizeof *d);
  for (size_t at = 0; at < r->n; at++) { /* S, where the trained skeleton is */
    place e = place_of(r, at);
    if ((e.kind == PLAIN || e.kind == BIAS) && e.through != REF_NONE)
      d[trained(e.b, e.through)] -= w[at] * g[at];
  }
  for (size_t at = 0; at < r->n; at++) {
    place e = place_of(r, at);
    bool weighted = r->published && (e.kind == PLAIN || e.kind == TRAINED);
    double n = weighted ? norm(&e, w) : 1;
    if (e.kind == TRAINED) d[at] = (d[at] + w[at] * g[at]) / (w[at] * others(&e, w)) / n;
    if (e.kind == PLAIN || e.kind == BIAS || e.kind == OUTSIDE) d[at] = g[at] / others(&e, w) * n;
  }
}

/* ---- optimisers ---- */

static bool is(const ref_paths *r, const char *name) {
  return strcmp(r->optimizer, name) == 0;
}

static double running(double *mean, double keep, double x) {
  return *mean = keep * *mean + (1 - keep) * x;
}

/* By how much a path goes down, over lr. */
static double step_of(ref_paths *r, size_t at, double d) {
  double *m = &r->first[at], *q = &r->second[at];
  if (is(r, "gsgd-momentum")) return *m = r->momentum * *m + d;
  if (is(r, "gsgd-rmsprop")) return d / (sqrt(running(q, r->beta2, d * d)) + r->epsilon);
  if (is(r, "gsgd-adam")) {
    double young = sqrt(1 - pow(r->beta2, r->t)) / (1 - pow(r->beta1, r->t));
    running(m, r->beta1, d);
    return young * *m / (sqrt(running(q, r->beta2, d * d)) + r->epsilon);
  }
  if (is(r, "gsgd")) return d;
  abort();
}

/* A late gradient, with how far its path has gone. */
static double compensated(ref_paths *r, size_t at, double d, double moved) {
  double lambda = r->lambda;
  if (r->adaptive) lambda /= sqrt(running(&r->mean_square[at], r->keep, d * d) + r->inside);
  return d + lambda * d * d * moved;
}

static double limited(ref_paths *r, double ratio) {
  if (r->clamp == 0 || (ratio >= r->clamp && ratio <= 1 / r->clamp)) return ratio;
  r->clamped++;
  return ratio < r->clamp ? r->clamp : 1 / r->clamp;
}

void ref_paths_open(ref_paths *r) {
  r->t = 0;
  r->first = calloc(r->n, sizeof(double));
  r->second = calloc(r->n, sizeof(double));
  r->mean_square = calloc(r->n, sizeof(double));
}

void ref_paths_close(ref_paths *r) {
  free(r->first);
  free(r->second);
  free(r->mean_square);
}

/* Path values go down by lr * step: ratios of the trained skeletons first, since weights whose path
 * goes through one are divided by its ratio. */
void ref_paths_step(ref_paths *r, double lr, double *w, const double *g, const double *bak) {
  double *memory = calloc(5 * r->n, sizeof *memory), *p = memory, *then = p + r->n;
  double *d = then + r->n, *ratio = d + r->n, *next = ratio + r->n;
  r->t++;
  ref_path_values(r, w, p);
  ref_path_values(r, bak ? bak : w, then);
  ref_path_gradients(r, bak ? bak : w, g, d);
  for (size_t at = 0; at < r->n; at++) {
    place e = place_of(r, at);
    if (e.kind == FROZEN) continue;
    d[at] = compensated(r, at, d[at], p[at] - then[at]);
    if (e.kind != TRAINED) d[at] += r->decay * p[at];
    d[at] = step_of(r, at, d[at]);
    if (e.kind == TRAINED) ratio[at] = limited(r, 1 - lr * d[at] / p[at]);
  }
  for (size_t at = 0; at < r->n; at++) {
    place e = place_of(r, at);
    double by = e.through == REF_NONE || e.kind == FROZEN ? 1 : ratio[trained(e.b, e.through)];
    if (e.kind == FROZEN)
      next[at] = w[at];
    else if (e.kind == TRAINED)
      next[at] = w[at] * by;
    else
      next[at] = (w[at] - lr * d[at] / others(&e, w)) / by;
  }
  memcpy(w, next, r->n * sizeof *w);
  free(memory);
}
