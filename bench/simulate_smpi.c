/* simulate_smpi.c - under SMPI nothing takes time but messages and what is charged here.
 *
 * The program's own sources stay as they are. The Makefile turns their clock_gettime and nanosleep
 * into the two functions below, has the linker pass calls of tg_update_apply through here, and puts
 * this file in the place of src/dist/pause_mpi.c. Tests of requests come by as MPI's profiling
 * interface provides.
 *
 * A loop that looks again and again would cost the simulator more than all messages. So a pause
 * waits until one of the requests that were looked at in vain is complete, and then until the look
 * that would have found it: the same times, without the looks between. */
#include <mpi.h>
#include <simgrid/actor.h>
#include <simgrid/engine.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "dist/comm_mpi.h"
#include "simulate.h"

const char *const simulate_world = "smpi";

/* SMPI gives each rank its own copy of global variables. */
static simulate_costs charged;
static struct {
  MPI_Request **where, *copy; /* [room] requests looked at in vain since the last pause */
  size_t count, room;
  double cost_s;     /* of these looks */
  MPI_Request *done; /* one that a pause found complete; its owner has yet to hear of it */
} looks;

/* A loop must not stand still: one look takes at least so long. */
static const double SHORTEST_LOOK_S = 1e-7;

int simulate_clock(clockid_t clock, struct timespec *out);
int simulate_sleep(const struct timespec *length, struct timespec *left);
void __real_tg_update_apply(const tg_update *u, tg_span span, float *g, tg_update_sums *sums);
void __wrap_tg_update_apply(const tg_update *u, tg_span span, float *g, tg_update_sums *sums);

void simulate_charge(const simulate_costs *costs) {
  charged = *costs;
}

int simulate_clock(clockid_t clock, struct timespec *out) {
  double now = simgrid_get_clock();
  (void)clock;
  out->tv_sec = (time_t)now;
  out->tv_nsec = (long)(1e9 * (now - (double)out->tv_sec));
  return 0;
}

static void rest(double seconds) {
  if (seconds > 0) sg_actor_sleep_for(seconds);
}

int simulate_sleep(const struct timespec *length, struct timespec *left) {
  (void)left;
  rest((double)length->tv_sec + 1e-9 * (double)length->tv_nsec);
  return 0;
}

void __wrap_tg_update_apply(const tg_update *u, tg_span span, float *g, tg_update_sums *sums) {
  __real_tg_update_apply(u, span, g, sums);
  rest(charged.update_s * (double)(span.hi - span.lo));
}

/* ---- looks ---- */

static void note_vain(MPI_Request *request) {
  if (looks.count == looks.room) {
    looks.room = looks.room ? 2 * looks.room : 64;
    looks.where = realloc(looks.where, looks.room * sizeof *looks.where);
    looks.copy = realloc(looks.copy, looks.room * sizeof *looks.copy);
    if (!looks.where || !looks.copy) MPI_Abort(MPI_COMM_WORLD, 1);
  }
  looks.where[looks.count++] = request;
}

int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status) {
  looks.cost_s += charged.test_s;
  if (request == looks.done) {
    looks.done = NULL;
    *request = MPI_REQUEST_NULL;
  }
  int code = PMPI_Test(request, flag, status);
  if (code == MPI_SUCCESS && !*flag) note_vain(request);
  return code;
}

int MPI_Testsome(int count, MPI_Request requests[], int *found, int indices[],
                 MPI_Status statuses[]) {
  rest(charged.some_s * count);
  int code = PMPI_Testsome(count, requests, found, indices, statuses);
  if (code != MPI_SUCCESS) return code;
  if (looks.done >= requests && looks.done < requests + count) {
    if (*found == MPI_UNDEFINED) *found = 0;
    int at = (*found)++, index = (int)(looks.done - requests);
    for (; at > 0 && indices[at - 1] > index; at--) indices[at] = indices[at - 1];
    indices[at] = index;
    looks.done = NULL;
  }
  for (int i = 0, hit = 0; i < count; i++) {
    while (*found != MPI_UNDEFINED && hit < *found && indices[hit] < i) hit++;
    bool complete = *found != MPI_UNDEFINED && hit < *found && indices[hit] == i;
    if (!complete && requests[i] != MPI_REQUEST_NULL) note_vain(&requests[i]);
  }
  return code;
}

/* Until one of them is complete. */
static void await(void) {
  int index;
  for (size_t i = 0; i < looks.count; i++) looks.copy[i] = *looks.where[i];
  if (PMPI_Waitany((int)looks.count, looks.copy, &index, MPI_STATUS_IGNORE) != MPI_SUCCESS)
    MPI_Abort(MPI_COMM_WORLD, 1);
  if (index != MPI_UNDEFINED) looks.done = looks.where[index];
}

bool tg_patience_pause(tg_patience *p) {
  double look_s = looks.cost_s > SHORTEST_LOOK_S ? looks.cost_s : SHORTEST_LOOK_S;
  if (looks.count > 0 && !looks.done) await();
  double now = tg_clock_s();
  do p->now += tg_patience_step(p) + look_s;
  while (p->now < now && p->now - p->began < p->timeout_s);
  rest(p->now - now);
  looks.count = 0;
  looks.cost_s = 0;
  return p->now - p->began < p->timeout_s;
}
