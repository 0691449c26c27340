/* metrics.h - what a run writes down: metrics.jsonl (one JSON object a line, written whole with one
 * write), and the same scalars as TensorBoard events.
 *
 * Seconds in lines of kind "worker", sums over the run's gradients that count:
 *   compute_s   a gradient was computed
 *   wait_s      then nothing was: until the next one could be begun
 *   network_s   of wait_s: weights were under way, the server's answer had been heard of (server
 * and workers over MPI) comm_s      a message of the worker's or one to it was under way, waiting
 * for the other end included: from when it was handed to MPI, or heard of, until MPI was known to
 * be done with it. Server and workers: the push, and the weights that come back. ssgd: the sum of
 * gradients; averaging: the mean of weights. d-psgd and ad-psgd: exchanges exposed_s   of comm_s:
 * the worker did not compute meanwhile Overlap is 1 - exposed_s / comm_s, from 0 (all communication
 * is waited for) to 1 (all of it is hidden behind computing). For d-psgd with combine_adapt it is
 * the most that it can be: whether a message came before the gradient was finished is not looked
 * at. comm_s and exposed_s are left out where nothing was measured: in simulations messages take no
 * time, and NCCL's are part of the gradient. Evaluations and checkpoints are not counted. */
#ifndef TARDIGRAD_METRICS_H
#define TARDIGRAD_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "tardigrad/status.h"

typedef struct tg_metrics tg_metrics;

#define TG_METRICS_ALL (UINT64_MAX - 1)
/* tg_metrics_open - <run>/metrics.jsonl, created, or when `keep_bytes` is not UINT64_MAX cut back
 * to that length and appended to (resume); with TG_METRICS_ALL it is not cut, but to be cut by
 * tg_metrics_cut before anything is written. tensorboard: also a new
 * <run>/events.out.tfevents.<seconds>.<host>.<pid>. */
TG_CHECKED tg_status tg_metrics_open(const char *run, uint64_t keep_bytes, bool tensorboard,
                                     tg_metrics **out);
TG_CHECKED tg_status tg_metrics_cut(tg_metrics *metrics, uint64_t keep_bytes);
void tg_metrics_close(tg_metrics *m);
/* Length of metrics.jsonl so far: noted in checkpoints. */
uint64_t tg_metrics_bytes(const tg_metrics *m);

/* A line is begun, filled and ended; numbers that are not finite become null. */
void tg_metrics_begin(tg_metrics *m, const char *kind, double wall_s, uint64_t update,
                      double epoch);
void tg_metrics_text(tg_metrics *m, const char *key, const char *value);
void tg_metrics_real(tg_metrics *m, const char *key, double value);
void tg_metrics_count(tg_metrics *m, const char *key, uint64_t value);
void tg_metrics_counts(tg_metrics *m, const char *key, const uint64_t *values, uint64_t count);
/* tg_metrics_end - writes the line, and one TensorBoard scalar "<kind>/<key>" for each real and
 * count (kind "train" and "eval" only) at step = update. A failed write is reported once as
 * TG_ERUNTIME with the path. */
TG_CHECKED tg_status tg_metrics_end(tg_metrics *m);

/* ---- TensorBoard event files ---- (tf.Event protobuf in TFRecord framing, masked CRC-32C) */
typedef struct tg_events tg_events;
TG_CHECKED tg_status tg_events_open(const char *path, tg_events **out);
TG_CHECKED tg_status tg_events_scalar(tg_events *e, const char *tag, uint64_t step,
                                      double wall_time, float value);
void tg_events_close(tg_events *e);

#endif
