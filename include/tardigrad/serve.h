/* serve.h - the loop of the asynchronous server: a transport's messages through tg_server. */
#ifndef TARDIGRAD_SERVE_H
#define TARDIGRAD_SERVE_H

#include "tardigrad/server.h"
#include "tardigrad/transport.h"

/* Who watches a run, asynchronous or synchronous: metrics, checkpoints, progress. Functions may be
 * NULL; any other failure is the run's. */
typedef struct tg_observer {
  void *self;
  /* After every handled message, with the state whole, until the run is cut short. *preempt = true
   * asks for that; TG_EDIVERGED does too. */
  tg_status (*handled)(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt);
  /* Once, when a run is cut short, before anything else is taken: `why` is TG_EPREEMPTED or
   * TG_EDIVERGED. The state is whole and the trace is at its place: save now. */
  tg_status (*cut)(void *self, tg_status why);
} tg_observer;

typedef struct tg_serve_options {
  tg_server *server;
  const tg_transport *transport;
  tg_comm *comm;
  uint32_t workers;
  size_t n;
  const tg_observer *observer; /* NULL: nobody */
  double *idle_s; /* receives the seconds in which no message was at hand; NULL = not wanted */
} tg_serve_options;

/* tg_serve - starts every worker, handles messages until every worker has been told to stop, and
 * drains the transport. Push and pull overlap piece by piece. Rank 0 only; not collective.
 * TG_EPREEMPTED when a rank or the observer asked to stop, TG_EDIVERGED after too many gradients
 * that were not finite: the observer has been told to save before the workers are let go. */
TG_CHECKED tg_status tg_serve(const tg_serve_options *options);

#endif
