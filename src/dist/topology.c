/* topology.c - neighbourhoods. */
#include "tardigrad/topology.h"

size_t tg_topology_count(tg_topology t, uint32_t workers) {
  return t == TG_TOPOLOGY_COMPLETE || workers < 3 ? workers : 3;
}

uint32_t tg_topology_member(tg_topology t, uint32_t workers, uint32_t i, size_t at) {
  if (t == TG_TOPOLOGY_COMPLETE || workers <= 3) return (uint32_t)at;
  uint32_t member[3] = {(i + workers - 1) % workers, i, (i + 1) % workers};
  /* Ascending: at the ends of the row one neighbour is at the other end. */
  if (i == 0) return (uint32_t[]){0, 1, workers - 1}[at];
  if (i == workers - 1) return (uint32_t[]){0, workers - 2, workers - 1}[at];
  return member[at];
}
