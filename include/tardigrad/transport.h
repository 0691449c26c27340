/* transport.h - how messages travel. Server and worker cannot tell which row of the table carries
 * them.
 *
 *   mpi  Open MPI, point-to-point; rank 0 is the server, rank m+1 is worker m
 *   sim  one process: a seeded event queue with a model of compute time; any number of workers
 *
 * Large bodies travel in pieces, so that the update of one overlaps the transfer of the next. Every
 * piece sees the workers in the order in which their headers were taken. */
#ifndef TARDIGRAD_TRANSPORT_H
#define TARDIGRAD_TRANSPORT_H

#include <stdbool.h>

#include "tardigrad/message.h"
#include "tardigrad/status.h"
#include "tardigrad/trace.h"
#include "tardigrad/update.h"
#include "tardigrad/worker.h"

typedef struct tg_comm tg_comm;

typedef enum {
  TG_ORDER_ROUND_ROBIN,
  TG_ORDER_EXPONENTIAL,
  TG_ORDER_LOGNORMAL,
  TG_ORDER_TRACE
} tg_sim_order;

typedef struct tg_sim_options {
  tg_sim_order order;
  uint64_t seed;
  uint32_t slow_workers;   /* the first so many workers are slower ... */
  double slow_factor;      /* ... by this factor */
  double compute_s;        /* mean seconds of virtual time per gradient */
  double sigma;            /* of log compute time, lognormal order */
  const uint32_t *records; /* order=trace: worker | kind << 24, as in trace.bin */
  size_t record_count;
} tg_sim_options;

typedef struct tg_comm_options {
  uint32_t workers;
  size_t n, k, ks;
  size_t piece;     /* most floats per piece of a body (mpi); 0 = 256 Ki */
  bool share;       /* workers of the server's machine share memory with it (mpi) */
  bool whole;       /* the server wants a gradient in one piece where it lies in one anyway */
  double timeout_s; /* every wait ends after this, and says for whom it waited */
  tg_trace *trace;  /* order recorded into, and prescribed by; NULL = neither */
  tg_sim_options sim;
  tg_compute *compute; /* sim, and worker ranks of mpi */
  tg_worker_options worker;
} tg_comm_options;

/* A vector of n floats to and from one rank; out or in may be NULL: only the other way. */
typedef struct tg_parcel {
  uint32_t peer; /* a worker, or TG_PEER_SERVER */
  size_t n;
  const float *out;
  float *in;
} tg_parcel;
enum { TG_PEER_SERVER = INT32_MAX, TG_WORD = 128 };

/* One row of dist/transports.def. Server side unless said otherwise. */
typedef struct tg_transport {
  const char *name, *help;
  tg_status (*open)(const tg_comm_options *options, tg_comm **out);
  void (*close)(tg_comm *comm);
  /* Memory [n] that w_bak(worker) should live in, because that worker sees it too: weights are then
   * not copied. Owned by comm. NULL, or a NULL row: any memory will do. */
  float *(*weights)(tg_comm *comm, uint32_t worker);
  /* Takes the next message: in arrival order, fair among workers, or in the prescribed order. */
  tg_status (*recv)(tg_comm *comm, tg_msg *out);
  /* The next piece of the body of the message taken last: *g points at span->hi - span->lo floats,
   * the receiver may overwrite them; valid until the next call of recv_piece or recv. Called until
   * span->hi == n, for every push that is not TG_FLAG_NONFINITE. */
  tg_status (*recv_piece)(tg_comm *comm, tg_span *span, float **g);
  /* Its batch statistics [ks], after the last piece; valid until the next recv. */
  tg_status (*recv_stats)(tg_comm *comm, const float **s);
  /* Answers worker m: the header, then w_bak(m) by spans from 0 on (w points at element span.lo of
   * one buffer; spans that are not the last end at multiples of the piece), then, for
   * TG_MSG_EVALUATE, running statistics b [k]. Nothing is copied: both buffers must stay unchanged
   * until m's next message has been taken. */
  tg_status (*send)(tg_comm *comm, const tg_msg *reply);
  tg_status (*send_piece)(tg_comm *comm, uint32_t worker, tg_span span, const float *w);
  tg_status (*send_stats)(tg_comm *comm, uint32_t worker, const float *b);
  /* Ends the server's part once every worker was told to stop: completes what is under way. */
  tg_status (*drain)(tg_comm *comm);
  /* Seconds since the run began: wall clock, or virtual time. */
  double (*clock)(tg_comm *comm);
  /* A worker rank's whole life: serves until TG_MSG_STOP, whose flags it returns. NULL for sim,
   * where recv() runs the workers. */
  tg_status (*work)(tg_comm *comm, uint32_t *stop_flags);
  /* For the synchronous scheme. Collective over all ranks. x [n] becomes its sum over the workers,
   * added elementwise in the order of the workers, on every rank (rank 0's is only written);
   * scalars likewise, and rank 0's are added last. n = 0: scalars only.
   * sim: one process computes every worker's part, so x and scalars are the sums already; virtual
   * time passes, as much as the slowest worker takes for its next gradient (n = 0: none). */
  tg_status (*allreduce)(tg_comm *comm, float *x, size_t n, double *scalars, size_t scalar_count);
  /* For codecs (worker.coder). NULL where one process computes every worker's part: everything is
   * there already. The first two are of the synchronous scheme, and collective over all ranks.
   * gather: worker m brings message[m] of bytes[m] bytes; every rank (everybody) or rank 0 alone
   * gets all of them, each into message[m] with room for `room` bytes.
   * spread: rank 0's message of *bytes bytes, into `message` of every worker. */
  tg_status (*gather)(tg_comm *comm, unsigned char *const *message, uint64_t *bytes, size_t room,
                      bool everybody);
  tg_status (*spread)(tg_comm *comm, unsigned char *message, uint64_t *bytes, size_t room);
  /* States that codecs keep: collect brings every worker's into rank 0's coder, hand_out gives each
   * worker its own from there. Collective in the synchronous scheme. In the asynchronous one rank 0
   * alone calls collect, with ask = true: each worker that has not been told to stop answers when
   * its outstanding message is on its way, with its state from before it. What was restored
   * (coder->restored) is then handed out with the first messages. */
  tg_status (*collect)(tg_comm *comm, bool ask);
  tg_status (*hand_out)(tg_comm *comm);
  /* For schemes in which workers hold weights of their own; any rank. post begins to carry parcels,
   * complete waits until all of them have gone and come: meanwhile their memory is not touched.
   * What two ranks send each other is matched in the order in which it was posted. NULL rows (sim):
   * one process holds all vectors, and nothing has to travel. */
  tg_status (*post)(tg_comm *comm, const tg_parcel *parcels, size_t count);
  tg_status (*complete)(tg_comm *comm);
  /* Words of up to TG_WORD bytes between rank 0 and a worker, at any time and in order. say does
   * not wait, and copies; hear takes the next word that has come, on rank 0 from whoever was first,
   * if there is one. NULL rows (sim): there is nobody else. */
  tg_status (*say)(tg_comm *comm, uint32_t peer, const void *word, size_t bytes);
  tg_status (*hear)(tg_comm *comm, void *word, size_t bytes, bool *got);
  /* Virtual seconds that gradient `step` of a worker takes. NULL: time passes by itself. */
  double (*compute_s)(tg_comm *comm, uint32_t worker, uint64_t step);
} tg_transport;

extern const tg_transport *const tg_transports[];
extern const size_t tg_transport_count;
TG_CHECKED tg_status tg_transport_find(const char *name, const tg_transport **out);

/* tg_sim_times - the virtual clock of a sim, as numbers to be saved with a checkpoint: the time,
 * and when each worker's outstanding gradient will be ready. A view, owned by comm. After restoring
 * through it call tg_sim_restored, before anything is sent: outstanding gradients then keep their
 * times, and the resumed run goes on as if it had never stopped. */
double *tg_sim_times(tg_comm *comm, size_t *count);
void tg_sim_restored(tg_comm *comm);

/* ---- processes ---- what must start and end MPI lives in dist/world_mpi.c */

typedef struct tg_world {
  int rank, size;             /* of MPI_COMM_WORLD; 0, 1 without MPI */
  int local_rank, local_size; /* among ranks of this machine */
  int local_worker;           /* among workers of this machine; 0 on rank 0 */
  bool mpi;                   /* MPI was started */
  char version[128];          /* of the MPI library */
} tg_world;

/* tg_world_start - starts MPI if a launcher (mpirun, srun) started several processes, or `force`.
 * Sets MPI_ERRORS_RETURN. */
TG_CHECKED tg_status tg_world_start(bool force, tg_world *out);
/* tg_world_timeout - waits of the collectives below end after so many seconds (600 at first) and
 * say for whom they waited. */
void tg_world_timeout(double seconds);
/* tg_world_agree - collective: every rank gets the worst (largest) status of all; rank 0 gets the
 * message of the lowest rank that failed so, as tg_status_message(). The way to fail before
 * training starts. TG_EUNAVAILABLE names a rank that did not answer in time. */
tg_status tg_world_agree(tg_status mine);
/* tg_world_broadcast - collective: `bytes` bytes from rank 0 to all. */
TG_CHECKED tg_status tg_world_broadcast(void *data, size_t bytes);
/* tg_world_gather - collective: all [size][bytes]; each rank brings the entry of its rank and gets
 * the others'. */
TG_CHECKED tg_status tg_world_gather(void *all, size_t bytes);
/* tg_world_threaded - whether other threads than the one that started MPI may call it, one at a
 * time.
 */
bool tg_world_threaded(void);
/* tg_world_end - collective: MPI_Finalize, if MPI was started. */
void tg_world_end(void);
/* tg_world_abort - ends the job from one rank, with this exit code. Does not return. */
void tg_world_abort(tg_status code) __attribute__((noreturn));

/* ---- stop requests ---- */

/* tg_stop_catch - SIGTERM, SIGINT and SIGUSR1 set a flag from now on; tg_stop_requested reads it.
 */
void tg_stop_catch(void);
bool tg_stop_requested(void);
void tg_stop_request(void); /* tests */

/* tg_clock_s - seconds of a monotonic clock. tg_nap - sleeps: what a polling loop does when nothing
 * has arrived, so that an idle rank burns no core. */
double tg_clock_s(void);
void tg_nap(double seconds);

#endif
