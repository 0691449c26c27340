/* init.c - initial parameters. */
#include <math.h>

#include "tardigrad/model.h"
#include "tardigrad/ops.h"
#include "tardigrad/rng.h"

static void fill(float *w, size_t count, float value) {
  for (size_t i = 0; i < count; i++) w[i] = value;
}

static void fill_normal(tg_rng *r, float *w, size_t count, double deviation) {
  for (size_t i = 0; i < count; i++) w[i] = (float)(deviation * tg_rng_normal(r));
}

static void fill_uniform(tg_rng *r, float *w, size_t count, double bound) {
  for (size_t i = 0; i < count; i++) w[i] = (float)(bound * (2 * tg_rng_double(r) - 1));
}

static void init_param(const tg_param *p, tg_init_scheme scheme, tg_rng r, float *w) {
  double fan_in = (double)p->fan_in;
  switch (p->init) {
  case TG_INIT_ONE:
    fill(w, p->count, 1);
    return;
  case TG_INIT_ZERO:
    fill(w, p->count, 0);
    return;
  case TG_INIT_BIAS:
    if (scheme == TG_HE)
      fill(w, p->count, 0);
    else
      fill_uniform(&r, w, p->count, 1 / sqrt(fan_in));
    return;
  case TG_INIT_WEIGHT:
    if (scheme == TG_HE)
      fill_normal(&r, w, p->count, sqrt(2 / fan_in));
    else
      fill_uniform(&r, w, p->count, 1 / sqrt(fan_in));
    return;
  }
}

/* What a hollow convolution leaves out is 0, and stays so. */
static void hollow_out(const tg_node *node, float *w) {
  if (node->op->id != TG_OP_conv || !((const tg_conv_attr *)node->attr)->hollow) return;
  const tg_param *p = node->param[0];
  for (int64_t t = 0; t < p->shape.dim[1]; t++) w[p->offset + tg_conv_skeleton(&p->shape, t)] = 0;
}

void tg_model_init(const tg_graph *g, tg_init_scheme scheme, uint64_t seed, float *w, float *b) {
  for (int i = 0; i < g->param_count; i++) {
    const tg_param *p = g->param[i];
    init_param(p, scheme, tg_rng_open(seed, TG_RNG_INIT, (uint64_t)i, 0), w + p->offset);
  }
  for (int i = 0; i < g->node_count; i++) hollow_out(g->node[i], w);
  for (int i = 0; i < g->stat_count; i++) {
    const tg_stat *s = g->stat[i];
    fill(b + s->offset, s->count, s->initial);
  }
}
