/* threads.c - this rank's part of the machine. */
#include <hwloc.h>
#include <omp.h>
#include <stdlib.h>

#include "tardigrad/run.h"

int tg_cores(void) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return omp_get_num_procs();
  int cores = 0;
  hwloc_cpuset_t mine = hwloc_bitmap_alloc();
  if (mine && hwloc_topology_load(topology) == 0 &&
      hwloc_get_cpubind(topology, mine, HWLOC_CPUBIND_PROCESS) == 0) {
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)))
      cores += hwloc_bitmap_intersects(core->cpuset, mine);
  }
  if (mine) hwloc_bitmap_free(mine);
  hwloc_topology_destroy(topology);
  return cores > 0 ? cores : omp_get_num_procs();
}

tg_status tg_threads_of(const tg_config *config, const tg_world *world, int *out) {
  const char *set = getenv("OMP_NUM_THREADS");
  if (config->run_threads > 0) {
    *out = (int)config->run_threads;
  } else if (set && *set) {
    char *end;
    long threads = strtol(set, &end, 10);
    if (threads < 1 || threads > 4096 || (*end && *end != ','))
      TG_FAIL(TG_ECONFIG, "OMP_NUM_THREADS=%s: not a number of threads", set);
    *out = (int)threads;
  } else {
    int part = tg_cores() / (world->local_size > 0 ? world->local_size : 1);
    *out = part > 0 ? part : 1;
  }
  return TG_OK;
}
