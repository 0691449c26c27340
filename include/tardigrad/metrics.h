/* metrics.h - what a run writes down: metrics.jsonl (one JSON object a line, written whole with one
 * write), and the same scalars as TensorBoard events. */
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
