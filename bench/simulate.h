/* simulate.h - what bench/simulate.c asks of the world that it runs in: a real one under mpirun
 * (simulate_real.c), or SimGrid's SMPI (simulate_smpi.c). The Makefile chooses. */
#ifndef BENCH_SIMULATE_H
#define BENCH_SIMULATE_H

/* Seconds that are charged to the simulated clock; a real clock runs by itself. */
typedef struct simulate_costs {
  double update_s; /* of an update, per parameter */
  double test_s;   /* of an MPI_Test that finds nothing */
  double some_s;   /* of MPI_Testsome, per request */
} simulate_costs;

/* simulate_charge - from now on; each rank calls it. */
void simulate_charge(const simulate_costs *costs);
/* The world's name: mpi or smpi. */
extern const char *const simulate_world;

#endif
