/* server_pace.c - who may go on, and what becomes of gradients that make an update together.
 *
 * While the run has updates left somebody owes a gradient that will count. Gradients are issued as
 * long as fewer than `limit` have counted or are under way; those under way that would come too
 * late even now are no hope, and are not counted among them. */
#include <string.h>

#include "dist/server_private.h"

/* ---- who may go on ---- */

void tg_server_request(tg_server *s, uint32_t m, uint64_t kind) {
  tg_server_state *t = &s->state;
  t->pending[m] = kind;
  if (!kind || kind == TG_SERVER_HELD) return;
  t->version[m] = t->update;
  if (kind == TG_MSG_WEIGHTS) {
    t->step[m]++;
    t->issued++;
  }
}

bool tg_server_takes(const tg_server *s, uint32_t m) {
  const tg_server_state *t = &s->state;
  if (t->update == s->total) return false;
  const tg_rule *rule = s->options.rule;
  return !rule->takes || rule->takes(&s->options.hyper, t->update - t->version[m]);
}

/* Gradients under way that would be dropped if they came now. */
static uint64_t lost(const tg_server *s) {
  uint64_t count = 0;
  if (!s->options.rule->takes) return 0;
  for (uint32_t m = 0; m < s->options.workers; m++)
    count += s->state.pending[m] == TG_MSG_WEIGHTS && !tg_server_takes(s, m);
  return count;
}

static bool gradients_left(const tg_server *s) {
  const tg_server_state *t = &s->state;
  return t->update < s->total && t->issued - lost(s) < s->limit;
}

/* The least clock of those who will have another gradient. An evaluation belongs to the gradient
 * before it: where nobody may run ahead, nobody reads weights until it is done. */
static uint64_t slowest(const tg_server *s) {
  const tg_server_state *t = &s->state;
  uint64_t least = UINT64_MAX;
  if (!s->options.rule->runs) return 0;
  for (uint32_t m = 0; m < s->options.workers; m++) {
    uint64_t clock = t->clock[m] - (t->pending[m] == TG_MSG_EVALUATE && t->clock[m] > 0);
    if (t->pending[m] && clock < least) least = clock;
  }
  return least;
}

/* Of a worker that is held; least: slowest(s). */
static bool runs(const tg_server *s, uint32_t m, uint64_t least) {
  const tg_rule *rule = s->options.rule;
  return !rule->runs || rule->runs(&s->options.hyper, s->state.clock[m], least);
}

/* No gradient will ever be left again. Where some may come too late, others may be wanted yet. */
static bool is_over(const tg_server *s, bool left) {
  return !left && (!s->options.rule->takes || s->state.update == s->total);
}

void tg_server_go_on(tg_server *s, uint32_t m, bool joined) {
  uint64_t next = TG_SERVER_HELD;
  s->state.pending[m] = TG_SERVER_HELD; /* what it owed is not under way any more */
  bool left = gradients_left(s);
  if (!joined && is_over(s, left))
    next = 0;
  else if (!joined && left && runs(s, m, slowest(s)))
    next = TG_MSG_WEIGHTS;
  tg_server_request(s, m, next);
}

/* ---- releases ---- */

bool tg_server_holds(const tg_rule *rule) {
  return rule->takes || rule->gathers || rule->runs;
}

/* The first worker that is held and need not be; their number if there is none. */
static uint32_t next_to_release(const tg_server *s, bool left, bool over) {
  const tg_server_state *t = &s->state;
  uint32_t m = 0;
  /* Where gradients are gathered those who wait are in the sum. */
  bool some = s->preempted || (t->gathered == 0 && (left || over));
  uint64_t least = slowest(s);
  for (; some && m < s->options.workers; m++) {
    if (t->pending[m] != TG_SERVER_HELD || s->told_to_stop[m]) continue;
    if (s->preempted || over || runs(s, m, least)) return m;
  }
  return s->options.workers;
}

tg_status tg_server_release(tg_server *s, tg_msg *out) {
  *out = (tg_msg){0};
  if (!tg_server_holds(s->options.rule)) return TG_OK;
  bool left = gradients_left(s);
  uint32_t m = next_to_release(s, left, is_over(s, left));
  if (m == s->options.workers) return TG_OK;
  if (s->preempted) {
    tg_server_start(s, m, out);
    return TG_OK;
  }
  tg_server_request(s, m, left ? TG_MSG_WEIGHTS : 0);
  *out = tg_server_message(s, m, s->state.pending[m]);
  if (!left) return TG_OK;
  return tg_server_serve(s, m);
}

/* ---- several gradients, one update ---- */

/* In the order of arrival, and with the operations of the synchronous loop, so that gradients that
 * come in the order of the workers make ssgd's update to the bit. */
tg_status tg_server_gather(tg_server *s, tg_span span, float **g, bool *on_device) {
  if (s->gathers == 1) return TG_OK;
  if (!*on_device) TG_TRY(tg_live_take(&s->live, span, g));
  *on_device = s->live.device != NULL;
  float part = s->event.applied ? 1.0f / (float)s->gathers : 0;
  if (s->place == 0) return tg_live_put(&s->live, s->sum, span, *g);
  if (!s->event.applied) return tg_live_add_to(&s->live, s->sum, span, *g);
  return tg_live_mean(&s->live, *g, s->sum, span, part);
}

void tg_server_fold(tg_server *s, const float *stats) {
  float *sum = s->state.sum_stats;
  if (s->gathers > 1) {
    const float part = 1.0f / (float)s->gathers;
    for (size_t i = 0; i < s->options.ks; i++) sum[i] = s->place ? sum[i] + stats[i] : stats[i];
    if (!s->event.applied) return;
    for (size_t i = 0; i < s->options.ks; i++) sum[i] *= part;
    stats = sum;
  }
  tg_fold_apply(s->options.folds, s->options.fold_count, stats, s->state.b);
}
