/* simulate_calibrate.c - what a message and a look cost on this machine, for the simulator.
 *
 * Ping-pong between two ranks at several sizes (half of the shortest round trip), an MPI_Test and
 * an MPI_Testsome that find nothing, the sum that ssgd makes of gradients. The shortest of many
 * times: what else the machine does only makes them longer.
 *
 *   mpirun -n 2 simulate_calibrate     one JSON object on standard output */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "tardigrad/arena.h"
#include "tardigrad/transport.h"
#include "tardigrad/update.h"

enum { TURNS = 300, MOST = 1 << 20, REQUESTS = 256, LOOKS = 1000, VECTOR = 4 << 20, PASSES = 20 };

static int rank;
static char *data;

static double least(double a, double b) {
  return a < b ? a : b;
}

/* Seconds of one way. */
static double ping_pong(int bytes) {
  double best = 1e9;
  for (int i = 0; i < TURNS; i++) {
    double began = tg_clock_s();
    if (rank == 0) MPI_Send(data, bytes, MPI_CHAR, 1, 1, MPI_COMM_WORLD);
    MPI_Recv(data, bytes, MPI_CHAR, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank == 1) MPI_Send(data, bytes, MPI_CHAR, 0, 1, MPI_COMM_WORLD);
    best = least(best, (tg_clock_s() - began) / 2);
  }
  return best;
}

/* Of one MPI_Test, and of MPI_Testsome by request, while nothing comes. */
static void look(double *test_s, double *some_s) {
  MPI_Request request[REQUESTS];
  int flag, found, which[REQUESTS];
  for (int i = 0; i < REQUESTS; i++)
    MPI_Irecv(data, 1, MPI_CHAR, 1 - rank, 2 + i, MPI_COMM_WORLD, &request[i]);
  *test_s = *some_s = 1e9;
  for (int turn = 0; turn < TURNS; turn++) {
    double began = tg_clock_s();
    for (int i = 0; i < LOOKS; i++) MPI_Test(&request[0], &flag, MPI_STATUS_IGNORE);
    *test_s = least(*test_s, (tg_clock_s() - began) / LOOKS);
    began = tg_clock_s();
    for (int i = 0; i < LOOKS / 50; i++)
      MPI_Testsome(REQUESTS, request, &found, which, MPI_STATUSES_IGNORE);
    *some_s = least(*some_s, (tg_clock_s() - began) / (LOOKS / 50) / REQUESTS);
  }
  for (int i = 0; i < REQUESTS; i++) {
    MPI_Cancel(&request[i]);
    MPI_Request_free(&request[i]);
  }
}

/* Of ssgd after the sums have come, per parameter: its own part added, the mean, the update. */
static double in_step(void) {
  tg_update u = {.hyper = {.lr = 1e-6f}};
  float *x = tg_alloc_aligned(VECTOR * sizeof *x), *y = tg_alloc_aligned(VECTOR * sizeof *y);
  double best = 1e9;
  u.w = tg_alloc_aligned(VECTOR * sizeof *u.w);
  if (!x || !y || !u.w || tg_rule_find("ssgd", &u.rule) || tg_optimizer_find("sgd", &u.optimizer))
    return -1;
  for (int i = 0; i < PASSES; i++) {
    tg_update_sums sums = {0};
    double began = tg_clock_s();
    for (size_t k = 0; k < VECTOR; k++) x[k] += y[k];
    tg_scale(VECTOR, x, 0.5f);
    tg_update_apply(&u, (tg_span){0, VECTOR}, x, &sums);
    best = least(best, tg_clock_s() - began);
  }
  free(x);
  free(y);
  free(u.w);
  return best / VECTOR;
}

int main(void) {
  const int sizes[] = {8, 128, 1024, 4096, 16384, 65536, 262144, 1048576};
  enum { SIZES = sizeof sizes / sizeof *sizes };
  tg_world world;
  double one_way[SIZES], test_s, some_s;
  if (tg_world_start(true, &world) != TG_OK || world.size != 2) {
    fprintf(stderr, "simulate_calibrate: runs as mpirun -n 2 simulate_calibrate\n");
    return 2;
  }
  rank = world.rank;
  data = calloc(MOST, 1);
  if (!data) return 1;
  for (int i = 0; i < SIZES; i++) one_way[i] = ping_pong(sizes[i]);
  look(&test_s, &some_s);
  if (rank == 0) {
    printf("{\"bench\":\"calibrate\",\"test_ns\":%.1f,\"some_ns\":%.2f,\"in_step_ns\":%.3f,"
           "\"one_way_us\":{",
           1e9 * test_s, 1e9 * some_s, 1e9 * in_step());
    for (int i = 0; i < SIZES; i++)
      printf("%s\"%d\":%.3f", i ? "," : "", sizes[i], 1e6 * one_way[i]);
    printf("}}\n");
    fflush(stdout);
  }
  free(data);
  tg_world_end();
  return 0;
}
