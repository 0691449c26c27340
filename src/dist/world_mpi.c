/* world_mpi.c - starting and ending MPI, and what all ranks do together before and after training.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dist/comm_mpi.h"

/* MPI itself is one per process, and so is this. */
static struct {
  tg_world is; /* rank, size, ... once MPI was started */
  MPI_Comm comm, machine;
  double timeout_s;
  int threads; /* what MPI provides */
} world = {.is = {.size = 1, .local_size = 1}, .timeout_s = 600};

enum { BROADCAST_BYTES = 16 << 20 };

/* What a rank reports to rank 0. */
typedef struct report {
  int32_t status;
  char message[1024];
} report;

MPI_Comm tg_mpi_comm(void) {
  return world.comm;
}

/* ---- beginning and end ---- */

static long number_in_environment(const char *name) {
  const char *text = getenv(name);
  return text ? strtol(text, NULL, 10) : 0;
}

/* Processes that mpirun or srun started together; 1 without a launcher. */
static long launched(void) {
  if (getenv("OMPI_COMM_WORLD_SIZE")) return number_in_environment("OMPI_COMM_WORLD_SIZE");
  if (getenv("PMIX_RANK") || getenv("SLURM_PROCID"))
    return number_in_environment("SLURM_STEP_NUM_TASKS");
  return 1;
}

tg_status tg_mpi_neighbour(int rank, bool *out) {
  MPI_Group all, here;
  int there;
  TG_MPI(MPI_Comm_group(world.comm, &all));
  TG_MPI(MPI_Comm_group(world.machine, &here));
  TG_MPI(MPI_Group_translate_ranks(all, 1, &rank, here, &there));
  TG_MPI(MPI_Group_free(&all));
  TG_MPI(MPI_Group_free(&here));
  *out = there != MPI_UNDEFINED;
  return TG_OK;
}

static tg_status find_neighbours(tg_world *out) {
  TG_MPI(MPI_Comm_split_type(world.comm, MPI_COMM_TYPE_SHARED, out->rank, MPI_INFO_NULL,
                             &world.machine));
  TG_MPI(MPI_Comm_rank(world.machine, &out->local_rank));
  TG_MPI(MPI_Comm_size(world.machine, &out->local_size));
  /* Ranks of a machine are in the order of all ranks: the server, if it is here, is the first. */
  bool with_server;
  TG_TRY(tg_mpi_neighbour(0, &with_server));
  out->local_worker = out->local_rank - (with_server && out->local_rank > 0);
  return TG_OK;
}

static tg_status name_library(tg_world *out) {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length;
  TG_MPI(MPI_Get_library_version(text, &length));
  snprintf(out->version, sizeof out->version, "%.*s", (int)strcspn(text, ",\n"), text);
  return TG_OK;
}

static tg_status start(tg_world *out) {
  TG_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &world.threads));
  out->mpi = true;
  TG_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  TG_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &world.comm));
  TG_MPI(MPI_Comm_rank(world.comm, &out->rank));
  TG_MPI(MPI_Comm_size(world.comm, &out->size));
  TG_TRY(find_neighbours(out));
  return name_library(out);
}

tg_status tg_world_start(bool force, tg_world *out) {
  long processes = launched();
  if (!world.is.mpi && (processes > 1 || force)) TG_TRY(start(&world.is));
  *out = world.is;
  if (processes > 1 && out->size == 1)
    TG_FAIL(
        TG_EUNAVAILABLE,
        "the launcher started %ld processes, but MPI does not see the others (srun: --mpi=pmix)",
        processes);
  return TG_OK;
}

bool tg_world_threaded(void) {
  return world.is.mpi && world.threads >= MPI_THREAD_SERIALIZED;
}

void tg_world_end(void) {
  if (!world.is.mpi) return;
  MPI_Comm_free(&world.machine);
  MPI_Comm_free(&world.comm);
  MPI_Finalize();
  world.is = (tg_world){.size = 1, .local_size = 1};
}

void tg_world_abort(tg_status code) {
  if (world.is.mpi) MPI_Abort(MPI_COMM_WORLD, (int)code);
  _exit((int)code);
}

void tg_world_timeout(double seconds) {
  world.timeout_s = seconds;
}

/* ---- all ranks together ---- */

/* To or from every other rank: one request each, from rank 1 on. */
static tg_status exchange(void *data, size_t stride, size_t bytes, bool sends, int tag) {
  tg_status status = TG_OK;
  size_t others = (size_t)world.is.size - 1, done = 0;
  MPI_Request *request = malloc((others + 1) * sizeof *request);
  if (!request) TG_FAIL(TG_ERUNTIME, "no memory for %zu requests", others);
  for (size_t i = 0; i < others; i++) {
    char *part = (char *)data + i * stride;
    int rank = (int)i + 1, count = (int)bytes;
    TG_DO(tg_mpi_check(sends ? MPI_Isend(part, count, MPI_BYTE, rank, tag, world.comm, &request[i])
                             : MPI_Irecv(part, count, MPI_BYTE, rank, tag, world.comm, &request[i]),
                       sends ? "MPI_Isend" : "MPI_Irecv"));
  }
  for (size_t i = 0; i < others; i++) {
    const tg_wait wait = {world.timeout_s, "word from", (int)i + 1, false};
    TG_DO(tg_mpi_finish(&wait, request, i + 1, &done));
  }
done:
  free(request);
  return status;
}

static tg_status exchange_with_root(void *data, size_t bytes, bool sends, int tag) {
  MPI_Request request;
  size_t done = 0;
  if (sends)
    TG_MPI(MPI_Isend(data, (int)bytes, MPI_BYTE, 0, tag, world.comm, &request));
  else
    TG_MPI(MPI_Irecv(data, (int)bytes, MPI_BYTE, 0, tag, world.comm, &request));
  const tg_wait wait = {world.timeout_s, "word from the server", 0, false};
  return tg_mpi_finish(&wait, &request, 1, &done);
}

static tg_status judge(tg_status mine) {
  tg_status status = TG_OK;
  size_t others = (size_t)world.is.size - 1;
  report *reports = calloc(others + 1, sizeof *reports);
  if (!reports) TG_FAIL(TG_ERUNTIME, "no memory for the reports of %zu ranks", others);
  report worst = {.status = mine};
  snprintf(worst.message, sizeof worst.message, "%s", mine != TG_OK ? tg_status_message() : "");
  TG_DO(exchange(reports, sizeof *reports, sizeof *reports, false, TG_TAG_REPORT));
  for (size_t i = 0; i < others; i++)
    if (reports[i].status > worst.status) worst = reports[i];
  int32_t verdict = worst.status;
  TG_DO(exchange(&verdict, 0, sizeof verdict, true, TG_TAG_VERDICT));
  free(reports);
  return verdict == TG_OK ? TG_OK : tg_status_set((tg_status)verdict, "%s", worst.message);
done:
  /* Receives may still be under way: their memory is left to them. */
  return status;
}

tg_status tg_world_agree(tg_status mine) {
  if (world.is.size == 1) return mine;
  if (world.is.rank == 0) return judge(mine);
  report r = {.status = mine};
  snprintf(r.message, sizeof r.message, "%s", mine != TG_OK ? tg_status_message() : "");
  TG_TRY(exchange_with_root(&r, sizeof r, true, TG_TAG_REPORT));
  int32_t verdict = TG_OK;
  TG_TRY(exchange_with_root(&verdict, sizeof verdict, false, TG_TAG_VERDICT));
  if (mine == TG_OK && verdict != TG_OK)
    TG_FAIL((tg_status)verdict, "another rank failed: %s", tg_status_name((tg_status)verdict));
  return (tg_status)verdict;
}

tg_status tg_world_gather(void *all, size_t bytes) {
  char *entry = all;
  if (world.is.size == 1) return TG_OK;
  if (world.is.rank == 0)
    TG_TRY(exchange(entry + bytes, bytes, bytes, false, TG_TAG_REPORT));
  else
    TG_TRY(exchange_with_root(entry + (size_t)world.is.rank * bytes, bytes, true, TG_TAG_REPORT));
  return tg_world_broadcast(all, (size_t)world.is.size * bytes);
}

tg_status tg_world_broadcast(void *data, size_t bytes) {
  for (size_t at = 0; at < bytes && world.is.size > 1; at += BROADCAST_BYTES) {
    size_t part = bytes - at < BROADCAST_BYTES ? bytes - at : BROADCAST_BYTES;
    if (world.is.rank == 0)
      TG_TRY(exchange((char *)data + at, 0, part, true, TG_TAG_BROADCAST));
    else
      TG_TRY(exchange_with_root((char *)data + at, part, false, TG_TAG_BROADCAST));
  }
  return TG_OK;
}
