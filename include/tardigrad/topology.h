/* topology.h - who mixes weights with whom: a doubly stochastic matrix W, row by row. */
#ifndef TARDIGRAD_TOPOLOGY_H
#define TARDIGRAD_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

typedef enum { TG_TOPOLOGY_RING, TG_TOPOLOGY_COMPLETE } tg_topology;

/* tg_topology_count - members of worker i's neighbourhood, itself included: 3 on a ring (2 of two
 * workers), all workers where the graph is complete. Every member has the same weight
 * W_ij = 1/count, which makes W symmetric and doubly stochastic. */
size_t tg_topology_count(tg_topology t, uint32_t workers);
/* tg_topology_member - member `at` of worker i's neighbourhood, ascending: sums go in this order.
 */
uint32_t tg_topology_member(tg_topology t, uint32_t workers, uint32_t i, size_t at);

#endif
