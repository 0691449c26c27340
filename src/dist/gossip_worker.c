/* gossip_worker.c - AD-PSGD on a worker rank: one thread does what rank 0 orders, the other
 * computes.
 *
 * All calls of MPI are the first one's while both run. Where MPI wants them from the thread that
 * started it, there is one thread: orders then wait until a gradient is finished. */
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "dist/gossip_private.h"
#include "dist/mix.h"
#include "dist/patience.h"
#include "tardigrad/log.h"

typedef enum { JOB_NONE, JOB_ASKED, JOB_DONE } job_state;

typedef struct agent {
  tg_gossip *y;
  uint32_t me;
  bool threaded;
  /* Between the threads, under the lock: */
  pthread_mutex_t lock;
  pthread_cond_t asked;
  job_state job;
  double done_s; /* JOB_DONE: since when */
  tg_msg question, answer;
  tg_status computed; /* and why not */
  char why[1024];
  bool over;
  /* Of the thread that does orders: */
  bool evaluates; /* when nothing is being computed */
  bool stopped;
  tg_status verdict;
  double said_s, wait_s;    /* when the last answer was; how long it then waited */
  double comm_s, exposed_s; /* of exchanges since then, as in tg_msg */
} agent;

/* ---- computing ---- */

static void compute(agent *a) {
  tg_gossip *y = a->y;
  double began = tg_clock_s();
  bool gradient = a->question.kind == TG_MSG_WEIGHTS;
  a->computed =
      tg_worker_step(y->in.o.compute, &y->in.o.worker, &a->question,
                     gradient ? y->state.has.snapshot[0] : y->state.w, y->state.b, &a->answer);
  if (a->computed != TG_OK) snprintf(a->why, sizeof a->why, "%s", tg_status_message());
  a->answer.compute_s = tg_clock_s() - began;
  a->answer.sent_s = y->in.transport->clock(y->in.comm);
}

/* The other thread's life. */
static void compute_until_over(agent *a) {
  pthread_mutex_lock(&a->lock);
  for (;;) {
    while (a->job != JOB_ASKED && !a->over) pthread_cond_wait(&a->asked, &a->lock);
    if (a->over) break;
    pthread_mutex_unlock(&a->lock);
    compute(a);
    pthread_mutex_lock(&a->lock);
    a->job = JOB_DONE;
    a->done_s = tg_clock_s();
  }
  pthread_mutex_unlock(&a->lock);
}

static job_state job_of(agent *a) {
  pthread_mutex_lock(&a->lock);
  job_state job = a->job;
  pthread_mutex_unlock(&a->lock);
  return job;
}

static void set_job(agent *a, job_state job) {
  pthread_mutex_lock(&a->lock);
  a->job = job;
  pthread_mutex_unlock(&a->lock);
}

/* How much of the time since `began` the other thread did not compute: what it was asked before. */
static double idle_since(agent *a, double began, double now) {
  pthread_mutex_lock(&a->lock);
  double done = a->job == JOB_ASKED ? now : a->job == JOB_DONE ? a->done_s : began;
  pthread_mutex_unlock(&a->lock);
  return a->threaded && done > began ? fmax(now - done, 0) : now - began;
}

static void ask(agent *a, const tg_msg *question) {
  pthread_mutex_lock(&a->lock);
  a->question = *question;
  a->job = JOB_ASKED;
  pthread_cond_signal(&a->asked);
  pthread_mutex_unlock(&a->lock);
}

static void end_computing(agent *a) {
  pthread_mutex_lock(&a->lock);
  a->over = true;
  pthread_cond_signal(&a->asked);
  pthread_mutex_unlock(&a->lock);
}

static void ask_gradient(agent *a, uint64_t step) {
  tg_msg question = {
      .kind = TG_MSG_WEIGHTS, .worker = a->me, .version = a->y->state.taken_at[a->me]};
  question.step = step;
  ask(a, &question);
}

/* What was computed is said to rank 0. */
static tg_status answer(agent *a) {
  tg_msg out = a->answer;
  set_job(a, JOB_NONE);
  if (a->computed != TG_OK) return tg_status_set(a->computed, "%s", a->why);
  out.wait_s = a->wait_s;
  out.comm_s = a->comm_s;
  out.exposed_s = a->exposed_s;
  a->comm_s = a->exposed_s = 0;
  a->said_s = tg_clock_s();
  if (tg_stop_requested()) out.flags |= TG_FLAG_PREEMPT;
  return a->y->in.transport->say(a->y->in.comm, TG_PEER_SERVER, &out, sizeof out);
}

/* ---- orders ---- */

static void again(agent *a, const tg_order *o) {
  tg_gossip_state *t = &a->y->state;
  tg_gossip_snapshot(a->y, 0);
  t->taken_at[a->me] = t->ops[a->me];
  a->wait_s = a->said_s > 0 ? tg_clock_s() - a->said_s : 0;
  if (o->more) ask_gradient(a, o->step);
}

/* Weights both ways. The other thread is asked for nothing new meanwhile. */
static tg_status exchange(agent *a, const tg_parcel *parcel) {
  const tg_in_step *in = &a->y->in;
  double began = tg_clock_s();
  TG_TRY(in->transport->post(in->comm, parcel, 1));
  TG_TRY(in->transport->complete(in->comm));
  double now = tg_clock_s();
  a->comm_s += now - began;
  a->exposed_s += idle_since(a, began, now);
  return TG_OK;
}

static tg_status mix(agent *a, const tg_order *o) {
  tg_gossip *y = a->y;
  tg_holdings *h = &y->state.has;
  uint32_t other = o->worker == a->me ? o->partner : o->worker;
  if (other != a->me) {
    tg_parcel parcel = {.peer = other, .n = h->n, .out = h->x[0], .in = y->inbox};
    TG_TRY(exchange(a, &parcel));
    /* Both do the same: what becomes of the inbox is the other's. */
    if (o->worker == a->me)
      tg_mix_pair(h->n, h->x[0], y->inbox);
    else
      tg_mix_pair(h->n, y->inbox, h->x[0]);
  }
  y->state.ops[a->me]++;
  if (o->worker != a->me) return TG_OK;
  tg_in_step_apply(&y->in, &y->state.has, 0, y->state.has.x[0], o->lr, o->update);
  again(a, o);
  return TG_OK;
}

static tg_status receive_means(agent *a) {
  const tg_gossip_state *t = &a->y->state;
  const tg_sync_options *o = &a->y->in.o;
  tg_parcel parcel[] = {{.peer = TG_PEER_SERVER, .n = o->n, .in = t->w},
                        {.peer = TG_PEER_SERVER, .n = o->k, .in = t->b}};
  a->evaluates = true;
  TG_TRY(a->y->in.transport->post(a->y->in.comm, parcel, 2));
  return a->y->in.transport->complete(a->y->in.comm);
}

static tg_status stop(agent *a, const tg_order *o) {
  const tg_in_step *in = &a->y->in;
  tg_msg heard = {.kind = TG_MSG_STOP, .worker = a->me};
  a->stopped = true;
  a->verdict = (tg_status)o->status;
  return in->transport->say(in->comm, TG_PEER_SERVER, &heard, sizeof heard);
}

static tg_status perform(agent *a, const tg_order *o) {
  tg_gossip *y = a->y;
  switch (o->kind) {
  case TG_GOSSIP_COMPUTE:
    ask_gradient(a, o->step);
    return TG_OK;
  case TG_GOSSIP_AGAIN:
    again(a, o);
    return TG_OK;
  case TG_GOSSIP_MIX:
    return mix(a, o);
  case TG_GOSSIP_SHOW:
  case TG_GOSSIP_SAVE:
    return tg_holdings_gather(&y->state.has, y->in.transport, y->in.comm, false,
                              o->kind == TG_GOSSIP_SAVE);
  case TG_GOSSIP_EVALUATE:
    return receive_means(a);
  case TG_GOSSIP_STOP:
    return stop(a, o);
  default:
    TG_FAIL(TG_ERUNTIME, "worker %u: an order of unknown kind %u", a->me, o->kind);
  }
}

/* One look at everything; *did: there was something. */
static tg_status look(agent *a, bool *did) {
  const tg_in_step *in = &a->y->in;
  tg_order o;
  job_state job = job_of(a);
  if (job == JOB_DONE) TG_TRY(answer(a));
  if (job == JOB_NONE && a->evaluates) {
    a->evaluates = false;
    ask(a, &(tg_msg){.kind = TG_MSG_EVALUATE, .worker = a->me});
  }
  TG_TRY(in->transport->hear(in->comm, &o, sizeof o, did));
  if (*did) return perform(a, &o);
  *did = job == JOB_DONE;
  if (a->threaded || job_of(a) != JOB_ASKED) return TG_OK;
  compute(a);
  set_job(a, JOB_DONE);
  *did = true;
  return TG_OK;
}

static tg_status do_orders(agent *a) {
  double timeout_s = a->y->o.timeout_s;
  tg_patience patience = tg_patience_begin(timeout_s, false);
  while (!a->stopped) {
    bool did = false;
    TG_TRY(look(a, &did));
    if (did) {
      patience = tg_patience_begin(timeout_s, false);
    } else if (!tg_patience_pause(&patience)) {
      /* What is computed here may take as long as it likes. */
      if (job_of(a) == JOB_NONE)
        TG_FAIL(TG_EUNAVAILABLE, "waited %g s for an order of the server (rank 0)", timeout_s);
      patience = tg_patience_begin(timeout_s, false);
    }
  }
  return TG_OK;
}

/* ---- both threads ---- */

typedef struct orders {
  agent *a;
  tg_status status;
  char why[1024];
} orders;

static void *orders_thread(void *self) {
  orders *o = self;
  omp_set_num_threads(1); /* the cores are for computing */
  o->status = do_orders(o->a);
  if (o->status != TG_OK) snprintf(o->why, sizeof o->why, "%s", tg_status_message());
  end_computing(o->a);
  return NULL;
}

static tg_status work_in_two_threads(agent *a) {
  orders o = {.a = a};
  pthread_t thread;
  int failed = pthread_create(&thread, NULL, orders_thread, &o);
  if (failed) TG_FAIL(TG_ERUNTIME, "no thread for exchanges: %s", strerror(failed));
  compute_until_over(a);
  pthread_join(thread, NULL);
  return o.status == TG_OK ? TG_OK : tg_status_set(o.status, "%s", o.why);
}

tg_status tg_gossip_work(tg_gossip *y) {
  agent a = {.y = y, .me = y->in.o.first, .threaded = tg_world_threaded() && !y->o.one_thread};
  pthread_mutex_init(&a.lock, NULL);
  pthread_cond_init(&a.asked, NULL);
  if (!tg_world_threaded())
    tg_warn("MPI allows no second thread: worker %u exchanges weights between its gradients only",
            a.me);
  tg_status status = a.threaded ? work_in_two_threads(&a) : do_orders(&a);
  pthread_cond_destroy(&a.asked);
  pthread_mutex_destroy(&a.lock);
  if (status == TG_OK && a.verdict != TG_OK)
    return tg_status_set(a.verdict, "stopped by the server");
  return status;
}
