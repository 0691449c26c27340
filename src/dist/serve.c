/* serve.c - the loop of the asynchronous server. */
#include "tardigrad/serve.h"

#include <stdio.h>

typedef struct serving {
  const tg_serve_options *o;
  const tg_transport *transport;
  tg_comm *comm;
  uint32_t running; /* workers that owe a message */
  bool wanted;      /* somebody asked to stop */
  tg_status cut;    /* why the run is being cut short, or TG_OK */
  char why[1024];
  double idle_s;
} serving;

static tg_status send_all(serving *s, const tg_msg *reply) {
  const tg_server *server = s->o->server;
  uint32_t m = reply->worker;
  TG_TRY(s->transport->send(s->comm, reply));
  if (reply->kind == TG_MSG_STOP) return TG_OK;
  s->running++;
  TG_TRY(s->transport->send_piece(s->comm, m, (tg_span){0, s->o->n}, tg_server_weights(server, m)));
  if (reply->kind != TG_MSG_EVALUATE) return TG_OK;
  return s->transport->send_stats(s->comm, m, tg_server_statistics(server, m));
}

/* Answers to workers that were held, and need wait no longer. */
static tg_status release(serving *s) {
  for (;;) {
    tg_msg reply;
    TG_TRY(tg_server_release(s->o->server, &reply));
    if (!reply.kind) return TG_OK;
    TG_TRY(send_all(s, &reply));
  }
}

static tg_status start(serving *s) {
  for (uint32_t m = 0; m < s->o->workers; m++) {
    tg_msg reply;
    tg_server_start(s->o->server, m, &reply);
    if (reply.kind) TG_TRY(send_all(s, &reply));
  }
  return release(s);
}

/* The state is whole now, and is saved as it is; what still arrives changes nothing. */
static tg_status cut_short(serving *s, tg_status why) {
  const tg_observer *observer = s->o->observer;
  s->cut = why;
  tg_server_preempt(s->o->server);
  if (observer && observer->cut) TG_TRY(observer->cut(observer->self, why));
  return release(s);
}

/* Push and pull of one message, piece by piece. */
static tg_status exchange(serving *s, const tg_msg *in, const tg_server_event *event,
                          const float **stats) {
  tg_server *server = s->o->server;
  const float *bak = tg_server_weights(server, in->worker);
  tg_span span = {0, s->o->n};
  float *g = NULL;
  if (in->kind != TG_MSG_PUSH || in->flags & TG_FLAG_NONFINITE) {
    if (!event->serves) return TG_OK;
    TG_TRY(tg_server_apply(server, span, NULL));
    return s->transport->send_piece(s->comm, in->worker, span, bak);
  }
  do {
    TG_TRY(s->transport->recv_piece(s->comm, &span, &g));
    if (event->counts || event->serves) TG_TRY(tg_server_apply(server, span, g));
    if (event->serves && !tg_server_waits(server))
      TG_TRY(s->transport->send_piece(s->comm, in->worker, span, bak + span.lo));
  } while (span.hi < s->o->n);
  if (event->serves && tg_server_waits(server))
    TG_TRY(s->transport->send_piece(s->comm, in->worker, (tg_span){0, s->o->n}, bak));
  return s->transport->recv_stats(s->comm, stats);
}

/* The run has diverged at this message: its worker is let go like all the others. */
static tg_status diverge(serving *s, const tg_msg *in) {
  tg_msg reply;
  snprintf(s->why, sizeof s->why, "%s", tg_status_message());
  TG_TRY(cut_short(s, TG_EDIVERGED));
  tg_server_start(s->o->server, in->worker, &reply);
  s->running--;
  return s->transport->send(s->comm, &reply);
}

static tg_status tell(serving *s, const tg_msg *in, const tg_server_event *event) {
  const tg_observer *observer = s->o->observer;
  if (s->cut || !observer || !observer->handled) return TG_OK;
  tg_status status = observer->handled(observer->self, in, event, &s->wanted);
  if (status != TG_EDIVERGED) return status;
  snprintf(s->why, sizeof s->why, "%s", tg_status_message());
  return cut_short(s, TG_EDIVERGED);
}

static tg_status handle(serving *s, const tg_msg *in) {
  tg_server *server = s->o->server;
  uint32_t m = in->worker;
  const float *stats = NULL;
  tg_msg reply;
  tg_server_event event;
  tg_status status = tg_server_begin(server, in, &reply, &event);
  if (status == TG_EDIVERGED) return diverge(s, in);
  TG_TRY(status);
  s->running -= reply.kind == TG_MSG_STOP || event.held;
  if (!event.held) TG_TRY(s->transport->send(s->comm, &reply));
  TG_TRY(exchange(s, in, &event, &stats));
  TG_TRY(tg_server_end(server, event.counts ? stats : NULL, &event));
  if (reply.kind == TG_MSG_EVALUATE)
    TG_TRY(s->transport->send_stats(s->comm, m, tg_server_statistics(server, m)));
  TG_TRY(release(s));
  return tell(s, in, &event);
}

static tg_status take(serving *s) {
  tg_msg in;
  double began = tg_clock_s();
  TG_TRY(s->transport->recv(s->comm, &in));
  s->idle_s += tg_clock_s() - began;
  /* The trace has this message already: it is handled first, then the run is cut. */
  if (in.flags & TG_FLAG_PREEMPT) s->wanted = true;
  in.flags &= ~(uint32_t)TG_FLAG_PREEMPT;
  return handle(s, &in);
}

static tg_status loop(serving *s) {
  TG_TRY(start(s));
  while (s->running > 0) {
    if (!s->cut && (s->wanted || tg_stop_requested())) {
      snprintf(s->why, sizeof s->why, "stopped on request after update %llu",
               (unsigned long long)tg_server_state_of(s->o->server).update);
      TG_TRY(cut_short(s, TG_EPREEMPTED));
    }
    /* Where recv runs the workers, nobody waits to be let go. */
    if (s->cut && !s->transport->work) break;
    TG_TRY(take(s));
  }
  for (uint32_t m = 0; !s->cut && m < s->o->workers; m++)
    if (tg_server_state_of(s->o->server).pending[m] == TG_SERVER_HELD)
      TG_FAIL(TG_ERUNTIME, "server: worker %u waits for others, and no other works", m);
  return s->transport->drain(s->comm);
}

tg_status tg_serve(const tg_serve_options *o) {
  serving s = {.o = o, .transport = o->transport, .comm = o->comm};
  tg_status status = loop(&s);
  if (o->idle_s) *o->idle_s = s.idle_s;
  if (status == TG_OK && s.cut) return tg_status_set(s.cut, "%s", s.why);
  return status;
}
