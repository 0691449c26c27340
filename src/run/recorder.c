/* recorder.c - from events to metrics.jsonl, TensorBoard and the progress line. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/log.h"
#include "tardigrad/run.h"

/* Counters live in two flat arrays, so that a checkpoint saves them as they are. */
enum {
  WINDOW_MAX,
  WINDOW_PUSHES,
  WINDOW_SAMPLES,
  WINDOW_LATE,
  NONFINITE,
  LATE,
  LAST_SAMPLES,
  LAST_UPDATE,
  LOCAL_STEPS,
  PATH_CLAMPS,
  COUNT_FIXED
};
enum {
  LOSS_SUM,
  STALENESS_SUM,
  RATIO_SUM,
  WALL_BEFORE,
  WINDOW_WALL,
  SIM_S,
  LR,
  LAST_LOSS,
  LAST_ERROR,
  CONSENSUS,
  REAL_FIXED
};

struct tg_recorder {
  tg_recorder_options options;
  uint64_t *count; /* COUNT_FIXED, histogram [TG_STALENESS_BINS], pushes [workers], those of them
                      that came too late [workers], bytes [workers] */
  double
      *real; /* REAL_FIXED, compute_s [workers], wait_s, network_s, comm_s, exposed_s [workers] */
  size_t counts, reals;
  double started, shown;
  double loss, rate;    /* of the last train line, for the progress line */
  uint64_t path_clamps; /* of this process, when last told */
};

static uint64_t *histogram(tg_recorder *r) {
  return r->count + COUNT_FIXED;
}
static uint64_t *pushes(tg_recorder *r) {
  return histogram(r) + TG_STALENESS_BINS;
}
static uint64_t *bytes(tg_recorder *r) {
  return pushes(r) + 2 * (size_t)r->options.workers;
}
static uint64_t *late(tg_recorder *r) {
  return pushes(r) + r->options.workers;
}
static double *compute_s(tg_recorder *r) {
  return r->real + REAL_FIXED;
}
static double *wait_s(tg_recorder *r) {
  return compute_s(r) + r->options.workers;
}
static double *network_s(tg_recorder *r) {
  return wait_s(r) + r->options.workers;
}
static double *comm_s(tg_recorder *r) {
  return network_s(r) + r->options.workers;
}
static double *exposed_s(tg_recorder *r) {
  return comm_s(r) + r->options.workers;
}

tg_status tg_recorder_create(const tg_recorder_options *options, tg_recorder **out) {
  tg_recorder *r = calloc(1, sizeof *r);
  if (!r) TG_FAIL(TG_ERUNTIME, "no memory for counters");
  r->options = *options;
  r->counts = COUNT_FIXED + TG_STALENESS_BINS + 3 * (size_t)options->workers;
  r->reals = REAL_FIXED + 5 * (size_t)options->workers;
  r->count = calloc(r->counts, sizeof *r->count);
  r->real = calloc(r->reals, sizeof *r->real);
  if (!r->count || !r->real) {
    tg_recorder_destroy(r);
    TG_FAIL(TG_ERUNTIME, "no memory for counters of %u workers", options->workers);
  }
  r->started = tg_clock_s();
  r->loss = NAN;
  *out = r;
  return TG_OK;
}

void tg_recorder_destroy(tg_recorder *r) {
  if (!r) return;
  free(r->count);
  free(r->real);
  free(r);
}

double tg_recorder_wall_s(const tg_recorder *r) {
  return r->real[WALL_BEFORE] + tg_clock_s() - r->started;
}

uint64_t *tg_recorder_counts(tg_recorder *r, size_t *count) {
  *count = r->counts;
  return r->count;
}

double *tg_recorder_reals(tg_recorder *r, size_t *count) {
  double now = tg_clock_s();
  r->real[WALL_BEFORE] += now - r->started;
  r->started = now;
  *count = r->reals;
  return r->real;
}

void tg_recorder_restored(tg_recorder *r) {
  r->started = tg_clock_s();
}

tg_evaluation tg_recorder_last(const tg_recorder *r) {
  return (tg_evaluation){.loss = r->real[LAST_LOSS],
                         .error = r->real[LAST_ERROR],
                         .samples = (uint32_t)r->count[LAST_SAMPLES]};
}

/* Gradients that came too late, and their part of all that came. */
static void say_dropped(tg_recorder *r, uint64_t dropped, uint64_t counted, uint64_t so_far) {
  uint64_t all = dropped + counted;
  tg_metrics_count(r->options.metrics, "dropped", so_far);
  tg_metrics_real(r->options.metrics, "dropped_share", all ? (double)dropped / (double)all : 0);
}

/* How often updates in path space had to be kept in limits. */
static void say_paths(tg_recorder *r) {
  if (!r->options.in_paths) return;
  tg_metrics_count(r->options.metrics, "path_clamps", r->count[PATH_CLAMPS]);
}

static tg_status train_line(tg_recorder *r, uint64_t update, double epoch, double late_s) {
  tg_metrics *m = r->options.metrics;
  double wall = tg_recorder_wall_s(r) - late_s, span = wall - r->real[WINDOW_WALL];
  uint64_t n = r->count[WINDOW_PUSHES];
  r->loss = n ? r->real[LOSS_SUM] / (double)r->count[WINDOW_SAMPLES] : NAN;
  r->rate = span > 0 ? (double)r->count[WINDOW_SAMPLES] / span : NAN;
  tg_metrics_begin(m, "train", wall, update, epoch);
  tg_metrics_real(m, "lr", r->real[LR]);
  tg_metrics_real(m, "loss", r->loss);
  tg_metrics_real(m, "images_per_s", r->rate);
  tg_metrics_real(m, "staleness_mean", n ? r->real[STALENESS_SUM] / (double)n : NAN);
  tg_metrics_count(m, "staleness_max", r->count[WINDOW_MAX]);
  tg_metrics_real(m, "correction_ratio", n ? r->real[RATIO_SUM] / (double)n : NAN);
  tg_metrics_count(m, "nonfinite", r->count[NONFINITE]);
  say_dropped(r, r->count[WINDOW_LATE], n, r->count[LATE]);
  say_paths(r);
  if (r->options.own_weights) {
    tg_metrics_count(m, "local_steps", r->count[LOCAL_STEPS]);
    tg_metrics_real(m, "consensus", r->real[CONSENSUS]);
  }
  if (r->real[SIM_S] > 0) tg_metrics_real(m, "sim_s", r->real[SIM_S]);
  r->count[WINDOW_LATE] = r->count[WINDOW_PUSHES] = r->count[WINDOW_SAMPLES] =
      r->count[WINDOW_MAX] = 0;
  r->real[LOSS_SUM] = r->real[STALENESS_SUM] = r->real[RATIO_SUM] = 0;
  r->real[WINDOW_WALL] = wall;
  return tg_metrics_end(m);
}

static void show_progress(tg_recorder *r, uint64_t update, double epoch) {
  double now = tg_clock_s();
  if (!tg_log_has_progress() || now - r->shown < 0.2) return;
  r->shown = now;
  double wall = tg_recorder_wall_s(r), all = 0, mass = 0;
  for (int i = 0; i < TG_STALENESS_BINS; i++) {
    all += (double)histogram(r)[i];
    mass += (double)histogram(r)[i] * i;
  }
  double left = epoch > 0 ? wall * (r->options.epochs - epoch) / epoch : NAN;
  char error[32] = "-";
  if (r->count[LAST_SAMPLES]) snprintf(error, sizeof error, "%.2f %%", r->real[LAST_ERROR]);
  tg_log_progress("epoch %.2f/%g  %.0f updates/s  %.0f images/s  loss %.4f  error %s  "
                  "staleness %.1f  %.0f s left",
                  epoch, r->options.epochs, (double)update / wall, r->rate, r->loss, error,
                  all > 0 ? mass / all : 0.0, left);
}

void tg_recorder_clamps(tg_recorder *r, uint64_t so_far) {
  if (so_far > r->path_clamps) r->count[PATH_CLAMPS] += so_far - r->path_clamps;
  if (so_far > r->path_clamps) r->path_clamps = so_far;
}

tg_status tg_recorder_push(tg_recorder *r, const tg_record *x) {
  if (!x->applied && !x->late) {
    r->count[NONFINITE] += x->nonfinite;
    return TG_OK;
  }
  pushes(r)[x->worker]++;
  bytes(r)[x->worker] += x->bytes;
  compute_s(r)[x->worker] += x->compute_s;
  wait_s(r)[x->worker] += x->wait_s;
  network_s(r)[x->worker] += x->network_s;
  comm_s(r)[x->worker] += x->comm_s;
  exposed_s(r)[x->worker] += x->exposed_s;
  if (x->late) {
    late(r)[x->worker]++;
    r->count[LATE]++;
    r->count[WINDOW_LATE]++;
    return TG_OK;
  }
  tg_recorder_clamps(r, x->path_clamps);
  uint64_t bin = x->staleness < TG_STALENESS_BINS - 1 ? x->staleness : TG_STALENESS_BINS - 1;
  histogram(r)[bin]++;
  if (r->options.own_weights && x->partner != x->worker) bytes(r)[x->partner] += x->bytes;
  r->count[LOCAL_STEPS] = x->local_steps;
  r->real[CONSENSUS] = x->consensus;
  r->count[WINDOW_PUSHES]++;
  r->count[WINDOW_SAMPLES] += x->samples;
  if (x->staleness > r->count[WINDOW_MAX]) r->count[WINDOW_MAX] = x->staleness;
  r->real[LOSS_SUM] += x->loss_sum;
  r->real[STALENESS_SUM] += (double)x->staleness;
  r->real[RATIO_SUM] += x->correction_ratio;
  r->real[LR] = x->lr;
  /* Workers with clocks of their own are told of in their order: the slowest one's counts. */
  if (x->sim_s > r->real[SIM_S]) r->real[SIM_S] = x->sim_s;
  if (x->whole && x->update % r->options.every == 0)
    TG_TRY(train_line(r, x->update, x->epoch, x->late_s));
  show_progress(r, x->update, x->epoch);
  return TG_OK;
}

tg_status tg_recorder_evaluated(tg_recorder *r, uint64_t update, double epoch, double loss_sum,
                                uint64_t correct, uint64_t samples) {
  tg_metrics *m = r->options.metrics;
  double loss = loss_sum / (double)samples;
  double error = 100.0 * (double)(samples - correct) / (double)samples;
  /* Two workers may evaluate at once; the newest weights count, whoever is first. */
  if (update >= r->count[LAST_UPDATE]) {
    r->count[LAST_SAMPLES] = samples;
    r->count[LAST_UPDATE] = update;
    r->real[LAST_LOSS] = loss;
    r->real[LAST_ERROR] = error;
  }
  tg_metrics_begin(m, "eval", tg_recorder_wall_s(r), update, epoch);
  tg_metrics_text(m, "split", r->options.split);
  tg_metrics_real(m, "loss", loss);
  tg_metrics_real(m, "error", error);
  tg_metrics_count(m, "samples", samples);
  if (r->real[SIM_S] > 0) tg_metrics_real(m, "sim_s", r->real[SIM_S]);
  tg_info("epoch %.2f: update %llu, %s loss %.4f, %s error %.2f %%", epoch,
          (unsigned long long)update, r->options.split, loss, r->options.split, error);
  return tg_metrics_end(m);
}

static tg_status worker_line(tg_recorder *r, uint32_t w, uint64_t update, double epoch) {
  tg_metrics *m = r->options.metrics;
  tg_metrics_begin(m, "worker", tg_recorder_wall_s(r), update, epoch);
  tg_metrics_count(m, "worker", w);
  tg_metrics_count(m, "pushes", pushes(r)[w]);
  tg_metrics_count(m, "dropped", late(r)[w]);
  tg_metrics_real(m, "compute_s", compute_s(r)[w]);
  tg_metrics_real(m, "wait_s", wait_s(r)[w]);
  /* Nobody measures it where gradients are summed, or simulated. */
  if (network_s(r)[w] > 0) tg_metrics_real(m, "network_s", network_s(r)[w]);
  if (comm_s(r)[w] > 0) {
    tg_metrics_real(m, "comm_s", comm_s(r)[w]);
    tg_metrics_real(m, "exposed_s", exposed_s(r)[w]);
  }
  tg_metrics_count(m, "bytes", bytes(r)[w]);
  return tg_metrics_end(m);
}

tg_status tg_recorder_end(tg_recorder *r, uint64_t update, double epoch, const char *weights_hash,
                          double server_busy) {
  tg_metrics *m = r->options.metrics;
  tg_log_progress_end();
  if (r->count[WINDOW_PUSHES]) TG_TRY(train_line(r, update, epoch, 0));
  for (uint32_t w = 0; w < r->options.workers; w++) TG_TRY(worker_line(r, w, update, epoch));
  uint64_t bins = TG_STALENESS_BINS;
  while (bins > 1 && histogram(r)[bins - 1] == 0) bins--;
  tg_metrics_begin(m, "end", tg_recorder_wall_s(r), update, epoch);
  tg_metrics_real(m, "error", r->count[LAST_SAMPLES] ? r->real[LAST_ERROR] : NAN);
  tg_metrics_real(m, "loss", r->count[LAST_SAMPLES] ? r->real[LAST_LOSS] : NAN);
  tg_metrics_text(m, "weights_hash", weights_hash);
  tg_metrics_counts(m, "staleness_histogram", histogram(r), bins);
  tg_metrics_count(m, "nonfinite", r->count[NONFINITE]);
  uint64_t counted = 0;
  for (int i = 0; i < TG_STALENESS_BINS; i++) counted += histogram(r)[i];
  say_dropped(r, r->count[LATE], counted, r->count[LATE]);
  say_paths(r);
  if (server_busy >= 0) tg_metrics_real(m, "server_busy", server_busy);
  if (r->real[SIM_S] > 0) tg_metrics_real(m, "sim_s", r->real[SIM_S]);
  return tg_metrics_end(m);
}
