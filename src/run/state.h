/* state.h - what a checkpoint holds of a run: arrays by name, over memory that others own. */
#ifndef TARDIGRAD_RUN_STATE_H
#define TARDIGRAD_RUN_STATE_H

#include "tardigrad/checkpoint.h"
#include "tardigrad/gossip.h"
#include "tardigrad/server.h"

typedef struct tg_array_list {
  tg_ckpt_array *item;
  size_t count, room;
} tg_array_list;

/* tg_array_add - one more array, of nd dimensions dim0 x dim1; the name is printed. */
TG_CHECKED tg_status tg_array_add(tg_array_list *list, tg_st_dtype dtype, void *data, int nd,
                                  size_t dim0, size_t dim1, const char *name, ...)
    __attribute__((format(printf, 7, 8)));
void tg_array_list_free(tg_array_list *list);

enum { TG_SERVER_COUNTERS = 8 };

/* tg_server_arrays - the server's state: views. Counters are scalars in the server, so they pass
 * through counters[TG_SERVER_COUNTERS]: filled here for saving; after loading into it, call
 * tg_server_counters_back. */
TG_CHECKED tg_status tg_server_arrays(tg_array_list *list, const tg_server_state *s, size_t n,
                                      size_t k, size_t ks, uint32_t workers, uint64_t *counters);
void tg_server_counters_back(tg_server_state *s, const uint64_t *counters);

/* tg_holdings_arrays - of workers with weights of their own. tg_gossip_arrays - ad-psgd's state:
 * views, and counters[4] as above. */
TG_CHECKED tg_status tg_holdings_arrays(tg_array_list *list, const tg_holdings *h,
                                        uint32_t workers);
TG_CHECKED tg_status tg_gossip_arrays(tg_array_list *list, const tg_gossip_state *s,
                                      uint32_t workers, uint64_t *counters);
void tg_gossip_counters_back(tg_gossip_state *s, const uint64_t *counters);

/* tg_arrays_copy - what one list's arrays hold into those of another, made alike. */
void tg_arrays_copy(const tg_array_list *from, const tg_array_list *to);

#endif
