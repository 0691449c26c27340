/* carry.h - a loop's state into another loop, made alike: what a checkpoint does, without files. */
#ifndef TARDIGRAD_RUN_CARRY_H
#define TARDIGRAD_RUN_CARRY_H

#include "run/setup.h"

/* tg_carry_server, tg_carry_gossip - everything that a checkpoint would hold of `from` becomes the
 * state of `to`, which goes on by its own options. TG_ECONFIG where they ask for less than was done
 * already. Fails as tg_server_restored and tg_gossip_restored do. */
TG_CHECKED tg_status tg_carry_server(const tg_setup *setup, tg_server *from, tg_server *to);
TG_CHECKED tg_status tg_carry_gossip(const tg_setup *setup, tg_gossip *from, tg_gossip *to);

#endif
