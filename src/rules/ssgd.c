/* ssgd.c - the workers' gradients are averaged before one update: nothing is late. */
#include "rules/rules.h"

const tg_rule tg_rule_ssgd = {
    .name = "ssgd",
    .help = "synchronous: the mean of all workers' gradients, then one update",
    .scheme = TG_SCHEME_SYNC,
};
