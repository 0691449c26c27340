#include "ref_late_paths.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a weight is ---- */

/* An edge from unit `from` of node layer `layer` - 1 to unit `to` of node layer `layer`. A bias is
 * an edge from nowhere. */
typedef struct edge {
  int layer;
  size_t to, from;
  bool is_bias;
} edge;

static edge edge_of(const ref_path_shape *s, size_t i) {
  for (int l = 1; l <= s->layers; l++) {
    size_t out = s->width[l], in = s->width[l - 1];
    if (i >= s->weight[l] && i < s->weight[l] + out * in)
      return (edge){l, (i - s->weight[l]) / in, (i - s->weight[l]) % in, false};
    if (s->bias[l] != REF_PATH_NO_BIAS && i >= s->bias[l] && i < s->bias[l] + out)
      return (edge){l, i - s->bias[l], 0, true};
  }
  abort();
}

/* The widest hidden layer, the first of several. */
static int special(const ref_path_shape *s) {
  int best = 1;
  for (int l = 2; l < s->layers; l++)
    if (s->width[l] > s->width[best]) best = l;
  return best;
}

static bool is_skeleton(const ref_path_shape *s, const edge *e) {
  size_t out = s->width[e->layer], in = s->width[e->layer - 1];
  if (e->is_bias) return false;
  size_t count = e->layer == 1 ? out : e->layer == s->layers ? in : out > in ? out : in;
  for (size_t t = 0; t < count; t++)
    if (t % out == e->to && t % in == e->from) return true;
  return false;
}

static double weight(const ref_path_shape *s, const double *w, int l, size_t to, size_t from) {
  return w[s->weight[l] + to * s->width[l - 1] + from];
}

/* Skeletons from the input to unit i of node layer n, and from it to the output. */
static double before(const ref_path_shape *s, const double *w, int n, size_t i) {
  if (n == 0) return 1;
  size_t from = n <= special(s) ? i % s->width[n - 1] : i;
  return weight(s, w, n, i, from) * before(s, w, n - 1, from);
}

static double behind(const ref_path_shape *s, const double *w, int n, size_t i) {
  if (n == s->layers) return 1;
  size_t to = n < special(s) ? i : i % s->width[n + 1];
  return weight(s, w, n + 1, to, i) * behind(s, w, n + 1, to);
}

/* What the path of an edge multiplies its weight by. */
static double factor(const ref_path_shape *s, const double *w, const edge *e) {
  double begin = e->is_bias ? 1 : before(s, w, e->layer - 1, e->from);
  return begin * behind(s, w, e->layer, e->to);
}

double ref_path_value(const ref_path_shape *s, const double *w, size_t i) {
  edge e = edge_of(s, i);
  if (is_skeleton(s, &e) && e.layer != special(s)) return w[i];
  return w[i] * factor(s, w, &e);
}

/* The trained skeleton that an edge's path goes through; -1: none. */
static long trained_of(const ref_path_shape *s, const edge *e) {
  if (e->layer == special(s)) return -1;
  if (e->layer < special(s)) return (long)e->to;
  return e->is_bias ? -1 : (long)e->from;
}

/* ---- gradients of paths ---- */

/* d [n] of the basis paths, at their weights' places; of frozen skeletons 0. */
static void chain(const ref_path_shape *s, const double *w, const double *g, double *d) {
  for (size_t i = 0; i < s->n; i++) {
    edge e = edge_of(s, i);
    d[i] = is_skeleton(s, &e) ? 0 : g[i] / factor(s, w, &e);
  }
  for (size_t i = 0; i < s->n; i++) {
    edge e = edge_of(s, i);
    if (e.layer != special(s) || !is_skeleton(s, &e)) continue;
    /* Moving v alone moves, beside this weight, every weight whose path goes through it: they have
     * to keep their values. */
    double moved = w[i] * g[i];
    for (size_t k = 0; k < s->n; k++) {
      edge other = edge_of(s, k);
      if (!is_skeleton(s, &other) && trained_of(s, &other) == (long)e.to) moved -= w[k] * g[k];
    }
    d[i] = moved / ref_path_value(s, w, i);
  }
}

/* ---- an update ---- */

static double compensated(const ref_path_settings *set, double g, double gap, double *square) {
  double lambda = set->lambda;
  if (set->rule == REF_PATH_ASGD) return g;
  if (set->rule == REF_PATH_DC_A) {
    *square = set->decay * *square + (1 - set->decay) * g * g;
    lambda /= sqrt(*square + set->epsilon);
  }
  double c = lambda * g * g * gap;
  if (set->cap > 0 && fabs(c) > set->cap * fabs(g)) c = copysign(set->cap * fabs(g), c);
  return g + c;
}

/* Path gradients, as the rule wants them. */
static void gradients(ref_path_server *r, int worker, const float *given, double *d) {
  const ref_path_settings *set = &r->set;
  const ref_path_shape *s = &set->shape;
  const double *then = r->bak[worker];
  double *square = r->square[set->global ? 0 : worker], *g = malloc(s->n * sizeof *g);
  for (size_t i = 0; i < s->n; i++)
    g[i] = set->in_paths ? given[i] : compensated(set, given[i], r->w[i] - then[i], &square[i]);
  chain(s, set->in_paths ? then : r->w, g, d);
  for (size_t i = 0; set->in_paths && i < s->n; i++) {
    edge e = edge_of(s, i);
    if (is_skeleton(s, &e) && e.layer != special(s)) continue;
    double gap = ref_path_value(s, r->w, i) - ref_path_value(s, then, i);
    d[i] = compensated(set, d[i], gap, &square[i]);
  }
  free(g);
}

void ref_path_push(ref_path_server *r, int worker, const float *g, double lr) {
  const ref_path_settings *set = &r->set;
  const ref_path_shape *s = &set->shape;
  double *d = malloc(s->n * sizeof *d), *p = malloc(s->n * sizeof *p);
  gradients(r, worker, g, d);
  for (size_t i = 0; i < s->n; i++) {
    edge e = edge_of(s, i);
    p[i] = ref_path_value(s, r->w, i);
    if (is_skeleton(s, &e) && e.layer != special(s)) continue;
    double step = d[i] + (is_skeleton(s, &e) ? 0 : set->weight_decay * p[i]);
    r->velocity[i] = set->momentum * r->velocity[i] + step;
    p[i] -= lr * r->velocity[i];
  }
  /* Trained skeletons first: the paths of the others go through them. */
  for (int pass = 0; pass < 2; pass++)
    for (size_t i = 0; i < s->n; i++) {
      edge e = edge_of(s, i);
      if (is_skeleton(s, &e) != (pass == 0)) continue;
      if (pass == 1) r->w[i] = p[i] / factor(s, r->w, &e);
      if (pass == 0 && e.layer == special(s)) r->w[i] = p[i] / factor(s, r->w, &e);
    }
  free(d);
  free(p);
}

void ref_path_pull(ref_path_server *r, int worker) {
  memcpy(r->bak[worker], r->w, r->set.shape.n * sizeof *r->w);
}

/* ---- beginning and end ---- */

void ref_path_open(ref_path_server *r, const ref_path_settings *set, const float *w0) {
  size_t n = set->shape.n;
  *r = (ref_path_server){.set = *set};
  r->w = calloc(n, sizeof *r->w);
  r->velocity = calloc(n, sizeof *r->velocity);
  for (size_t i = 0; i < n; i++) r->w[i] = w0[i];
  for (int m = 0; m < set->workers; m++) {
    r->bak[m] = calloc(n, sizeof *r->w);
    r->square[m] = calloc(n, sizeof *r->w);
    ref_path_pull(r, m);
  }
}

void ref_path_close(ref_path_server *r) {
  free(r->w);
  free(r->velocity);
  for (int m = 0; m < r->set.workers; m++) {
    free(r->bak[m]);
    free(r->square[m]);
  }
}
