/* rule.c - rules by name. */
#include <string.h>

#include "rules/rules.h"
#include "tardigrad/registry.h"

const tg_rule *const tg_rules[] = {
#define TG_RULE(symbol) &tg_rule_##symbol,
#include "rules/rules.def"
#undef TG_RULE
};
const size_t tg_rule_count = sizeof tg_rules / sizeof tg_rules[0];

tg_status tg_rule_find(const char *name, const tg_rule **out) {
  const char *nearest = NULL;
  *out = tg_registry_find(name, (const void *const *)tg_rules, tg_rule_count, &nearest);
  if (*out) return TG_OK;
  if (nearest) TG_FAIL(TG_ECONFIG, "no rule '%s'; did you mean '%s'?", name, nearest);
  TG_FAIL(TG_ECONFIG, "no rule '%s'; `list rules` shows what there is", name);
}

tg_status tg_rule_check(const tg_rule *rule, const char *optimizer, bool whole) {
  if (whole && (rule->settle || rule->serve))
    TG_FAIL(TG_ECONFIG,
            "sync.rule=%s does not go with optimizer.name=%s, which looks at whole tensors",
            rule->name, optimizer);
  if (!rule->optimizer || strcmp(rule->optimizer, optimizer) == 0) return TG_OK;
  TG_FAIL(TG_ECONFIG, "sync.rule=%s goes with optimizer.name=%s only, not with %s", rule->name,
          rule->optimizer, optimizer);
}

size_t tg_rule_states(const tg_rule *rule, bool global, uint32_t workers) {
  if (!rule->has_state) return 0;
  bool one = rule->state_of == TG_STATE_SERVER || (rule->state_of == TG_STATE_CHOSEN && global);
  return one ? 1 : workers;
}
