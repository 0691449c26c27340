/* forecast.h - what a run will take: memory, bytes on the wire, and the least time that a gradient
 * and an update can take on this machine. */
#ifndef TARDIGRAD_FORECAST_H
#define TARDIGRAD_FORECAST_H

#include "tardigrad/config.h"
#include "tardigrad/transport.h"

typedef struct tg_forecast {
  uint64_t parameters, statistics;
  uint32_t workers;
  /* Resident bytes at the peak, per rank. */
  uint64_t base;   /* the program and its libraries, measured now in this process */
  uint64_t server; /* rank 0, which computes no gradients: the server, or a replica of the weights;
                      0 where there is one process */
  uint64_t worker;
  uint64_t activations;            /* of them: one block, planned from lifetimes */
  uint64_t unplanned;              /* what the activations would take without planning */
  uint64_t push_bytes, pull_bytes; /* per gradient: what its worker sends and receives */
  double compression;              /* of a gradient by sync.codec: bytes as floats / bytes sent */
  double flops; /* multiply and add count two; forward and backward of one gradient */
  /* Measured now. */
  double copy_bandwidth; /* bytes/s read plus written, all threads of a rank */
  double product_rate;   /* FLOP/s of a matrix product in the configured precision */
  /* Floors, seconds. */
  double compute_s, update_s, transfer_s;
  double server_load; /* workers * (update + transfer) / compute: above 1 the server limits */
} tg_forecast;

/* tg_forecast_make - no training: builds and plans the network, measures bandwidth and the rate of
 * a product for a moment. Refuses (TG_ECONFIG) what tg_train would, in the same words. workers: of
 * mpi runs (sim.workers where the transport is sim). */
TG_CHECKED tg_status tg_forecast_make(const tg_config *config, uint32_t workers, tg_forecast *out);

/* tg_resident_bytes - resident bytes of this process: now, or at its peak. 0 if unknown. */
uint64_t tg_resident_bytes(bool peak);

#endif
