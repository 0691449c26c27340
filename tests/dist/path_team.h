/* path_team.h - a server that trains paths, and workers that compute gradients of a small network.
 */
#ifndef DIST_PATH_TEAM_H
#define DIST_PATH_TEAM_H

#include "../support/path_net.h"
#include "cluster.h"

enum { MOST = 1024 };

typedef struct team {
  path_net net;
  cluster c;
} team;

/* keys of the optimiser: nothing is clamped. */
static inline tg_server_options team_options(const team *t, const char *rule, const char *optimizer,
                                             bool in_paths, uint32_t workers, double updates) {
  tg_server_options o = cluster_options(rule, optimizer, workers, t->net.n, updates);
  o.layout = t->net.layout;
  o.hyper.keys.path_compensate = in_paths;
  return o;
}

/* Begins at w0 in place of cluster_open's random weights. */
static inline void team_start(team *t, const tg_server_options *o, const float *w0) {
  t->c = (cluster){.o = *o};
  t->c.w0 = calloc(o->n, sizeof(float));
  t->c.g = calloc(o->n, sizeof(float));
  t->c.b0 = calloc(1, sizeof(float));
  t->c.s = calloc(1, sizeof(float));
  memcpy(t->c.w0, w0, o->n * sizeof *w0);
  ck_assert_msg(tg_server_create(o, w0, t->c.b0, &t->c.server) == TG_OK, "%s", tg_status_message());
  cluster_start(&t->c);
}

static inline void team_end(team *t) {
  cluster_close(&t->c);
}

/* The gradient of (m, step) at the weights that m has, left in c->g. */
static inline void team_gradient(team *t, uint32_t m) {
  double x[PATH_NET_WIDTH], y[PATH_NET_WIDTH];
  uint64_t step = t->c.inbox[m].step;
  for (size_t i = 0; i < PATH_NET_WIDTH; i++) {
    x[i] = cluster_random(m, step, i) + 0.2;
    y[i] = cluster_random(m, step, i + 100);
  }
  path_net_gradient(&t->net, cluster_state(&t->c).bak[m], x, y, t->c.g, NULL);
}

/* Worker m answers with what is in c->g, in spans of `span` floats (0: whole). */
static inline void team_answer(team *t, uint32_t m, size_t span) {
  tg_msg in = cluster_reply(&t->c, m);
  tg_status status =
      span ? cluster_answer_in_spans(&t->c, &in, span)
           : tg_server_step(t->c.server, &in, t->c.g, t->c.s, &t->c.inbox[m], &t->c.event);
  ck_assert_msg(status == TG_OK, "%s", tg_status_message());
}

static inline uint32_t team_next(const team *t, uint64_t seed, uint64_t turn) {
  uint32_t m = (uint32_t)((cluster_random(seed, turn, 6) + 1) * 100) % t->c.o.workers;
  while (!cluster_busy(&t->c, m)) m = (m + 1) % t->c.o.workers;
  return m;
}

static inline const float *weights(const team *t) {
  return cluster_state(&t->c).w;
}

static const struct {
  size_t widths[6];
  int layers;
  bool bias, canonical;
} nets[] = {
    {{5, 7, 4, 3}, 3, false, false},    /* s = 1, any gauge */
    {{5, 7, 4, 3}, 3, true, true},      /* with biases, all skeletons 1 */
    {{4, 6, 6, 6, 2}, 4, true, false},  /* equal widths */
    {{3, 5, 8, 6, 2}, 4, false, false}, /* layers before s */
    {{3, 5, 8, 6, 2}, 4, true, false},  /* and their biases */
    {{6, 9, 1}, 2, true, true},         /* every weight of the last layer is a skeleton */
};
enum { NETS = sizeof nets / sizeof *nets };

static inline void team_open(team *t, int net) {
  path_net_open(&t->net, nets[net].widths, nets[net].layers, nets[net].bias);
  ck_assert_uint_le(t->net.n, MOST);
}

#endif
