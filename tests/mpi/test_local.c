/* test_local.c - workers with weights of their own over MPI: what one process does, to the bit.
 * RANKS: 5 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/own.h"
#include "../support/seen.h"

static tg_world world;

/* Local SGD, and neighbours in both orders on a ring and on the complete graph. */
enum { SCHEMES = 4 };
static own_options scheme(int i) {
  uint32_t workers = (uint32_t)world.size - 1;
  own_options o = own_defaults("momentum", workers, 3001, 60 * workers, 7);
  o.mixing = i == 0 ? TG_MIX_AVERAGE : i == 1 ? TG_MIX_COMBINE_ADAPT : TG_MIX_ADAPT_COMBINE;
  o.topology = i == 3 ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING;
  o.base.comm.piece = 500;
  o.base.comm.worker.clip_norm = 40;
  o.base.comm.worker.chaos_nan_at = 17;
  o.base.eval_every = 13;
  return o;
}

static tg_status train(const own_options *o, seen *s, own_run *run) {
  tg_observer observer = seen_by(s);
  uint32_t first = world.rank > 0 ? (uint32_t)world.rank - 1 : 0;
  ck_ok(own_open(o, "mpi", first, world.rank > 0, run));
  return own_go(run, world.rank == 0 ? &observer : NULL);
}

/* Every vector that this rank holds; rank 0 has everybody's after a checkpoint. */
static void same_vectors(own_run *run, own_run *alone, const own_options *o) {
  tg_local_state a = tg_local_state_of(run->local), b = tg_local_state_of(alone->local);
  size_t n = o->base.problem.n * sizeof(float), k = o->base.problem.k * sizeof(float);
  ck_assert_uint_eq(a.update, b.update);
  ck_assert_uint_eq(a.nonfinite, b.nonfinite);
  ck_assert_mem_eq(a.w, b.w, n);
  ck_assert_mem_eq(a.b, b.b, k);
  ck_assert_mem_eq(a.step, b.step, o->base.workers * sizeof *a.step);
  for (uint32_t i = 0; i < a.has.held; i++) {
    uint32_t m = a.has.first + i;
    ck_assert_mem_eq(a.has.x[i], b.has.x[m], n);
    ck_assert_mem_eq(a.has.bx[i], b.has.bx[m], k);
    ck_assert_mem_eq(a.has.slot[0][i], b.has.slot[0][m], n);
  }
}

START_TEST(trains_as_one_process_does) {
  own_options o = scheme(_i);
  own_run run, alone;
  seen over_mpi = {0}, in_sim = {0};
  tg_observer observer = seen_by(&in_sim);
  ck_ok(train(&o, &over_mpi, &run));
  ck_ok(own_open(&o, "sim", 0, o.base.workers, &alone));
  ck_ok(own_go(&alone, &observer));
  same_vectors(&run, &alone, &o);
  if (world.rank == 0) ck_assert_mem_eq(&over_mpi, &in_sim, sizeof over_mpi);
  own_close(&alone);
  own_close(&run);
}
END_TEST

/* Stopped, and all that rank 0 then holds given to ranks that begin anew. */
START_TEST(goes_on_as_if_never_stopped) {
  own_options o = scheme(_i);
  own_run run, next, alone;
  seen s = {.stop_at = 19};
  size_t n = o.base.problem.n * sizeof(float), k = o.base.problem.k * sizeof(float);
  ck_assert_int_eq(train(&o, &s, &run), TG_EPREEMPTED);
  if (world.rank == 0) ck_assert_uint_eq(s.cuts, 1);
  uint32_t first = world.rank > 0 ? (uint32_t)world.rank - 1 : 0;
  ck_ok(own_open(&o, "mpi", first, world.rank > 0, &next));
  tg_local_state a = tg_local_state_of(run.local), b = tg_local_state_of(next.local);
  for (uint32_t m = 0; m < a.has.held && world.rank == 0; m++) {
    memcpy(b.has.x[m], a.has.x[m], n);
    memcpy(b.has.bx[m], a.has.bx[m], k);
    memcpy(b.has.slot[0][m], a.has.slot[0][m], n);
  }
  memcpy(b.step, a.step, o.base.workers * sizeof *a.step);
  if (world.rank == 0) ck_ok(tg_local_restored(next.local, &a));
  ck_ok(tg_local_share(next.local, next.transport, next.comm));
  tg_observer observer = seen_by(&s);
  s.stop_at = 0;
  ck_ok(own_go(&next, world.rank == 0 ? &observer : NULL));
  ck_ok(own_open(&o, "sim", 0, o.base.workers, &alone));
  ck_ok(own_go(&alone, NULL));
  same_vectors(&next, &alone, &o);
  own_close(&alone);
  own_close(&next);
  own_close(&run);
}
END_TEST

START_TEST(diverges_together) {
  own_options o = scheme(_i);
  own_run run;
  seen s = {0};
  o.base.max_nonfinite = 0;
  ck_assert_int_eq(train(&o, &s, &run), TG_EDIVERGED);
  if (world.rank == 0) ck_assert_uint_eq(s.cuts, 1);
  own_close(&run);
}
END_TEST

/* One rank is asked to stop; all do. */
START_TEST(a_signal_to_one_stops_all) {
  own_options o = scheme(_i);
  own_run run;
  seen s = {0};
  if (world.rank == world.size - 1) tg_stop_request();
  ck_assert_int_eq(train(&o, &s, &run), TG_EPREEMPTED);
  ck_assert_uint_eq(tg_local_state_of(run.local).update, 1);
  own_close(&run);
}
END_TEST

int main(void) {
  if (tg_world_start(true, &world) != TG_OK) return 1;
  Suite *suite = suite_create("weights of their own over MPI");
  TCase *tc = tcase_create("local");
  tcase_add_loop_test(tc, trains_as_one_process_does, 0, SCHEMES);
  tcase_add_loop_test(tc, goes_on_as_if_never_stopped, 0, SCHEMES);
  tcase_add_loop_test(tc, diverges_together, 0, SCHEMES);
  tcase_add_loop_test(tc, a_signal_to_one_stops_all, 0, SCHEMES); /* the request stays */
  suite_add_tcase(suite, tc);
  int failed = fixture_run(suite, world.rank);
  /* Ranks that wait for one that failed would wait long. */
  if (failed) tg_world_abort(TG_ERUNTIME);
  tg_world_end();
  return 0;
}
