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
