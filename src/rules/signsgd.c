/* signsgd.c - signSGD with majority vote (Bernstein et al., ICML 2018 and ICLR 2019): every worker
 * sends the signs of its gradient, the sign of their sum is the gradient that is applied. */
#include "rules/rules.h"

const tg_rule tg_rule_signsgd = {
    .name = "signsgd",
    .help = "synchronous: the majority of the workers' signs (codec signsgd), then one update",
    .scheme = TG_SCHEME_SYNC,
    .votes = true,
};
