/* asgd.c - late gradients are applied as they are. */
#include "rules/rules.h"

const tg_rule tg_rule_asgd = {
    .name = "asgd",
    .help = "asynchronous: each gradient is applied as it arrives",
    .scheme = TG_SCHEME_ASYNC,
};
