/* test_sync.c - what all ranks do together: agree, sum, train in step. Any number of ranks from 2
 * on: tests/mpi/test_ranks.sh runs it with others. RANKS: 5 */
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

/* ---- agreement ---- */

START_TEST(agrees_that_all_is_well) {
  ck_ok(tg_world_agree(TG_OK));
}
END_TEST

/* The worst status wins; rank 0 hears the first rank that has it. */
START_TEST(agrees_on_the_worst) {
  int last = world.size - 1;
  tg_status mine = TG_OK;
  if (world.rank == last) mine = tg_status_set(TG_ECONFIG, "rank %d does not like it", last);
  if (world.rank == 0) mine = tg_status_set(TG_EDATA, "rank 0 has bad data");
  ck_assert_int_eq(tg_world_agree(mine), TG_ECONFIG);
  if (world.rank == 0) {
    char expected[64];
    snprintf(expected, sizeof expected, "rank %d does not like it", last);
    ck_assert_str_eq(tg_status_message(), expected);
  }
}
END_TEST

START_TEST(tells_rank_0_the_lowest_of_equals) {
  tg_status mine = TG_OK;
  if (world.rank > 0) mine = tg_status_set(TG_ENOINPUT, "rank %d has no input", world.rank);
  ck_assert_int_eq(tg_world_agree(mine), TG_ENOINPUT);
  if (world.rank == 0) ck_assert_str_eq(tg_status_message(), "rank 1 has no input");
}
END_TEST

START_TEST(broadcasts) {
  const size_t sizes[] = {1, 8, 100003, 17 << 20};
  unsigned char *data = malloc(sizes[_i]);
  for (size_t i = 0; i < sizes[_i]; i++)
    data[i] = world.rank == 0 ? (unsigned char)(i * 31 >> 3) : 0;
  ck_ok(tg_world_broadcast(data, sizes[_i]));
  for (size_t i = 0; i < sizes[_i]; i += 1 + i / 100)
    ck_assert_uint_eq(data[i], (unsigned char)(i * 31 >> 3));
  ck_assert_uint_eq(data[sizes[_i] - 1], (unsigned char)((sizes[_i] - 1) * 31 >> 3));
  free(data);
}
END_TEST

START_TEST(knows_its_neighbours) {
  ck_assert_int_eq(world.local_size, world.size);
  ck_assert_int_eq(world.local_rank, world.rank);
  ck_assert(world.mpi);
  ck_assert_ptr_nonnull(strstr(world.version, "MPI"));
}
END_TEST

/* ---- sums ---- */

/* A pseudo-random number of either sign and very different sizes. */
static float element(uint32_t worker, size_t i) {
  uint32_t h = (uint32_t)i * 0x9E3779B9u ^ (worker + 1) * 0x85EBCA6Bu;
  h = (h ^ h >> 15) * 0x2C1B3C6Du;
  return (float)(int32_t)(h ^ h >> 13) * (i % 7 == 0 ? 1.f : 1e-6f);
}

static tg_comm *open_comm(size_t n, size_t piece, double timeout_s) {
  static tg_compute compute;
  tg_comm *comm;
  const tg_transport *mpi;
  compute = (tg_compute){.n = n};
  tg_comm_options o = {.workers = worker_count(),
                       .n = n,
                       .piece = piece,
                       .timeout_s = timeout_s,
                       .compute = &compute};
  ck_ok(tg_transport_find("mpi", &mpi));
  ck_ok(mpi->open(&o, &comm));
  return comm;
}

static const tg_transport *mpi(void) {
  const tg_transport *t;
  ck_ok(tg_transport_find("mpi", &t));
  return t;
}

static const struct {
  size_t n, piece;
} sizes[] = {{1, 1},         {2, 1000},     {31, 7},           {1000, 256},
             {65536, 65536}, {65537, 4096}, {1000003, 262144}, {400000, 20000}};

/* Every rank gets ((x0 + x1) + x2) + ...: the bits of a loop in one process. */
START_TEST(sums_in_the_order_of_workers) {
  size_t n = sizes[_i].n;
  tg_comm *comm = open_comm(n, sizes[_i].piece, 60);
  float *x = malloc(n * sizeof *x), *expected = malloc(n * sizeof *expected);
  for (int round = 0; round < 3; round++) {
    double scalars[] = {0.1 * (world.rank + 1), 1e17 * world.rank, round};
    double sums[3] = {0};
    for (size_t i = 0; i < n; i++) {
      expected[i] = element(0, i + (size_t)round);
      for (uint32_t m = 1; m < worker_count(); m++) expected[i] += element(m, i + (size_t)round);
      x[i] = world.rank == 0 ? -1 : element((uint32_t)world.rank - 1, i + (size_t)round);
    }
    for (int r = 1; r <= world.size; r++) {
      int rank = r % world.size;
      sums[0] += 0.1 * (rank + 1), sums[1] += 1e17 * rank, sums[2] += round;
    }
    ck_ok(mpi()->allreduce(comm, x, n, scalars, 3));
    ck_assert_mem_eq(x, expected, n * sizeof *x);
    ck_assert_mem_eq(scalars, sums, sizeof sums);
    ck_ok(mpi()->allreduce(comm, NULL, 0, scalars, 1));
    ck_assert_double_eq_tol(scalars[0], sums[0] * world.size, 1e-9);
    ck_ok(mpi()->allreduce(comm, x, n > 3 ? 3 : n, NULL, 0));
  }
  mpi()->close(comm);
  free(x);
  free(expected);
}
END_TEST

/* The last rank comes late: those that wait for it say so. */
START_TEST(names_who_is_late) {
  tg_comm *comm = open_comm(1000, 100, 1);
  float x[1000] = {0};
  double scalar = 1;
  char expected[128];
  int last = world.size - 1;
  snprintf(expected, sizeof expected, "worker %d (rank %d)", last - 1, last);
  ck_ok(tg_world_agree(TG_OK));
  if (world.rank != last) {
    ck_assert_int_eq(mpi()->allreduce(comm, x, 1000, &scalar, 1), TG_EUNAVAILABLE);
    ck_assert_msg(strstr(tg_status_message(), expected), "%s", tg_status_message());
    ck_assert_ptr_nonnull(strstr(tg_status_message(), "waited 1 s for"));
  }
  ck_ok(tg_world_agree(TG_OK));
}
END_TEST

/* ---- training in step ---- */

static async_options problem(void) {
  async_options o = async_defaults("ssgd", "momentum", worker_count(), 3001, 60 * worker_count());
  o.comm.piece = 500;
  o.comm.worker.clip_norm = 40;
  o.comm.worker.chaos_nan_at = 17;
  o.eval_every = 13;
  return o;
}

static tg_status train(const async_options *o, seen *s, sync_run *run) {
  tg_observer observer = seen_by(s);
  uint32_t first = world.rank > 0 ? (uint32_t)world.rank - 1 : 0;
  ck_ok(sync_open(o, "mpi", first, world.rank > 0, run));
  return sync_go(run, world.rank == 0 ? &observer : NULL);
}

START_TEST(trains_as_one_process_does) {
  async_options o = problem();
  sync_run run, alone;
  seen over_mpi = {0}, in_sim = {0};
  tg_observer observer = seen_by(&in_sim);
  ck_ok(train(&o, &over_mpi, &run));
  ck_ok(sync_open(&o, "sim", 0, o.workers, &alone));
  ck_ok(sync_go(&alone, &observer));
  tg_sync_state a = tg_sync_state_of(run.sync), b = tg_sync_state_of(alone.sync);
  ck_assert_uint_eq(a.update, b.update);
  ck_assert_mem_eq(a.w, b.w, o.problem.n * sizeof(float));
  ck_assert_mem_eq(a.b, b.b, o.problem.k * sizeof(float));
  ck_assert_mem_eq(a.slot[0], b.slot[0], o.problem.n * sizeof(float));
  if (world.rank == 0) ck_assert_mem_eq(&over_mpi, &in_sim, sizeof over_mpi);
  sync_close(&alone);
  sync_close(&run);
}
END_TEST

START_TEST(stops_at_the_same_step) {
  async_options o = problem();
  sync_run run;
  seen s = {.stop_at = 25};
  ck_assert_int_eq(train(&o, &s, &run), TG_EPREEMPTED);
  ck_assert_uint_eq(tg_sync_state_of(run.sync).update, 26);
  if (world.rank == 0) ck_assert_uint_eq(s.cuts, 1);
  sync_close(&run);
}
END_TEST

START_TEST(diverges_together) {
  async_options o = problem();
  sync_run run;
  seen s = {0};
  o.max_nonfinite = 0;
  ck_assert_int_eq(train(&o, &s, &run), TG_EDIVERGED);
  ck_assert_uint_eq(tg_sync_state_of(run.sync).update, 16);
  if (world.rank == 0) ck_assert_uint_eq(s.cuts, 1);
  sync_close(&run);
}
END_TEST

/* One rank's weights are other ones: seen where they are evaluated, and rank 0's are saved. */
START_TEST(notices_other_weights) {
  async_options o = problem();
  sync_run run;
  seen s = {0};
  if (world.size < 3) return; /* there is no rank 2 */
  ck_ok(sync_open(&o, "mpi", world.rank > 0 ? (uint32_t)world.rank - 1 : 0, world.rank > 0, &run));
  if (world.rank == 2) tg_sync_state_of(run.sync).w[3] = 2.5f;
  tg_observer observer = seen_by(&s);
  ck_assert_int_eq(sync_go(&run, world.rank == 0 ? &observer : NULL), TG_EDIVERGED);
  ck_assert_ptr_nonnull(
      strstr(tg_status_message(), "worker 1 (rank 2) has other weights than rank 0"));
  if (world.rank == 0) ck_assert_uint_eq(s.cuts, 1);
  sync_close(&run);
}
END_TEST

/* One rank is asked to stop; all do. */
START_TEST(a_signal_to_one_stops_all) {
  async_options o = problem();
  sync_run run;
  seen s = {0};
  if (world.rank == world.size - 1) tg_stop_request();
  ck_assert_int_eq(train(&o, &s, &run), TG_EPREEMPTED);
  ck_assert_uint_eq(tg_sync_state_of(run.sync).update, 1);
  sync_close(&run);
}
END_TEST

int main(void) {
  if (tg_world_start(true, &world) != TG_OK) return 1;
  Suite *suite = suite_create("all ranks together");
  TCase *tc = tcase_create("sync");
  tcase_add_test(tc, agrees_that_all_is_well);
  tcase_add_test(tc, agrees_on_the_worst);
  tcase_add_test(tc, tells_rank_0_the_lowest_of_equals);
  tcase_add_loop_test(tc, broadcasts, 0, 4);
  tcase_add_test(tc, knows_its_neighbours);
  tcase_add_loop_test(tc, sums_in_the_order_of_workers, 0, sizeof sizes / sizeof *sizes);
  tcase_add_test(tc, trains_as_one_process_does);
  tcase_add_test(tc, stops_at_the_same_step);
  tcase_add_test(tc, diverges_together);
  tcase_add_test(tc, notices_other_weights);
  tcase_add_test(tc, a_signal_to_one_stops_all); /* the request stays */
  tcase_add_test(tc, names_who_is_late);         /* its messages stay under way */
  suite_add_tcase(suite, tc);
  int failed = fixture_run(suite, world.rank);
  /* Ranks that wait for one that failed would wait long. */
  if (failed) tg_world_abort(TG_ERUNTIME);
  tg_world_end();
  return 0;
}
