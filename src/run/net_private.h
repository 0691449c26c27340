/* net_private.h - what outline.c and net.c share. */
#ifndef RUN_NET_PRIVATE_H
#define RUN_NET_PRIVATE_H

#include "tardigrad/net.h"

tg_data_options tg_net_data_options(const tg_config *c);
tg_model_options tg_net_model_options(const tg_config *c, const tg_dataset_source *source,
                                      int64_t batch);
/* tg_net_count_samples - of a split: from the row where it says so, else by reading the set. */
TG_CHECKED tg_status tg_net_count_samples(const tg_config *c, const tg_dataset_source *source,
                                          tg_split split, uint32_t *out);

#endif
