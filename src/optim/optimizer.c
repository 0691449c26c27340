/* optimizer.c - optimisers by name. */
#include "optim/optimizers.h"
#include "tardigrad/registry.h"

const tg_optimizer *const tg_optimizers[] = {
#define TG_OPTIMIZER(symbol) &tg_optimizer_##symbol,
#include "optim/optimizers.def"
#undef TG_OPTIMIZER
};
const size_t tg_optimizer_count = sizeof tg_optimizers / sizeof tg_optimizers[0];

tg_status tg_optimizer_find(const char *name, const tg_optimizer **out) {
  const char *nearest = NULL;
  *out = tg_registry_find(name, (const void *const *)tg_optimizers, tg_optimizer_count, &nearest);
  if (*out) return TG_OK;
  if (nearest) TG_FAIL(TG_ECONFIG, "no optimizer '%s'; did you mean '%s'?", name, nearest);
  TG_FAIL(TG_ECONFIG, "no optimizer '%s'; `list optimizers` shows what there is", name);
}

tg_status tg_optimizer_make(const char *name, const char *inner, tg_optimizer *out) {
  const tg_optimizer *row, *within;
  TG_TRY(tg_optimizer_find(name, &row));
  *out = *row;
  if (!row->inner) return TG_OK;
  TG_TRY(tg_optimizer_find(inner, &within));
  /* Another wrapper, or one that reads optimizer.alpha too, would take its key for this one's. */
  if (!within->apply || within->inner || within->default_alpha > 0 ||
      within->slots + row->slots > TG_MAX_SLOTS)
    TG_FAIL(TG_ECONFIG,
            "optimizer.inner=%s: %s wraps sgd, momentum, nesterov, adam, adamw, amsgrad or "
            "diffgrad",
            inner, name);
  out->inner = within;
  out->slots = row->slots + within->slots;
  return TG_OK;
}

tg_optimizer_keys tg_optimizer_keys_of(const tg_optimizer *o, const tg_optimizer_keys *set) {
  tg_optimizer_keys keys = *set;
  if (isnan(keys.alpha)) keys.alpha = o->default_alpha;
  if (isnan(keys.epsilon)) keys.epsilon = o->inner ? o->inner->default_epsilon : o->default_epsilon;
  return keys;
}
