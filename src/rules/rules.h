/* rules.h - the rows of rules.def, for the files that define them. */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include "tardigrad/rule.h"

#define TG_RULE(symbol) extern const tg_rule tg_rule_##symbol;
#include "rules/rules.def"
#undef TG_RULE

#endif
