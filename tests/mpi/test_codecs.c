/* test_codecs.c - encoded gradients over MPI: what one process makes of the same order, to the bit;
 * what codecs keep, brought together and handed out; messages that are not what they should be.
 * RANKS: 5 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/seen.h"
#include "../support/synchronous.h"

static tg_world world;

static uint32_t worker_count(void) {
  return (uint32_t)world.size - 1;
}

static const struct {
  const char *codec;
  float momentum;
  size_t n, piece;
  bool share;
} variants[] = {
    {"signsgd", 0, 1000, 256, false},
    {"signsgd", 0.5f, 300007, 65536, true},
    {"qsgd", 0, 4097, 1024, false},
    {"qsgd", 0, 300007, 65536, true},
    {"ecq", 0, 4097, 1024, true},
    {"ecq", 0, 131073, 65536, false},
    {"topk", 0, 1, 16, false},
    {"topk", 0.6f, 4097, 1024, true},
    {"topk", 0.6f, 300007, 65536, false},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static tg_coder *coder_of(int i, uint32_t first, uint32_t count) {
  tg_codec_options o = {.n = variants[i].n,
                        .seed = 3,
                        .momentum = variants[i].momentum,
                        .levels = 7,
                        .bucket = 100,
                        .alpha = 0.2f,
                        .beta = 0.9f,
                        .fraction = 0.05,
                        .masking = true};
  const tg_codec *codec;
  tg_coder *coder;
  ck_ok(tg_codec_find(variants[i].codec, &codec));
  ck_ok(tg_coder_create(codec, &o, first, count, &coder));
  return coder;
}

/* This rank's: rank 0 has room for all. */
static tg_coder *own_coder(int i) {
  return world.rank ? coder_of(i, (uint32_t)world.rank - 1, 1) : coder_of(i, 0, worker_count());
}

/* ---- late ---- */

static async_options late_options(int i) {
  async_options o = async_defaults("dc-asgd-a", "momentum", worker_count(), variants[i].n,
                                   variants[i].n > 100000 ? 60 : 200);
  o.comm.piece = variants[i].piece;
  o.comm.share = variants[i].share;
  o.comm.worker.chaos_nan_at = 7;
  o.comm.worker.clip_norm = 30;
  o.eval_every = 25;
  o.problem.slow = 2;
  o.problem.slow_busy_s = 0.002;
  return o;
}

START_TEST(replays_to_the_bit) {
  async_options o = late_options(_i);
  char path[256];
  fixture_path("trace.bin", path, sizeof path);
  if (world.rank == 0) ck_ok(tg_trace_create(path, o.workers, 1, &o.comm.trace));
  o.comm.worker.coder = own_coder(_i);
  float *recorded = async_over_mpi(&o, world.rank, NULL);
  tg_coder_destroy(o.comm.worker.coder);
  if (world.rank != 0) return;
  tg_trace_close(o.comm.trace);
  o.comm.worker.coder = coder_of(_i, 0, worker_count());
  float *replayed = async_replay(o, path, NULL);
  ck_assert_mem_eq(recorded, replayed, o.problem.n * sizeof *recorded);
  free(recorded);
  free(replayed);
  tg_coder_destroy(o.comm.worker.coder);
}
END_TEST

/* ---- in step ---- */

static async_options step_options(int i, const char *rule) {
  async_options o =
      async_defaults(rule, "momentum", worker_count(), variants[i].n, 40 * worker_count());
  o.comm.piece = variants[i].piece;
  o.comm.worker.chaos_nan_at = 17;
  o.eval_every = 13;
  return o;
}

/* Stopped on the way, so that what codecs keep is brought together. */
static void check_in_step(int i, const char *rule) {
  async_options o = step_options(i, rule);
  seen over_mpi = {.stop_at = 25}, in_sim = {.stop_at = 25};
  tg_observer observer = seen_by(&over_mpi), other = seen_by(&in_sim);
  sync_run run, alone;
  uint32_t first = world.rank > 0 ? (uint32_t)world.rank - 1 : 0;
  tg_coder *here = o.comm.worker.coder = own_coder(i);
  ck_ok(sync_open(&o, "mpi", first, world.rank > 0, &run));
  ck_assert_int_eq(sync_go(&run, world.rank == 0 ? &observer : NULL), TG_EPREEMPTED);
  tg_coder *all = o.comm.worker.coder = coder_of(i, 0, worker_count());
  ck_ok(sync_open(&o, "sim", 0, o.workers, &alone));
  ck_assert_int_eq(sync_go(&alone, &other), TG_EPREEMPTED);
  tg_sync_state a = tg_sync_state_of(run.sync), b = tg_sync_state_of(alone.sync);
  ck_assert_uint_eq(a.update, b.update);
  ck_assert_mem_eq(a.w, b.w, o.problem.n * sizeof(float));
  ck_assert_mem_eq(a.b, b.b, o.problem.k * sizeof(float));
  for (uint32_t m = here->first; m < here->first + here->count; m++)
    for (int v = 0; v < here->vectors; v++)
      ck_assert_mem_eq(tg_coder_state(here, m, v), tg_coder_state(all, m, v),
                       o.problem.n * sizeof(float));
  sync_close(&alone);
  sync_close(&run);
  tg_coder_destroy(here);
  tg_coder_destroy(all);
}

START_TEST(trains_as_one_process_does) {
  check_in_step(_i, "ssgd");
}
END_TEST

START_TEST(votes_as_one_process_does) {
  check_in_step(_i, "signsgd");
}
END_TEST

/* ---- what codecs keep ---- */

static float kept(uint32_t m, int v, size_t i) {
  return (float)(m * 1000003u + (uint32_t)v * 31u + (uint32_t)(i * 7));
}

START_TEST(hands_out_and_collects) {
  static tg_compute compute;
  enum { TOPK = 7 };
  tg_coder *coder = own_coder(TOPK);
  size_t n = coder->o.n;
  const tg_transport *mpi;
  tg_comm *comm;
  compute = (tg_compute){.n = n};
  tg_comm_options o = {.workers = worker_count(),
                       .n = n,
                       .timeout_s = 60,
                       .compute = &compute,
                       .worker = {.coder = coder}};
  ck_ok(tg_transport_find("mpi", &mpi));
  ck_ok(mpi->open(&o, &comm));
  ck_assert_int_eq(coder->vectors, 2);
  for (int round = 0; round < 2; round++) {
    for (uint32_t m = 0; world.rank == 0 && m < worker_count(); m++)
      for (int v = 0; v < 2; v++)
        for (size_t i = 0; i < n; i++) tg_coder_state(coder, m, v)[i] = kept(m, v, i);
    ck_ok(mpi->hand_out(comm));
    for (uint32_t m = coder->first; world.rank > 0 && m == coder->first; m++)
      for (int v = 0; v < 2; v++)
        for (size_t i = 0; i < n; i++)
          ck_assert_float_eq(tg_coder_state(coder, m, v)[i]++, kept(m, v, i));
    ck_ok(mpi->collect(comm, false));
    for (uint32_t m = 0; world.rank == 0 && m < worker_count(); m++)
      for (int v = 0; v < 2; v++)
        for (size_t i = 0; i < n; i++)
          ck_assert_float_eq(tg_coder_state(coder, m, v)[i], kept(m, v, i) + 1);
  }
  mpi->close(comm);
  tg_coder_destroy(coder);
}
END_TEST

typedef struct kept_states {
  const tg_transport *transport; /* NULL: all is here */
  tg_comm *comm;
  const tg_coder *coder;
  size_t events;
  uint64_t hash[512]; /* of every state, after each message */
} kept_states;

static tg_status keep_states(void *self, const tg_msg *in, const tg_server_event *event,
                             bool *preempt) {
  (void)in, (void)event, (void)preempt;
  kept_states *k = self;
  uint64_t hash = 14695981039346656037u; /* FNV-1a, word by word */
  if (k->transport) TG_TRY(k->transport->collect(k->comm, true));
  for (uint32_t m = 0; m < worker_count(); m++)
    for (int v = 0; v < k->coder->vectors; v++)
      for (size_t i = 0; i < k->coder->o.n; i++) {
        uint32_t word;
        memcpy(&word, tg_coder_state(k->coder, m, v) + i, sizeof word);
        hash = (hash ^ word) * 1099511628211u;
      }
  ck_assert_uint_lt(k->events, sizeof k->hash / sizeof *k->hash);
  k->hash[k->events++] = hash;
  return TG_OK;
}

/* What a checkpoint gets from workers with something outstanding - gradients, evaluations - or held
 * is what one process had then. */
START_TEST(collects_the_states_of_that_moment) {
  enum { TOPK = 7 };
  async_options o = late_options(TOPK);
  char path[256];
  kept_states over_mpi = {0}, alone = {0};
  tg_observer observer = {.self = &over_mpi, .handled = keep_states};
  async_run run;
  uint32_t flags;
  o.rule = _i ? "ssp" : "dc-asgd-a";
  o.eval_every = 3;
  fixture_path("trace.bin", path, sizeof path);
  if (world.rank == 0) ck_ok(tg_trace_create(path, o.workers, 1, &o.comm.trace));
  tg_coder *coder = o.comm.worker.coder = own_coder(TOPK);
  ck_ok(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  over_mpi.transport = run.transport;
  over_mpi.comm = run.comm;
  over_mpi.coder = coder;
  if (world.rank == 0)
    ck_ok(async_serve(&run, &observer));
  else
    ck_ok(run.transport->work(run.comm, &flags));
  async_close(&run);
  tg_coder_destroy(coder);
  if (world.rank != 0) return;
  tg_trace_close(o.comm.trace);
  alone.coder = o.comm.worker.coder = coder_of(TOPK, 0, worker_count());
  observer.self = &alone;
  free(async_replay(o, path, &observer));
  ck_assert_uint_eq(over_mpi.events, alone.events);
  for (size_t i = 0; i < alone.events; i++)
    ck_assert_msg(over_mpi.hash[i] == alone.hash[i], "other states after message %zu", i);
  tg_coder_destroy(o.comm.worker.coder);
}
END_TEST

/* ---- what cannot be decoded ---- */

/* Workers encode for another number of levels: what rank 0 gets is not what it expects. */
START_TEST(refuses_what_it_cannot_decode) {
  enum { QSGD = 2 };
  async_options o = late_options(QSGD);
  tg_coder *coder = own_coder(QSGD);
  async_run run;
  uint32_t flags;
  if (world.rank > 0) coder->o.levels = 1;
  o.comm.worker.coder = coder;
  o.comm.timeout_s = 2;
  ck_ok(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  if (world.rank == 0) {
    ck_assert_int_eq(async_serve(&run, NULL), TG_ERUNTIME);
    ck_assert_msg(strstr(tg_status_message(), "codec"), "%s", tg_status_message());
  } else {
    ck_assert_int_eq(run.transport->work(run.comm, &flags), TG_EUNAVAILABLE);
  }
  ck_ok(tg_world_agree(TG_OK));
}
END_TEST

int main(void) {
  if (tg_world_start(true, &world) != TG_OK) return 1;
  Suite *suite = suite_create("codecs over MPI");
  TCase *tc = tcase_create("codecs");
  tcase_add_loop_test(tc, replays_to_the_bit, 0, VARIANTS);
  tcase_add_loop_test(tc, trains_as_one_process_does, 0, VARIANTS);
  tcase_add_loop_test(tc, votes_as_one_process_does, 0, 2);
  tcase_add_test(tc, hands_out_and_collects);
  tcase_add_loop_test(tc, collects_the_states_of_that_moment, 0, 2);
  tcase_add_test(tc, refuses_what_it_cannot_decode); /* its messages stay under way */
  suite_add_tcase(suite, tc);
  int failed = fixture_run(suite, world.rank);
  /* Ranks that wait for one that failed would wait long. */
  if (failed) tg_world_abort(TG_ERUNTIME);
  tg_world_end();
  return 0;
}
