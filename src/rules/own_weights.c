/* own_weights.c - schemes in which every worker applies its gradients to weights of its own, and
 * weights are mixed: what is done to a gradient is the optimiser's alone. */
#include "rules/rules.h"

/* Stich, ICLR 2019; McMahan et al., AISTATS 2017; with sync.local_growth Gu et al., ICLR 2024. */
const tg_rule tg_rule_local_sgd = {
    .name = "local-sgd",
    .help = "workers' weights are averaged after every sync.local_steps updates of their own",
    .scheme = TG_SCHEME_OWN,
};

/* Lin et al., ICLR 2020. */
const tg_rule tg_rule_post_local_sgd = {
    .name = "post-local-sgd",
    .help = "averages after every update until epoch sync.local_after, then as local-sgd",
    .scheme = TG_SCHEME_OWN,
};

/* Lian et al., NeurIPS 2017. */
const tg_rule tg_rule_d_psgd = {
    .name = "d-psgd",
    .help = "decentralised: weights are averaged with those of neighbours at every update",
    .scheme = TG_SCHEME_OWN,
};

/* Lian et al., ICML 2018. */
const tg_rule tg_rule_ad_psgd = {
    .name = "ad-psgd",
    .help = "decentralised, asynchronous: averages with one random neighbour after each gradient",
    .scheme = TG_SCHEME_GOSSIP,
};
