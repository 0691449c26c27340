/* server_state.c - the parameter server's memory: made, given back, restored from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "dist/server_private.h"
#include "tardigrad/arena.h"

static tg_status check_options(const tg_server_options *o) {
  TG_TRY(tg_layout_check(o->optimizer, &o->layout, o->n, o->device != NULL));
  if (o->rule->scheme != TG_SCHEME_ASYNC && o->workers != 1)
    TG_FAIL(TG_ECONFIG, "rule %s is not for a server with %u workers", o->rule->name, o->workers);
  TG_TRY(tg_rule_check(o->rule, o->optimizer->name, o->optimizer->whole));
  if (o->workers < 1 || o->n < 1 || o->batch < 1 || o->train_count < 1)
    TG_FAIL(TG_ECONFIG,
            "server: %u workers, %zu parameters, a batch of %u, %llu training samples; "
            "each must be at least 1",
            o->workers, o->n, o->batch, (unsigned long long)o->train_count);
  if (o->rule->takes && !o->rule->takes(&o->hyper, 0))
    TG_FAIL(TG_ECONFIG, "rule %s would drop every gradient: its threshold must be at least 1",
            o->rule->name);
  uint32_t gathers = o->rule->gathers ? o->rule->gathers(&o->hyper, o->workers) : 1;
  if (gathers < 1 || gathers > o->workers)
    TG_FAIL(TG_ECONFIG, "rule %s: of %u workers none is left whose gradient an update waits for",
            o->rule->name, o->workers);
  if (!(o->epochs >= 0 && o->epochs <= 1e15)) TG_FAIL(TG_ECONFIG, "server: %g epochs", o->epochs);
  for (size_t i = 0; i < o->fold_count; i++) {
    const tg_fold *f = &o->folds[i];
    if (f->b_lo + f->count > o->k || f->s_lo + f->count > o->ks)
      TG_FAIL(TG_ECONFIG,
              "server: statistics [%zu,%zu) folded into [%zu,%zu), there are %zu and %zu", f->s_lo,
              f->s_lo + f->count, f->b_lo, f->b_lo + f->count, o->ks, o->k);
  }
  return TG_OK;
}

/* Copies the lists that the options point at, so that the caller may drop them. */
static tg_status copy_options(tg_server *s, const tg_server_options *o) {
  s->options = *o;
  TG_TRY(tg_kept_open(&s->kept, &s->options.folds, o->fold_count, &s->options.schedule,
                      &s->options.layout, &s->options.optimizer));
  s->told_to_stop = calloc(o->workers, sizeof *s->told_to_stop);
  if (!s->told_to_stop) TG_FAIL(TG_ERUNTIME, "server: no memory");
  s->options.hyper.workers = (float)o->workers;
  s->hyper = s->options.hyper; /* of what is served before anything is applied */
  s->gathers = o->rule->gathers ? o->rule->gathers(&o->hyper, o->workers) : 1;
  s->total = tg_progress_updates(o->epochs, o->train_count, (uint64_t)s->gathers * o->batch);
  s->limit = s->total * s->gathers + (o->rule->gathers ? o->workers - s->gathers : 0);
  return TG_OK;
}

static tg_status make_vector(const char *what, size_t i, size_t n, float **out) {
  *out = tg_alloc_aligned(n * sizeof(float));
  if (!*out)
    TG_FAIL(TG_ERUNTIME, "server: no memory for %zu bytes of %s %zu", n * sizeof(float), what, i);
  return TG_OK;
}

static tg_status make_vectors(const char *what, size_t count, size_t n, float ***out) {
  *out = calloc(count + 1, sizeof **out);
  if (!*out) TG_FAIL(TG_ERUNTIME, "server: no memory");
  for (size_t i = 0; i < count; i++) TG_TRY(make_vector(what, i, n, &(*out)[i]));
  return TG_OK;
}

static tg_status make_bak(tg_server *s) {
  const tg_server_options *o = &s->options;
  s->state.bak = calloc(o->workers, sizeof *s->state.bak);
  s->own_bak = calloc(o->workers, sizeof *s->own_bak);
  if (!s->state.bak || !s->own_bak) TG_FAIL(TG_ERUNTIME, "server: no memory");
  for (uint32_t m = 0; m < o->workers; m++) {
    s->state.bak[m] = o->bak ? o->bak[m] : NULL;
    if (s->state.bak[m]) continue;
    TG_TRY(make_vector("w_bak", m, o->n, &s->own_bak[m]));
    s->state.bak[m] = s->own_bak[m];
  }
  s->options.bak = NULL; /* the caller's list is not needed any more */
  return TG_OK;
}

static tg_status make_state(tg_server *s) {
  const tg_server_options *o = &s->options;
  tg_server_state *t = &s->state;
  t->version = calloc(o->workers, sizeof *t->version);
  t->step = calloc(o->workers, sizeof *t->step);
  t->pending = calloc(o->workers, sizeof *t->pending);
  t->clock = calloc(o->workers, sizeof *t->clock);
  if (!t->version || !t->step || !t->pending || !t->clock)
    TG_FAIL(TG_ERUNTIME, "server: no memory");
  t->rule_state_count = tg_rule_states(o->rule, o->global_state, o->workers);
  t->slot_count = (size_t)o->optimizer->slots;
  TG_TRY(make_vector("weights", 0, o->n, &t->w));
  TG_TRY(make_vector("running statistics", 0, o->k, &t->b));
  TG_TRY(make_bak(s));
  TG_TRY(make_vectors("running statistics served to worker", o->workers, o->k, &t->b_bak));
  TG_TRY(make_vectors("rule state", t->rule_state_count, o->n, &t->rule_state));
  for (size_t i = 0; i < t->slot_count; i++) {
    t->slot_length[i] =
        tg_optimizer_slot_length(o->optimizer, &o->hyper.keys, &o->layout, o->n, (int)i);
    TG_TRY(make_vector("optimizer state", i, t->slot_length[i], &t->slot[i]));
  }
  if (s->gathers == 1) return TG_OK;
  TG_TRY(make_vector("gathered gradients", 0, o->n, &t->sum));
  return make_vector("gathered statistics", 0, o->ks, &t->sum_stats);
}

static tg_status make_live(tg_server *s) {
  const tg_server_state *t = &s->state;
  const tg_update like = {
      .rule = s->options.rule, .optimizer = s->options.optimizer, .hyper = s->options.hyper};
  tg_live_open(&s->live, s->options.device, s->options.n);
  s->bak = calloc(s->options.workers, sizeof *s->bak);
  s->rule_state = calloc(t->rule_state_count + 1, sizeof *s->rule_state);
  if (!s->bak || !s->rule_state) TG_FAIL(TG_ERUNTIME, "server: no memory");
  TG_TRY(tg_live_add(&s->live, t->w, &s->w));
  for (uint32_t m = 0; m < s->options.workers; m++)
    TG_TRY(tg_live_add(&s->live, t->bak[m], &s->bak[m]));
  for (size_t i = 0; i < t->rule_state_count; i++)
    TG_TRY(tg_live_add(&s->live, t->rule_state[i], &s->rule_state[i]));
  for (size_t i = 0; i < t->slot_count; i++) TG_TRY(tg_live_add(&s->live, t->slot[i], &s->slot[i]));
  TG_TRY(tg_live_whole_open(&s->live, &like, &s->options.layout));
  return t->sum ? tg_live_add(&s->live, t->sum, &s->sum) : TG_OK;
}

size_t tg_server_state_index(const tg_server *s, uint32_t m) {
  return s->state.rule_state_count > 1 ? m : 0;
}

/* What every worker is asked first: gradients, as far as the run has any. */
static void first_requests(tg_server *s) {
  const size_t bytes = s->options.n * sizeof(float);
  for (size_t i = 0; s->options.rule->starts_at_w0 && i < s->state.rule_state_count; i++)
    memcpy(s->state.rule_state[i], s->state.w, bytes);
  for (uint32_t m = 0; m < s->options.workers; m++) {
    memcpy(s->state.bak[m], s->state.w, bytes);
    memcpy(s->state.b_bak[m], s->state.b, s->options.k * sizeof(float));
    tg_server_go_on(s, m, false);
  }
  if (s->total == 0) tg_server_request(s, 0, TG_MSG_EVALUATE);
}

tg_status tg_server_create(const tg_server_options *options, const float *w0, const float *b0,
                           tg_server **out) {
  tg_status status;
  *out = NULL;
  TG_TRY(check_options(options));
  tg_server *s = calloc(1, sizeof *s);
  if (!s) TG_FAIL(TG_ERUNTIME, "server: no memory");
  TG_DO(copy_options(s, options));
  TG_DO(make_state(s));
  memcpy(s->state.w, w0, options->n * sizeof *w0);
  if (options->k) memcpy(s->state.b, b0, options->k * sizeof *b0);
  first_requests(s);
  TG_DO(make_live(s));
  TG_DO(tg_live_store(&s->live));
  *out = s;
  return TG_OK;
done:
  tg_server_destroy(s);
  return status;
}

static void free_vectors(float **vectors, size_t count) {
  for (size_t i = 0; vectors && i < count; i++) free(vectors[i]);
  free(vectors);
}

void tg_server_destroy(tg_server *s) {
  if (!s) return;
  tg_server_state *t = &s->state;
  tg_live_close(&s->live);
  free(s->bak);
  free(s->rule_state);
  free_vectors(s->own_bak, s->options.workers);
  free(t->bak);
  free_vectors(t->b_bak, s->options.workers);
  free_vectors(t->rule_state, t->rule_state_count);
  for (int i = 0; i < TG_MAX_SLOTS; i++) free(t->slot[i]);
  free(t->w);
  free(t->b);
  free(t->version);
  free(t->step);
  free(t->pending);
  free(t->clock);
  free(t->sum);
  free(t->sum_stats);
  tg_kept_close(&s->kept);
  free(s->whole);
  free(s->told_to_stop);
  free(s);
}

/* One worker's numbers; adds to those that are outstanding and to those held. */
static tg_status check_worker(const tg_server *s, const tg_server_state *c, uint32_t m,
                              uint64_t *outstanding, uint64_t *held) {
  const tg_server_state *t = &s->state;
  uint64_t kind = t->pending[m];
  bool may_be_held = kind == TG_SERVER_HELD && tg_server_holds(s->options.rule);
  if (kind != 0 && kind != TG_MSG_WEIGHTS && kind != TG_MSG_EVALUATE && !may_be_held)
    TG_FAIL(TG_EDATA, "checkpoint: worker %u is said to owe an answer to a message of kind %llu", m,
            (unsigned long long)kind);
  if (t->version[m] > c->update || (kind == TG_MSG_WEIGHTS && t->step[m] == 0) ||
      t->clock[m] > t->step[m])
    TG_FAIL(TG_EDATA,
            "checkpoint: worker %u at version %llu and step %llu of update %llu, clock %llu", m,
            (unsigned long long)t->version[m], (unsigned long long)t->step[m],
            (unsigned long long)c->update, (unsigned long long)t->clock[m]);
  *outstanding += kind == TG_MSG_WEIGHTS;
  *held += kind == TG_SERVER_HELD;
  return TG_OK;
}

static tg_status check_counters(const tg_server *s, const tg_server_state *c) {
  uint64_t outstanding = 0, held = 0, counted = c->update * s->gathers + c->gathered;
  uint64_t batch = (uint64_t)s->gathers * s->options.batch;
  for (uint32_t m = 0; m < s->options.workers; m++)
    TG_TRY(check_worker(s, c, m, &outstanding, &held));
  if (c->gathered >= s->gathers || c->gathered > held)
    TG_FAIL(TG_EDATA, "checkpoint: %llu gradients gathered, an update takes %u; %llu workers wait",
            (unsigned long long)c->gathered, s->gathers, (unsigned long long)held);
  if (c->samples != c->update * batch)
    TG_FAIL(TG_ECONFIG,
            "checkpoint: %llu samples in %llu updates, train.batch is %u and an update takes %u",
            (unsigned long long)c->samples, (unsigned long long)c->update, s->options.batch,
            s->gathers);
  if (c->issued != counted + outstanding)
    TG_FAIL(TG_EDATA, "checkpoint: %llu gradients issued, %llu applied and %llu outstanding",
            (unsigned long long)c->issued, (unsigned long long)counted,
            (unsigned long long)outstanding);
  if (c->update > s->total || (!s->options.rule->takes && c->issued > s->limit))
    TG_FAIL(TG_ECONFIG, "checkpoint: %llu gradients issued, train.epochs asks for %llu updates",
            (unsigned long long)c->issued, (unsigned long long)s->total);
  return TG_OK;
}

tg_status tg_server_restored(tg_server *s, const tg_server_state *counters) {
  TG_TRY(check_counters(s, counters));
  tg_server_state *t = &s->state;
  t->update = counters->update;
  t->samples = counters->samples;
  t->nonfinite = counters->nonfinite;
  t->issued = counters->issued;
  t->late = counters->late;
  t->gathered = counters->gathered;
  TG_TRY(tg_live_store(&s->live));
  for (uint32_t m = 0; m < s->options.workers; m++) {
    if (t->pending[m]) continue;
    /* Who may go on where others wait is for the releases, when all are known. */
    if (tg_server_holds(s->options.rule))
      tg_server_request(s, m, TG_SERVER_HELD);
    else
      tg_server_go_on(s, m, false);
    if (t->pending[m] == TG_MSG_WEIGHTS) TG_TRY(tg_server_serve(s, m));
  }
  return TG_OK;
}
