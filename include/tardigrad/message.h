/* message.h - what server and workers say to each other. The same bytes on every transport. */
#ifndef TARDIGRAD_MESSAGE_H
#define TARDIGRAD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  /* to the server */
  TG_MSG_PUSH = 1,  /* a gradient follows (g, then batch statistics), unless TG_FLAG_NONFINITE */
  TG_MSG_EVALUATED, /* the result of TG_MSG_EVALUATE: loss_sum, correct, samples */
  /* to a worker */
  TG_MSG_WEIGHTS = 16, /* weights follow: compute the gradient of step `step` at them */
  TG_MSG_EVALUATE,     /* weights and running statistics follow: evaluate the test split */
  TG_MSG_STOP,         /* nothing follows: the run is over (TG_FLAG_PREEMPT: to be resumed) */
  TG_MSG_STATE = 32 /* no answer to a push: what the worker's codec keeps is to be sent, as it was
                       before the last request was answered; or, with samples = 2, as it is now;
                          with samples = 1 it follows instead */
} tg_msg_kind;

enum {
  TG_FLAG_NONFINITE = 1, /* loss or gradient not finite: no body follows */
  TG_FLAG_PREEMPT = 2    /* this rank was asked to stop */
};

/* A header. Plain data of fixed size, sent as bytes between equal machines. */
typedef struct tg_msg {
  uint32_t kind; /* tg_msg_kind */
  uint32_t flags;
  uint32_t worker;      /* 0-based: from or to whom */
  uint32_t samples;     /* samples in the gradient(s), or evaluated */
  uint64_t version;     /* updates applied when the weights were served */
  uint64_t step;        /* the worker's gradient counter: which batch */
  uint64_t correct;     /* samples classified right */
  double loss_sum;      /* sum over samples */
  double gradient_norm; /* of the raw gradient, before clipping; of several: root mean square */
  double compute_s;     /* seconds the worker computed for this message */
  double wait_s;        /* seconds it had waited for the weights before */
  double network_s;     /* of that, since the server's answer was heard of: weights under way */
  double comm_s;        /* seconds a message of this worker, or to it, was under way: both ways */
  double exposed_s;     /* of these: those in which the worker did not compute */
  double sent_s;        /* transport clock when the message was ready (sim: virtual time) */
  double lr;            /* TG_MSG_WEIGHTS: of the steps that a worker makes by itself */
  uint64_t bytes;       /* of the encoded gradient that follows; 0: it is floats */
} tg_msg;

#endif
