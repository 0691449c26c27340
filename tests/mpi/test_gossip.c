/* test_gossip.c - AD-PSGD over MPI: what ranks did in the order that chance chose, one process does
 * again to the bit. RANKS: 5 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/gossip.h"
#include "../support/seen.h"

static tg_world world;

static async_options problem(int i) {
  uint32_t workers = (uint32_t)world.size - 1;
  async_options o = async_defaults("ad-psgd", "momentum", workers, 3001, 60 * workers);
  o.comm.piece = 500;
  o.comm.worker.clip_norm = 40;
  o.comm.worker.chaos_nan_at = 17;
  o.eval_every = 45;
  o.problem.slow = i == 1; /* worker 0 is slow, and evaluates */
  o.problem.slow_busy_s = 2e-3;
  return o;
}

static tg_gossip_options more_of(int i) {
  return (tg_gossip_options){.seed = 11,
                             .one_thread = i == 3,
                             .topology = i == 2 ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING};
}

static void start(const async_options *o, const tg_gossip_options *more, gossip_run *run) {
  uint32_t first = world.rank > 0 ? (uint32_t)world.rank - 1 : 0;
  ck_ok(gossip_open(o, more, "mpi", first, world.rank > 0, run));
}

static tg_status go(gossip_run *run, seen *s) {
  tg_observer observer = seen_by(s);
  return gossip_go(run, world.rank == 0 ? &observer : NULL);
}

/* Rank 0: the same in one process, along what was seen. */
static void same_alone(const async_options *o, tg_gossip_options more, gossip_run *run, seen *s) {
  gossip_run alone;
  seen *t = calloc(1, sizeof *t);
  tg_observer observer = seen_by(t);
  more.records = s->records;
  more.record_count = s->recorded;
  ck_ok(gossip_open(o, &more, NULL, 0, o->workers, &alone));
  ck_ok(gossip_go(&alone, &observer));
  tg_gossip_state a = tg_gossip_state_of(run->gossip), b = tg_gossip_state_of(alone.gossip);
  size_t n = o->problem.n * sizeof(float);
  ck_assert_mem_eq(a.w, b.w, n);
  ck_assert_mem_eq(a.b, b.b, o->problem.k * sizeof(float));
  for (uint32_t m = 0; m < o->workers; m++) {
    ck_assert_mem_eq(a.has.x[m], b.has.x[m], n);
    ck_assert_mem_eq(a.has.snapshot[m], b.has.snapshot[m], n);
    ck_assert_mem_eq(a.has.bx[m], b.has.bx[m], o->problem.k * sizeof(float));
    ck_assert_mem_eq(a.has.slot[0][m], b.has.slot[0][m], n);
  }
  ck_assert_mem_eq(a.ops, b.ops, o->workers * sizeof *a.ops);
  ck_assert_uint_eq(s->staleness, t->staleness);
  ck_assert_double_eq(s->loss, t->loss);
  gossip_close(&alone);
  free(t);
}

START_TEST(one_process_does_the_same_again) {
  async_options o = problem(_i);
  tg_gossip_options more = more_of(_i);
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  start(&o, &more, &run);
  ck_ok(go(&run, s));
  if (world.rank == 0) {
    ck_assert_uint_eq(s->update, 60 * o.workers);
    ck_assert_uint_eq(s->dropped, s->recorded - s->update);
    ck_assert_uint_eq(s->evaluations, (60 * o.workers + 44) / 45);
    same_alone(&o, more, &run, s);
  }
  gossip_close(&run);
  free(s);
}
END_TEST

/* Nothing is computed, so that exchanges are all there is, and many at once. */
START_TEST(many_exchanges_do_not_lock_up) {
  async_options o = problem(_i + 2);
  tg_gossip_options more = more_of(_i + 2);
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  uint64_t updates = world.size == 5 ? 50000 : 5000;
  o.problem.n = 40;
  o.updates = (double)updates;
  o.eval_every = 5000;
  start(&o, &more, &run);
  ck_ok(go(&run, s));
  if (world.rank == 0) ck_assert_uint_eq(s->update, updates);
  if (world.rank == 0) same_alone(&o, more, &run, s);
  gossip_close(&run);
  free(s);
}
END_TEST

/* Stopped; ranks that begin anew are given all that rank 0 then holds. */
START_TEST(goes_on_after_a_stop) {
  async_options o = problem(_i);
  tg_gossip_options more = more_of(_i);
  gossip_run run, next;
  seen *s = calloc(1, sizeof *s);
  size_t n = o.problem.n * sizeof(float), k = o.problem.k * sizeof(float);
  size_t counters = o.workers * sizeof(uint64_t);
  start(&o, &more, &run);
  s->stop_at = 20 * o.workers;
  ck_assert_int_eq(go(&run, s), TG_EPREEMPTED);
  start(&o, &more, &next);
  if (world.rank == 0) {
    ck_assert_uint_eq(s->cuts, 1);
    ck_assert_uint_eq(s->update, s->stop_at);
    tg_gossip_state a = tg_gossip_state_of(run.gossip), b = tg_gossip_state_of(next.gossip);
    for (uint32_t m = 0; m < o.workers; m++) {
      memcpy(b.has.x[m], a.has.x[m], n);
      memcpy(b.has.snapshot[m], a.has.snapshot[m], n);
      memcpy(b.has.bx[m], a.has.bx[m], k);
      memcpy(b.has.slot[0][m], a.has.slot[0][m], n);
    }
    memcpy(b.step, a.step, counters);
    memcpy(b.ops, a.ops, counters);
    memcpy(b.taken_at, a.taken_at, counters);
    memcpy(b.pending, a.pending, counters);
    ck_ok(tg_gossip_restored(next.gossip, &a));
  }
  ck_ok(tg_gossip_share(next.gossip, next.transport, next.comm));
  s->stop_at = 0;
  ck_ok(go(&next, s));
  if (world.rank == 0) same_alone(&o, more, &next, s);
  gossip_close(&next);
  gossip_close(&run);
  free(s);
}
END_TEST

START_TEST(diverges_together) {
  async_options o = problem(0);
  tg_gossip_options more = more_of(0);
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  o.max_nonfinite = 0;
  start(&o, &more, &run);
  ck_assert_int_eq(go(&run, s), TG_EDIVERGED);
  if (world.rank == 0) ck_assert_uint_eq(s->cuts, 1);
  gossip_close(&run);
  free(s);
}
END_TEST

/* One rank is asked to stop; all do. */
START_TEST(a_signal_to_one_stops_all) {
  async_options o = problem(0);
  tg_gossip_options more = more_of(0);
  gossip_run run;
  seen *s = calloc(1, sizeof *s);
  if (world.rank == world.size - 1) tg_stop_request();
  start(&o, &more, &run);
  ck_assert_int_eq(go(&run, s), TG_EPREEMPTED);
  gossip_close(&run);
  free(s);
}
END_TEST

int main(void) {
  if (tg_world_start(true, &world) != TG_OK) return 1;
  Suite *suite = suite_create("gossip over MPI");
  TCase *tc = tcase_create("gossip");
  tcase_add_loop_test(tc, one_process_does_the_same_again, 0, 4);
  tcase_add_loop_test(tc, many_exchanges_do_not_lock_up, 0, 2);
  tcase_add_loop_test(tc, goes_on_after_a_stop, 0, 3);
  tcase_add_test(tc, diverges_together);
  tcase_add_test(tc, a_signal_to_one_stops_all); /* the request stays */
  suite_add_tcase(suite, tc);
  int failed = fixture_run(suite, world.rank);
  /* Ranks that wait for one that failed would wait long. */
  if (failed) tg_world_abort(TG_ERUNTIME);
  tg_world_end();
  return 0;
}
