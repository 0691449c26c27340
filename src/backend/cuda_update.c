/* cuda_update.c - finds the kernel of a rule and an optimiser, and starts it on a span. */
#include "backend/cuda_update.h"

#include "backend/cuda_paths.h"

_Static_assert(sizeof(tg_update_sums) == 3 * sizeof(double), "sums are three doubles");
_Static_assert((int)TG_CUDA_UPDATE_SLOTS >= (int)TG_MAX_SLOTS, "kernels take every slot");

static float *at(const float *vector, size_t offset) {
  return vector ? (float *)vector + offset : NULL;
}

/* What makes the step: an optimiser itself, or what lookahead wraps. */
static const tg_optimizer *stepper(const tg_optimizer *o) {
  return o->inner ? o->inner : o;
}

static tg_status check(const tg_update *u) {
  if (!tg_cuda_update_has_rule(u->rule->name))
    TG_FAIL(TG_ECONFIG, "device cuda has no kernel for rule %s", u->rule->name);
  if (u->optimizer->whole || !tg_cuda_update_has_optimizer(stepper(u->optimizer)->name))
    TG_FAIL(TG_ECONFIG, "device cuda has no kernel for optimizer %s: set server.device=cpu",
            u->optimizer->name);
  /* Slow weights are pulled at behind the rule's part here, and before it on the host. */
  if (u->optimizer->inner && (u->rule->settle || u->rule->serve))
    TG_FAIL(TG_ECONFIG,
            "device cuda has no kernel for rule %s with optimizer %s: set server.device=cpu",
            u->rule->name, u->optimizer->name);
  return TG_OK;
}

tg_status tg_cuda_apply(tg_device *d, const tg_update *u, tg_span span, float *g,
                        tg_update_sums *sums) {
  tg_cuda_device *c = tg_cuda(d);
  if (u->optimizer->path_step && g) return tg_cuda_paths_rule(d, u, span, g, sums);
  TG_TRY(check(u));
  tg_hyper hyper = u->hyper;
  if (g) tg_optimizer_prepare(u->optimizer, &hyper);
  /* Partial sums lie in the staging memory: whatever else uses it is queued on the same stream. */
  TG_TRY(tg_cuda_need_staging(c, TG_CUDA_UPDATE_PARTS * sizeof(tg_update_sums)));
  tg_update_args a = {.rule = u->rule->name,
                      .optimizer = stepper(u->optimizer)->name,
                      .hyper = &hyper,
                      .count = span.hi - span.lo,
                      .g = g,
                      .w = at(u->w, span.lo),
                      .w_bak = at(u->w_bak, span.lo),
                      .bak_out = at(u->bak_out, span.lo),
                      .as_it_is = u->as_it_is,
                      .state = at(u->rule_state, span.lo),
                      .sums = g ? (double *)sums : NULL,
                      .parts = c->staging};
  for (int i = 0; i < u->optimizer->slots; i++) a.slot[i] = at(u->slot[i], span.lo);
  if (u->optimizer->inner) a.slow = a.slot[u->optimizer->inner->slots];
  TG_CUDA((cudaError_t)tg_cuda_update(&c->launch, &a));
  return TG_OK;
}
