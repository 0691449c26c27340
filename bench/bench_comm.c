/* bench_comm.c - push and pull of a large model between two ranks, through the real server loop
 * with the update included, against a bare MPI ping-pong of the same bytes. RANKS: 2
 *
 * They take turns: after each update the worker's "gradient" is a ping-pong with rank 0, one
 * message each way and then in pieces, so that what else the machine does hits all of them. A push
 * and pull is counted from the gradient being ready to the new weights being there, on the worker.
 *
 * Bodies go by message, as between machines, and then stay in memory that both see, as between
 * ranks of one machine. The server has its part of the machine's cores, then all of them: the
 * worker's are idle meanwhile.
 *
 * One JSON object a line; ratio: ping-pong seconds over ours, medians over turns.
 *
 *   mpirun -n 2 bench_comm [floats [turns [bytes per piece]]] */
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "tardigrad/arena.h"
#include "tardigrad/serve.h"

typedef struct bench {
  size_t n, piece;
  bool share;
  int turns, turn;
  tg_world world;
  float *out, *in;                  /* of the ping-pong */
  MPI_Request *request;             /* [2 * pieces] */
  double *exchange, *whole, *parts; /* [turns + 1] seconds on rank 0 */
} bench;

/* ---- the neighbour ---- */

static void send_pieces(bench *b, size_t piece, int peer) {
  int count = 0;
  for (size_t at = 0; at < b->n; at += piece)
    MPI_Isend(b->out + at, (int)(b->n - at < piece ? b->n - at : piece), MPI_FLOAT, peer, 1,
              MPI_COMM_WORLD, &b->request[count++]);
  MPI_Waitall(count, b->request, MPI_STATUSES_IGNORE);
}

static void receive_pieces(bench *b, size_t piece, int peer) {
  int count = 0;
  for (size_t at = 0; at < b->n; at += piece)
    MPI_Irecv(b->in + at, (int)(b->n - at < piece ? b->n - at : piece), MPI_FLOAT, peer, 1,
              MPI_COMM_WORLD, &b->request[count++]);
  MPI_Waitall(count, b->request, MPI_STATUSES_IGNORE);
}

/* There and back, seconds. */
static double ping_pong(bench *b, size_t piece) {
  int peer = 1 - b->world.rank;
  char ready = 0;
  if (b->world.rank == 1) {
    MPI_Send(&ready, 1, MPI_CHAR, peer, 2, MPI_COMM_WORLD);
    receive_pieces(b, piece, peer);
    send_pieces(b, piece, peer);
    return 0;
  }
  MPI_Recv(&ready, 1, MPI_CHAR, peer, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  double began = tg_clock_s();
  send_pieces(b, piece, peer);
  receive_pieces(b, piece, peer);
  return tg_clock_s() - began;
}

/* ---- ours ---- */

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  bench *b = c->self;
  (void)worker, (void)w;
  if (step > 0) {
    ping_pong(b, b->n);
    ping_pong(b, b->piece);
  }
  *loss_sum = 1;
  *correct = 0;
  return TG_OK;
}

static tg_status place_gradient(tg_compute *c, float *g) {
  if (g) free(c->g); /* its own, only once */
  c->g = g;
  return TG_OK;
}

static tg_status evaluate(tg_compute *c, const float *w, const float *b, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  (void)c, (void)w, (void)b;
  *loss_sum = 0;
  *correct = *samples = 0;
  return TG_OK;
}

/* The seconds of a push and pull come with the next message. */
static tg_status handled(void *self, const tg_msg *in, const tg_server_event *event,
                         bool *preempt) {
  bench *b = self;
  (void)preempt;
  if (!event->applied) return TG_OK;
  if (in->step > 0) b->exchange[in->step - 1] = in->wait_s;
  if ((int)event->update > b->turns) return TG_OK;
  b->whole[in->step] = ping_pong(b, b->n);
  b->parts[in->step] = ping_pong(b, b->piece);
  return TG_OK;
}

static tg_status serve(bench *b, const char *rule, const tg_transport *mpi, tg_comm *comm) {
  tg_server_options o = {.schedule = {.lr = 1e-6},
                         .hyper = {.mean_square_decay = 0.95f, .epsilon = 1e-7f},
                         .workers = 1,
                         .n = b->n,
                         .batch = 1,
                         .train_count = 1,
                         .epochs = b->turns + 1};
  tg_observer observer = {.self = b, .handled = handled};
  tg_serve_options options = {
      .transport = mpi, .comm = comm, .workers = 1, .n = b->n, .observer = &observer};
  float *bak = mpi->weights(comm, 0);
  if (bak) o.bak = &bak;
  TG_TRY(tg_rule_find(rule, &o.rule));
  TG_TRY(tg_optimizer_find("sgd", &o.optimizer));
  o.hyper.lambda = o.rule->default_lambda;
  TG_TRY(tg_server_create(&o, b->in, b->in, &options.server));
  tg_status status = tg_serve(&options);
  tg_server_destroy(options.server);
  return status;
}

static int ascending(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

/* The first turn warms up. */
static double median(double *x, int turns) {
  qsort(x + 1, (size_t)turns - 1, sizeof *x, ascending);
  return x[1 + (turns - 1) / 2];
}

static void report(bench *b, const char *rule) {
  double ours = median(b->exchange, b->turns), whole = median(b->whole, b->turns);
  double parts = median(b->parts, b->turns), bytes = 2.0 * (double)b->n * sizeof(float);
  printf("{\"bench\":\"comm\",\"rule\":\"%s\",\"parameters\":%zu,\"piece_bytes\":%zu,"
         "\"shared_memory\":%s,\"threads\":%d,\"turns\":%d,\"exchange_s\":%.6f,\"exchange_gb_per_"
         "s\":%.3f,"
         "\"ping_pong_s\":%.6f,\"ping_pong_gb_per_s\":%.3f,\"ping_pong_pieces_s\":%.6f,"
         "\"ratio\":%.3f,\"ratio_pieces\":%.3f,\"ratio_best\":%.3f}\n",
         rule, b->n, b->piece * sizeof(float), b->share ? "true" : "false", omp_get_max_threads(),
         b->turns, ours, bytes / ours * 1e-9, whole, bytes / whole * 1e-9, parts, whole / ours,
         parts / ours, b->whole[1] / b->exchange[1]);
  fflush(stdout);
}

static tg_status run(bench *b, const char *rule) {
  const tg_transport *mpi;
  tg_comm *comm;
  uint32_t flags;
  tg_compute compute = {.n = b->n,
                        .batch = 1,
                        .self = b,
                        .place_gradient = place_gradient,
                        .gradient = gradient,
                        .evaluate = evaluate};
  compute.g = tg_alloc_aligned(b->n * sizeof(float));
  tg_comm_options o = {.workers = 1,
                       .n = b->n,
                       .piece = b->piece,
                       .share = b->share,
                       .timeout_s = 60,
                       .compute = &compute};
  TG_TRY(tg_transport_find("mpi", &mpi));
  TG_TRY(mpi->open(&o, &comm));
  if (b->world.rank == 0)
    TG_TRY(serve(b, rule, mpi, comm));
  else
    TG_TRY(mpi->work(comm, &flags));
  mpi->close(comm);
  if (!b->share || b->world.rank == 0) free(compute.g);
  if (b->world.rank == 0) report(b, rule);
  return TG_OK;
}

/* The server's threads differ, the worker's do not: they would only compute a norm. */
static tg_status run_rules(bench *b, int threads) {
  if (b->world.rank == 0) omp_set_num_threads(threads);
  for (int share = 0; share < 2; share++) {
    b->share = share;
    TG_TRY(run(b, "asgd"));
    TG_TRY(run(b, "dc-asgd-a"));
  }
  return TG_OK;
}

static tg_status run_all(bench *b) {
  size_t pieces = b->n / b->piece + 2;
  int cores = omp_get_num_procs();
  int part = cores > b->world.local_size ? cores / b->world.local_size : 1;
  b->out = tg_alloc_aligned(b->n * sizeof(float));
  b->in = tg_alloc_aligned(b->n * sizeof(float));
  b->request = calloc(pieces, sizeof(MPI_Request));
  b->exchange = calloc(3 * ((size_t)b->turns + 1), sizeof(double));
  if (!b->out || !b->in || !b->request || !b->exchange) TG_FAIL(TG_ERUNTIME, "no memory");
  b->whole = b->exchange + b->turns + 1;
  b->parts = b->whole + b->turns + 1;
  omp_set_num_threads(part);
  TG_TRY(run_rules(b, part));
  return cores > part ? run_rules(b, cores) : TG_OK;
}

int main(int argc, char **argv) {
  bench b = {.n = argc > 1 ? strtoull(argv[1], NULL, 10) : 25 << 20,
             .turns = argc > 2 ? atoi(argv[2]) : 20,
             .piece = (argc > 3 ? strtoull(argv[3], NULL, 10) : 1 << 20) / sizeof(float)};
  if (tg_world_start(false, &b.world) != TG_OK || b.world.size != 2 || b.turns < 2) {
    fprintf(stderr, "bench_comm: runs as mpirun -n 2 bench_comm [floats [turns [piece bytes]]]\n");
    return 2;
  }
  if (run_all(&b) != TG_OK) {
    fprintf(stderr, "bench_comm: %s\n", tg_status_message());
    tg_world_abort(TG_ERUNTIME);
  }
  tg_world_end();
  return 0;
}
