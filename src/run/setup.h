/* setup.h - from a configuration to the options of the floors below: one place, so that training
 * and replay cannot differ. */
#ifndef TARDIGRAD_RUN_SETUP_H
#define TARDIGRAD_RUN_SETUP_H

#include "tardigrad/gossip.h"
#include "tardigrad/local.h"
#include "tardigrad/net.h"
#include "tardigrad/sync.h"
#include "tardigrad/transport.h"

typedef struct tg_setup {
  const tg_config *config;
  const tg_rule *rule;
  tg_optimizer optimizer;
  const tg_transport *transport;
  int processes; /* of the job */
  uint32_t workers;
  uint32_t batch;     /* samples per worker and gradient */
  uint32_t exchange;  /* samples per push: of all gradients that a worker computes for it */
  uint32_t gradients; /* whose mean makes one update */
  tg_outline *outline;
  float *w0, *b0;    /* initial weights and statistics, between tg_setup_weights and _forget */
  uint32_t *records; /* sim.order=trace */
  size_t record_count;
  const tg_codec *codec;
  tg_coder *coder; /* after tg_setup_coder; NULL for codec none */
} tg_setup;

/* tg_setup_keys - what an optimiser reads; lengths of schedules as configured, 0 for the run's. */
tg_optimizer_keys tg_setup_keys(const tg_config *config, const tg_optimizer *optimizer);
/* tg_setup_create - looks names up, counts workers, builds the model's outline. ranks: processes of
 * the job. TG_ECONFIG says what does not fit together. */
TG_CHECKED tg_status tg_setup_create(const tg_config *config, int ranks, tg_setup *out);
void tg_setup_destroy(tg_setup *setup);
/* tg_setup_weights - w0 and b0, where a loop is about to copy them; tg_setup_forget frees them. */
TG_CHECKED tg_status tg_setup_weights(tg_setup *setup);
void tg_setup_forget(tg_setup *setup);

/* tg_setup_coder - s->coder, which the options below then hold, with the state of workers
 * [first,first+count). */
TG_CHECKED tg_status tg_setup_coder(tg_setup *s, uint32_t first, uint32_t count);
/* tg_setup_codec - the codec that a configuration means with this rule. tg_setup_codec_options -
 * what it says of codecs, for n parameters. */
TG_CHECKED tg_status tg_setup_codec(const tg_config *c, const tg_rule *rule, const tg_codec **out);
tg_codec_options tg_setup_codec_options(const tg_config *c, size_t n, double epochs_per_step);

tg_server_options tg_setup_server(const tg_setup *s);
tg_sync_options tg_setup_sync(const tg_setup *s);
tg_local_options tg_setup_local(const tg_setup *s);
tg_gossip_options tg_setup_gossip(const tg_setup *s, tg_trace *trace);
tg_worker_options tg_setup_worker(const tg_setup *s);
/* tg_setup_shares_device - whether updates are made where this one process computes. */
bool tg_setup_shares_device(const tg_setup *s);
/* tg_setup_opens_device - whether a device is opened for updates alone. tg_setup_check_server -
 * that there is a server to have it. tg_setup_check_updates - that updates can be made in a
 * device's memory, or the host's. TG_ECONFIG. */
bool tg_setup_opens_device(const tg_setup *s);
TG_CHECKED tg_status tg_setup_check_server(const tg_setup *s);
TG_CHECKED tg_status tg_setup_check_updates(const tg_setup *s, bool on_device);
tg_comm_options tg_setup_comm(const tg_setup *s, tg_trace *trace, tg_compute *compute);
tg_net_options tg_setup_net(const tg_setup *s);

#endif
