/* comm_mpi.h - what the parts of the mpi transport share. Include <mpi.h> before it: only files
 * named *_mpi.c do, so this header cannot. */
#ifndef DIST_COMM_MPI_H
#define DIST_COMM_MPI_H

#include "dist/patience.h"
#include "dist/shared_memory.h"
#include "tardigrad/transport.h"

/* Messages between two ranks are matched by these, in the order in which they were sent. */
enum {
  TG_TAG_HEADER = 1,
  TG_TAG_SHARED, /* where shared memory is, and whether it could be opened */
  TG_TAG_GRADIENT,
  TG_TAG_BATCH_STATS,
  TG_TAG_WEIGHTS,
  TG_TAG_STATS,
  TG_TAG_PART,   /* all-reduce: a worker's part of somebody's shard */
  TG_TAG_SUM,    /* the sum of a piece of a shard */
  TG_TAG_SCALAR, /* scalars to rank 0, and their sums back */
  TG_TAG_PARCEL, /* vectors between any two ranks */
  TG_TAG_WORD,   /* words between rank 0 and a worker */
  TG_TAG_REPORT, /* agreement and broadcast */
  TG_TAG_VERDICT,
  TG_TAG_BROADCAST,
  TG_TAG_CODED, /* encoded gradients of the synchronous scheme, and votes */
};

typedef struct tg_mpi_server tg_mpi_server;
typedef struct tg_mpi_worker tg_mpi_worker;
typedef struct tg_mpi_reduce tg_mpi_reduce;
typedef struct tg_mpi_coded tg_mpi_coded;
typedef struct tg_mpi_parcels tg_mpi_parcels;
typedef struct tg_mpi_words tg_mpi_words;

/* Memory that the server shares with one worker of its machine. */
typedef struct tg_mpi_share {
  tg_shared memory;
  tg_shared_key key;
  bool used; /* both see it: bodies are not sent */
} tg_mpi_share;

struct tg_comm {
  tg_comm_options o;
  MPI_Comm comm;
  int rank;
  double began;
  size_t pieces;       /* of a body of n floats */
  tg_mpi_share *share; /* rank 0: [workers]; a worker: [1]; NULL without sharing */
  uint32_t share_count;
  /* Each is made when it is first needed: */
  tg_mpi_server *server;   /* by rank 0's first answer */
  tg_mpi_worker *worker;   /* by work() */
  tg_mpi_reduce *reduce;   /* by the first all-reduce */
  tg_mpi_coded *coded;     /* by the first encoded gradient */
  tg_mpi_parcels *parcels; /* by the first parcel */
  tg_mpi_words *words;     /* by the first word said */
};

/* tg_mpi_comm - a communicator of our own over all ranks, with MPI_ERRORS_RETURN. */
MPI_Comm tg_mpi_comm(void);

/* TG_MPI(call) - passes an error of MPI up to the caller. */
#define TG_MPI(call) TG_TRY(tg_mpi_check((call), #call))
TG_CHECKED tg_status tg_mpi_check(int code, const char *call);

/* ---- waiting ---- a loop that tests, and pauses where nothing has come */

typedef struct tg_wait {
  double timeout_s;
  const char *what; /* "a gradient from": for the message when it does not come */
  int rank;
  bool soon; /* it is on its way, not still being computed */
} tg_wait;

/* tg_mpi_advance - completes requests[*done..count) in order, as far as they go, and moves *done.
 */
TG_CHECKED tg_status tg_mpi_advance(MPI_Request *requests, size_t count, size_t *done);
/* tg_mpi_finish - waits for all of them. */
TG_CHECKED tg_status tg_mpi_finish(const tg_wait *wait, MPI_Request *requests, size_t count,
                                   size_t *done);
/* tg_mpi_late - the failure of a wait. */
tg_status tg_mpi_late(const tg_wait *wait);

/* tg_piece_span - piece i of a body of n floats. */
tg_span tg_piece_span(const tg_comm *c, size_t i);

/* tg_mpi_neighbour - whether a rank runs on this machine. */
TG_CHECKED tg_status tg_mpi_neighbour(int rank, bool *out);

/* ---- shared memory ---- on rank 0 m is a worker; a worker's own is 0 */

/* tg_mpi_share_make - rank 0 makes it; tg_mpi_share_offer and tg_mpi_share_accept, before the first
 * message, find out who can see it. */
TG_CHECKED tg_status tg_mpi_share_make(tg_comm *c);
TG_CHECKED tg_status tg_mpi_share_offer(tg_comm *c);
TG_CHECKED tg_status tg_mpi_share_accept(tg_comm *c);
void tg_mpi_share_close(tg_comm *c);
/* tg_mpi_share_weights - where w_bak(m) is to live, used by both or not; NULL: anywhere.
 * tg_mpi_share_gradient - the gradient that both see; NULL where messages carry it. */
float *tg_mpi_share_weights(tg_comm *c, uint32_t m);
float *tg_mpi_share_gradient(tg_comm *c, uint32_t m);

/* ---- the parts ---- */

void tg_mpi_server_close(tg_comm *c);
tg_status tg_mpi_recv(tg_comm *c, tg_msg *out);
tg_status tg_mpi_recv_piece(tg_comm *c, tg_span *span, float **g);
tg_status tg_mpi_recv_stats(tg_comm *c, const float **s);
tg_status tg_mpi_send(tg_comm *c, const tg_msg *reply);
tg_status tg_mpi_send_piece(tg_comm *c, uint32_t worker, tg_span span, const float *w);
tg_status tg_mpi_send_stats(tg_comm *c, uint32_t worker, const float *b);
tg_status tg_mpi_drain(tg_comm *c);

void tg_mpi_worker_close(tg_comm *c);
tg_status tg_mpi_work(tg_comm *c, uint32_t *stop_flags);

void tg_mpi_reduce_close(tg_comm *c);
tg_status tg_mpi_allreduce(tg_comm *c, float *x, size_t n, double *scalars, size_t scalar_count);

/* ---- encoded gradients ---- */

void tg_mpi_coded_close(tg_comm *c);
/* tg_mpi_coded_post - the server begins to receive worker m's encoded gradient of so many bytes.
 * tg_mpi_coded_piece - after it: coordinates [span.lo,span.hi) of it into g. */
TG_CHECKED tg_status tg_mpi_coded_post(tg_comm *c, uint32_t m, uint64_t bytes);
TG_CHECKED tg_status tg_mpi_coded_piece(tg_comm *c, uint32_t m, tg_span span, float *g);
tg_status tg_mpi_gather(tg_comm *c, unsigned char *const *message, uint64_t *bytes, size_t room,
                        bool everybody);
tg_status tg_mpi_spread(tg_comm *c, unsigned char *message, uint64_t *bytes, size_t room);

/* ---- states of codecs ---- */

tg_status tg_mpi_collect(tg_comm *c, bool ask);
tg_status tg_mpi_hand_out(tg_comm *c);
/* tg_mpi_state_give - the server's first message to a worker of a resumed run.
 * tg_mpi_state_take - before a worker is told that the run is over: a longer run goes on from it.
 * tg_mpi_state_answer - the worker's answer to TG_MSG_STATE; pushed: the last message that it sent
 * was a gradient, and not an evaluation, which changes no state. */
TG_CHECKED tg_status tg_mpi_state_give(tg_comm *c, uint32_t m);
TG_CHECKED tg_status tg_mpi_state_take(tg_comm *c, uint32_t m);
TG_CHECKED tg_status tg_mpi_state_answer(tg_comm *c, const tg_msg *in, bool pushed);
/* tg_mpi_server_expects - whether worker m has been sent something, and not that it is to stop. */
bool tg_mpi_server_expects(const tg_comm *c, uint32_t m);
/* tg_mpi_server_holds - whether worker m's last message was taken and it has had no answer since.
 */
bool tg_mpi_server_holds(const tg_comm *c, uint32_t m);

void tg_mpi_parcels_close(tg_comm *c);
tg_status tg_mpi_post(tg_comm *c, const tg_parcel *parcels, size_t count);
tg_status tg_mpi_complete(tg_comm *c);

void tg_mpi_words_close(tg_comm *c);
tg_status tg_mpi_say(tg_comm *c, uint32_t peer, const void *word, size_t bytes);
tg_status tg_mpi_hear(tg_comm *c, void *word, size_t bytes, bool *got);

#endif
