/* sgd.c - one process, one gradient at a time: nothing is late. */
#include "rules/rules.h"

const tg_rule tg_rule_sgd = {
    .name = "sgd",
    .help = "one process, no messages",
    .scheme = TG_SCHEME_LOCAL,
};
