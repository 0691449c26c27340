/* local.c - the loop of workers with weights of their own. */
#include <math.h>
#include <string.h>

#include "dist/local_private.h"
#include "dist/mix.h"

enum { MOST_IN_A_ROW = 16 };       /* gradients that are not finite, of one worker */
static const double STRETCH_S = 1; /* seconds between two exchanges of what there is to tell */

static bool averages(const tg_local *y) {
  return y->o.mixing == TG_MIX_AVERAGE;
}

static double clock_s(const tg_local *y) {
  return y->in.transport ? y->in.transport->clock(y->in.comm) : tg_clock_s();
}

/* ---- rounds ---- */

uint64_t tg_local_round(const tg_local *y, uint64_t update) {
  const tg_in_step *in = &y->in;
  uint64_t left = in->total - update, h = y->o.local_steps;
  double epoch = tg_in_step_epoch(in, update * tg_in_step_samples(in));
  if (!averages(y) || epoch < y->o.local_after) return 1;
  if (y->o.local_growth > 0) {
    double ramp = in->o.schedule.warmup_epochs, after = epoch < ramp ? ramp : epoch;
    double part = y->o.local_growth / tg_schedule_lr(&in->o.schedule, after, after);
    double wanted = floor(part * part);
    /* A learning rate of 0 asks for infinitely many; not a number cannot come out. */
    if (wanted >= (double)left)
      h = left;
    else if (wanted > (double)h)
      h = (uint64_t)wanted;
  }
  return h < left ? h : left;
}

static void begin_round(tg_local *y) {
  y->state.round_steps = tg_local_round(y, y->in.update);
  y->state.round_end = y->in.update + y->state.round_steps;
}

/* ---- one gradient ---- */

/* A gradient of held worker i at its weights, to be applied; those that are not finite are passed
 * over, until there have been too many of them, for the run or in one update: that is then made
 * without this worker, for ranks hear of each other, and of requests to stop, after updates only.
 */
static tg_status compute(tg_local *y, uint32_t i, bool *out) {
  uint32_t worker = y->state.has.first + i;
  double *mine = tg_local_row(y, y->done, worker), began = tg_clock_s();
  tg_msg in = {.kind = TG_MSG_WEIGHTS, .worker = worker, .version = y->in.update}, msg;
  double most = fmin((double)y->in.o.max_nonfinite, MOST_IN_A_ROW - 1);
  for (*out = false; !*out && mine[ROW_BAD] <= most;) {
    in.step = y->state.step[worker]++;
    TG_TRY(tg_worker_step(y->in.o.compute, &y->in.o.worker, &in, y->state.has.x[i], NULL, &msg));
    *out = !(msg.flags & TG_FLAG_NONFINITE);
    if (!*out) mine[ROW_BAD]++;
    if (tg_local_simulated(y)) {
      double took = y->in.transport->compute_s(y->in.comm, worker, in.step);
      y->state.clock[worker] += took;
      mine[ROW_COMPUTE_S] += took;
    }
  }
  if (!tg_local_simulated(y)) mine[ROW_COMPUTE_S] = tg_clock_s() - began;
  mine[ROW_MADE] = *out;
  if (!*out) return TG_OK;
  mine[ROW_LOSS] = msg.loss_sum;
  mine[ROW_CORRECT] = (double)msg.correct;
  mine[ROW_NORM] = msg.gradient_norm;
  return TG_OK;
}

/* Worker i's optimiser, on its weights w; its running statistics. */
static void apply(tg_local *y, uint32_t i, float *w) {
  uint64_t update = y->in.update;
  tg_in_step_apply(&y->in, &y->state.has, i, w, tg_in_step_lr(&y->in, update), update);
}

/* ---- neighbours ---- */

static tg_status update_with_neighbours(tg_local *y) {
  bool combines_first = y->o.mixing == TG_MIX_COMBINE_ADAPT, finite;
  memcpy(y->clock_before, y->state.clock, y->in.o.workers * sizeof *y->clock_before);
  if (combines_first) TG_TRY(tg_local_post(y)); /* travel while gradients are computed */
  for (uint32_t i = 0; i < y->in.o.count; i++) {
    TG_TRY(compute(y, i, &finite));
    if (combines_first) TG_TRY(tg_local_collect(y));
    if (combines_first) tg_local_mix(y, i);
    if (finite) apply(y, i, combines_first ? y->mixed[i] : y->state.has.x[i]);
  }
  if (!combines_first) {
    TG_TRY(tg_local_post(y));
    TG_TRY(tg_local_collect(y));
    for (uint32_t i = 0; i < y->in.o.count; i++) tg_local_mix(y, i);
  }
  for (uint32_t i = 0; i < y->in.o.count; i++) {
    float *x = y->state.has.x[i];
    y->state.has.x[i] = y->mixed[i];
    y->mixed[i] = x;
  }
  tg_local_wait(y);
  return TG_OK;
}

/* ---- the mean of all ---- */

/* The end of a round: everybody goes on from the mean. */
static tg_status average(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  double began = tg_clock_s(), slowest = 0, distance = 0;
  TG_TRY(tg_local_mean(y));
  for (uint32_t i = 0; i < o->count; i++)
    distance += tg_mix_adopt(o->n, y->state.has.x[i], y->state.w);
  y->scalars[SUM_DISTANCE] = distance;
  y->measured = true;
  for (uint32_t m = 0; m < o->workers; m++) slowest = fmax(slowest, y->state.clock[m]);
  for (uint32_t i = 0; i < o->count; i++) {
    uint32_t m = y->state.has.first + i;
    double *mine = tg_local_row(y, y->done, m);
    double took = tg_local_simulated(y) ? slowest - y->state.clock[m] : tg_clock_s() - began;
    mine[ROW_WAIT_S] += took;
    if (tg_local_simulated(y)) y->state.clock[m] = slowest;
    if (tg_in_step_shared(&y->in)) mine[ROW_COMM_S] = mine[ROW_EXPOSED_S] = took;
  }
  return TG_OK;
}

/* ---- updates ---- */

static tg_status update_alone(tg_local *y) {
  bool finite;
  for (uint32_t i = 0; i < y->in.o.count; i++) {
    TG_TRY(compute(y, i, &finite));
    if (finite) apply(y, i, y->state.has.x[i]);
  }
  return TG_OK;
}

static tg_status update(tg_local *y) {
  if (y->in.update == y->state.round_end) begin_round(y);
  y->steps[y->done] = y->state.round_steps;
  TG_TRY(averages(y) ? update_alone(y) : update_with_neighbours(y));
  y->in.update++;
  y->in.samples += tg_in_step_samples(&y->in);
  y->ends[y->done] = y->in.update == y->state.round_end;
  if (averages(y) && y->ends[y->done]) TG_TRY(average(y));
  for (uint32_t i = 0; i < y->in.o.count && tg_local_simulated(y); i++)
    tg_local_row(y, y->done, y->state.has.first + i)[ROW_SENT_S] =
        y->state.clock[y->state.has.first + i];
  y->done++;
  return TG_OK;
}

/* Whether something is due after so many updates. */
static bool is_boundary(const tg_local *y, uint64_t now) {
  return now == y->in.total || tg_in_step_crosses(&y->in, y->in.o.eval_every, now) ||
         tg_in_step_crosses(&y->in, y->in.o.checkpoint_every, now);
}

/* ---- what is told ---- */

/* What a worker sent and got in update `at` of the stretch: its weights to every neighbour and
 * theirs, or its part of a mean and the mean. */
static uint64_t bytes_of(const tg_local *y, uint64_t at) {
  uint64_t both = 2 * (uint64_t)y->in.o.n * sizeof(float);
  return averages(y) ? both * y->ends[at] : both * y->neighbours;
}

static tg_status tell_skipped(tg_local *y, tg_msg in, tg_server_event event, uint64_t count) {
  in.flags = TG_FLAG_NONFINITE;
  event.counts = event.applied = false;
  event.nonfinite = true;
  event.checkpoint_due = false;
  event.bytes = 0;
  for (uint64_t i = 0; i < count; i++) TG_TRY(tg_in_step_tell(&y->in, &in, &event));
  return TG_OK;
}

/* What every worker did in update `at` of the stretch. */
static tg_status tell_update(tg_local *y, uint64_t at, tg_server_event event, bool checkpoint) {
  /* Nobody told when: evenly within the stretch. */
  double passed = y->ended_s - y->began_s;
  double now = y->ended_s - passed * (double)(y->done - 1 - at) / (double)y->done;
  for (uint32_t m = 0; m < y->in.o.workers; m++) {
    const double *of = tg_local_row(y, at, m);
    tg_msg in = {.kind = TG_MSG_PUSH,
                 .worker = m,
                 .samples = y->in.o.batch,
                 .version = event.update - 1,
                 .step = event.update - 1,
                 .correct = (uint64_t)of[ROW_CORRECT],
                 .loss_sum = of[ROW_LOSS],
                 .gradient_norm = of[ROW_NORM],
                 .compute_s = of[ROW_COMPUTE_S],
                 .wait_s = of[ROW_WAIT_S],
                 .comm_s = of[ROW_COMM_S],
                 .exposed_s = of[ROW_EXPOSED_S],
                 .sent_s = tg_local_simulated(y) ? of[ROW_SENT_S] : now};
    TG_TRY(tell_skipped(y, in, event, (uint64_t)of[ROW_BAD]));
    event.counts = event.applied = of[ROW_MADE] > 0;
    event.checkpoint_due = checkpoint && m + 1 == y->in.o.workers;
    TG_TRY(tg_in_step_tell(&y->in, &in, &event));
  }
  return TG_OK;
}

static tg_status tell_stretch(tg_local *y, bool checkpoint) {
  uint64_t first = y->in.update - y->done;
  for (uint64_t at = 0; at < y->done; at++) {
    uint64_t update = first + at + 1;
    tg_server_event event = {.update = update,
                             .epoch = tg_in_step_epoch(&y->in, update * tg_in_step_samples(&y->in)),
                             .lr = tg_in_step_lr(&y->in, update - 1),
                             .consensus = y->distance,
                             .local_steps = y->steps[at],
                             .bytes = bytes_of(y, at)};
    TG_TRY(tell_update(y, at, event, checkpoint && at + 1 == y->done));
  }
  return TG_OK;
}

static double now_s(const tg_local *y) {
  double now = 0;
  if (!tg_local_simulated(y)) return clock_s(y);
  for (uint32_t m = 0; m < y->in.o.workers; m++) now = fmax(now, y->state.clock[m]);
  return now;
}

/* ---- the model as a whole ---- */

/* The means, how far from them the workers are, and on rank 0, to be saved, everything else. */
static tg_status publish(tg_local *y, bool save) {
  double square = 0;
  if (y->mean_of != y->in.update) {
    TG_TRY(tg_local_mean(y));
    for (uint32_t i = 0; i < y->in.o.count; i++)
      square += tg_mix_distance(y->in.o.n, y->state.has.x[i], y->state.w);
    TG_TRY(tg_in_step_reduce(&y->in, NULL, 0, &square, 1));
    y->distance = sqrt(square / y->in.o.workers);
  }
  TG_TRY(tg_local_mean_statistics(y));
  return save ? tg_local_gather(y) : TG_OK;
}

static tg_status evaluate(tg_local *y, bool last) {
  tg_server_event event = {0};
  tg_msg out;
  TG_TRY(publish(y, false));
  TG_TRY(tg_in_step_evaluate(&y->in, y->state.w, y->state.b, y->in.update, last, &out, &event));
  out.sent_s = now_s(y);
  event.consensus = y->distance;
  event.local_steps = y->state.round_steps;
  if (event.checkpoint_due) TG_TRY(tg_local_gather(y));
  TG_TRY(tg_in_step_tell(&y->in, &out, &event));
  y->ended_s = clock_s(y);
  return TG_OK;
}

static tg_status cut_short(tg_local *y, tg_status why) {
  TG_TRY(publish(y, true));
  return tg_in_step_cut(&y->in, why);
}

/* ---- stretches ---- updates after which ranks tell each other how they fared */

static uint64_t bad_gradients(tg_local *y) {
  uint64_t bad = 0;
  for (uint64_t at = 0; at < y->done; at++)
    for (uint32_t m = 0; m < y->in.o.workers; m++) {
      const double *of = tg_local_row(y, at, m);
      bad += (uint64_t)of[ROW_BAD];
      if (!tg_in_step_computes(&y->in, m))
        y->state.step[m] += (uint64_t)(of[ROW_BAD] + of[ROW_MADE]);
    }
  return bad;
}

/* As many updates as take the slowest a second: every rank finds the same number. */
static uint64_t next_stretch(tg_local *y) {
  double slowest = 1e-9;
  if (!tg_in_step_shared(&y->in)) return 1;
  for (uint32_t m = 0; m < y->in.o.workers; m++) {
    double took = 0;
    for (uint64_t at = 0; at < y->done; at++)
      took += tg_local_row(y, at, m)[ROW_COMPUTE_S] + tg_local_row(y, at, m)[ROW_WAIT_S];
    slowest = fmax(slowest, took);
  }
  double fit = STRETCH_S / slowest * (double)y->done;
  /* Everybody sends rows of all. */
  double most = fmax(1, fmin(MOST_UPDATES, MOST_ROWS / (double)y->in.o.workers));
  return fit >= most ? (uint64_t)most : fit < 1 ? 1 : (uint64_t)fit;
}

static tg_status stretch(tg_local *y) {
  tg_in_step *in = &y->in;
  size_t used;
  memset(y->scalars, 0, (SUM_ROWS + y->next * in->o.workers * ROW_FIELDS) * sizeof *y->scalars);
  y->done = 0;
  y->measured = false;
  do TG_TRY(update(y));
  while (y->done < y->next && !is_boundary(y, in->update));
  used = SUM_ROWS + y->done * in->o.workers * ROW_FIELDS;
  y->scalars[SUM_STOP] = tg_stop_requested() || in->wanted;
  y->scalars[SUM_DIVERGED] = in->diverged;
  if (tg_in_step_shared(in)) TG_TRY(tg_in_step_reduce(in, NULL, 0, y->scalars, used));
  in->nonfinite += bad_gradients(y);
  if (y->measured) y->distance = sqrt(y->scalars[SUM_DISTANCE] / in->o.workers);
  y->next = next_stretch(y);
  y->began_s = y->ended_s;
  y->ended_s = clock_s(y);
  return TG_OK;
}

/* A stretch and all that follows from it. */
static tg_status step(tg_local *y) {
  tg_in_step *in = &y->in;
  TG_TRY(stretch(y));
  bool last = in->update == in->total;
  bool evaluates = last || tg_in_step_crosses(in, in->o.eval_every, in->update);
  bool checkpoint = !evaluates && tg_in_step_crosses(in, in->o.checkpoint_every, in->update);
  bool stop = y->scalars[SUM_STOP] > 0, diverged = y->scalars[SUM_DIVERGED] > 0;
  if (checkpoint) TG_TRY(publish(y, true));
  TG_TRY(tell_stretch(y, checkpoint));
  if (diverged || in->nonfinite > in->o.max_nonfinite) return cut_short(y, TG_EDIVERGED);
  if (evaluates) TG_TRY(evaluate(y, last));
  return stop && !last ? cut_short(y, TG_EPREEMPTED) : TG_OK;
}

tg_status tg_local_run(tg_local *y, const tg_transport *transport, tg_comm *comm,
                       const tg_observer *observer) {
  tg_in_step *in = &y->in;
  in->transport = transport;
  in->comm = comm;
  in->observer = observer;
  y->ended_s = clock_s(y);
  if (in->total == 0) return evaluate(y, true);
  while (in->update < in->total) TG_TRY(step(y));
  /* The observer's last word: no more sums follow that would carry it. */
  double diverged = in->diverged;
  TG_TRY(tg_in_step_reduce(in, NULL, 0, &diverged, 1));
  return diverged > 0 ? cut_short(y, TG_EDIVERGED) : TG_OK;
}
