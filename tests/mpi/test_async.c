/* test_async.c - a server and four workers over MPI. RANKS: 5
 *
 * What the workers' timing did is recorded; the same order in one process must then give the same
 * weights to the bit. Rank 0 judges, everybody learns the verdict. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../support/async.h"
#include "../support/fixture.h"

static tg_world world;

static void check_replay(async_options o) {
  char path[256];
  fixture_path("trace.bin", path, sizeof path);
  if (world.rank == 0) ck_ok(tg_trace_create(path, o.workers, 1, &o.comm.trace));
  float *recorded = async_over_mpi(&o, world.rank, NULL);
  if (world.rank != 0) return;
  tg_trace_close(o.comm.trace);
  float *replayed = async_replay(o, path, NULL);
  ck_assert_mem_eq(recorded, replayed, o.problem.n * sizeof *recorded);
  float *w0 = malloc(o.problem.n * sizeof *w0);
  quadratic_initial(o.problem.n, w0);
  ck_assert_double_lt(quadratic_loss(o.problem.n, recorded), quadratic_loss(o.problem.n, w0));
  free(w0);
  free(recorded);
  free(replayed);
}

static const struct {
  const char *rule, *optimizer;
  bool global_state;
  size_t n, k, piece;
  bool share;
} variants[] = {
    {"asgd", "sgd", false, 1000, 5, 256, false},
    {"asgd", "momentum", false, 1000, 5, 1024, false},
    {"dc-asgd-c", "sgd", false, 4097, 5, 1024, false},
    {"dc-asgd-a", "sgd", false, 4097, 5, 1024, false},
    {"dc-asgd-a", "nesterov", true, 1, 0, 16, false},
    {"dc-asgd-a", "momentum", false, 300007, 3000, 65536, false},
    {"asgd", "sgd", false, 65536, 5, 65536, false},
    {"dc-asgd-c", "momentum", false, 131073, 5, 65536, false},
    {"asgd", "sgd", false, 1000, 5, 256, true},
    {"dc-asgd-a", "momentum", true, 300007, 3000, 65536, true},
    {"dc-asgd-c", "nesterov", false, 1, 0, 16, true},
    {"staleness-lr", "momentum", false, 1000, 5, 256, true},
    {"gap-aware", "momentum", false, 4097, 5, 1024, false},
    {"dana-slim", "sgd", false, 4097, 5, 1024, true},
    {"xgrad", "momentum", false, 131073, 5, 65536, true},
    {"xgrad", "sgd", false, 1000, 5, 256, false},
    {"dave-rpg", "sgd", false, 4097, 5, 1024, false},
    {"dave-rpg", "sgd", false, 131073, 5, 65536, true},
    {"easgd", "sgd", false, 4097, 5, 1024, false},
    {"easgd", "sgd", false, 131073, 5, 65536, true},
    {"ssp", "momentum", false, 4097, 5, 1024, false},
    {"ssp", "sgd", false, 300007, 3000, 65536, true},
    {"ssgd-backup", "nesterov", false, 4097, 5, 1024, false},
    {"ssgd-backup", "momentum", false, 300007, 3000, 65536, true},
    {"ringmaster", "momentum", false, 4097, 5, 1024, false},
    {"ringmaster", "sgd", false, 1000, 5, 256, true},
};

START_TEST(replays_to_the_bit) {
  async_options o =
      async_defaults(variants[_i].rule, variants[_i].optimizer, (uint32_t)world.size - 1,
                     variants[_i].n, variants[_i].n > 100000 ? 60 : 300);
  o.global_state = variants[_i].global_state;
  o.problem.k = variants[_i].k;
  o.comm.piece = variants[_i].piece;
  o.comm.share = variants[_i].share;
  o.eval_every = 25;
  o.problem.slow = 2;
  o.problem.slow_busy_s = 0.002;
  check_replay(o);
}
END_TEST

/* Rules that let workers wait, drop what is late, or gather gradients, at their limits. */
static const struct {
  const char *rule;
  uint64_t bound, threshold;
  uint32_t backups;
} paces[] = {{"ssp", 0, 0, 0},         {"ssp", 1, 0, 0},         {"ssp", UINT64_MAX, 0, 0},
             {"ssgd-backup", 0, 0, 0}, {"ssgd-backup", 0, 0, 2}, {"ssgd-backup", 0, 0, 3},
             {"ringmaster", 0, 1, 0},  {"ringmaster", 0, 2, 0},  {"ringmaster", 0, UINT64_MAX, 0}};
enum { PACES = sizeof paces / sizeof *paces };

static async_options paced(int i, double updates) {
  async_options o =
      async_defaults(paces[i].rule, "momentum", (uint32_t)world.size - 1, 2000, updates);
  o.staleness_bound = paces[i].bound;
  o.delay_threshold = paces[i].threshold;
  o.backup_workers = paces[i].backups < o.workers ? paces[i].backups : o.workers - 1;
  o.comm.piece = 512;
  o.comm.share = i % 2;
  return o;
}

START_TEST(replays_whatever_the_pace) {
  async_options o = paced(_i, 203);
  o.eval_every = 7;
  o.comm.worker.chaos_nan_at = 11;
  o.problem.slow = 2;
  o.problem.slow_busy_s = 0.002;
  check_replay(o);
}
END_TEST

START_TEST(replays_gradients_that_were_dropped) {
  const char *rules[] = {"dc-asgd-a", "dc-asgd-a", "ssp", "ssgd-backup", "ringmaster"};
  async_options o = async_defaults(rules[_i], "sgd", (uint32_t)world.size - 1, 1000, 200);
  o.comm.piece = 256;
  o.comm.share = _i > 0;
  o.comm.worker.chaos_nan_at = 7;
  o.comm.worker.clip_norm = 3;
  check_replay(o);
}
END_TEST

/* Two workers cannot open what the server shares: messages carry their bodies, between those of
 * others whose bodies stay where they are. */
START_TEST(shares_with_whom_it_can) {
  enum { FILES = 256 };
  async_options o = async_defaults("dc-asgd-a", "momentum", (uint32_t)world.size - 1, 300007, 60);
  struct rlimit files, few;
  int filler[FILES], count = 0;
  o.comm.piece = 65536;
  o.comm.share = true;
  o.eval_every = 25;
  ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
  few = files;
  few.rlim_cur = FILES;
  if (world.rank > 2) {
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((filler[count] = dup(0)) >= 0) count++;
  }
  check_replay(o);
  while (count > 0) close(filler[--count]);
  ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}
END_TEST

/* The first half of an order is prescribed, the rest is as it comes. */
START_TEST(follows_a_prescribed_order) {
  enum { PRESCRIBED = 150 };
  const char *rules[] = {"dc-asgd-a", "ssp", "ssgd-backup", "ringmaster"};
  async_options o = async_defaults(rules[_i], "momentum", (uint32_t)world.size - 1, 5000, 200);
  char path[256];
  uint32_t workers, *before, *after;
  uint64_t seed;
  size_t count;
  o.comm.piece = 1024;
  o.eval_every = 30;
  o.problem.slow = 1;
  o.problem.slow_busy_s = 0.001;
  fixture_path("order.bin", path, sizeof path);
  if (world.rank == 0) ck_ok(tg_trace_create(path, o.workers, 1, &o.comm.trace));
  free(async_over_mpi(&o, world.rank, NULL));
  if (world.rank == 0) {
    tg_trace_close(o.comm.trace);
    ck_ok(tg_trace_read(path, &workers, &seed, &before, NULL, &count));
    ck_assert_int_eq(truncate(path, 32 + 8 * PRESCRIBED + 3), 0);
    ck_ok(tg_trace_open(path, o.workers, 1, 0, &o.comm.trace));
  }
  o.problem.slow = 3;
  float *w = async_over_mpi(&o, world.rank, NULL);
  if (world.rank != 0) return;
  tg_trace_close(o.comm.trace);
  ck_ok(tg_trace_read(path, &workers, &seed, &after, NULL, &count));
  ck_assert_mem_eq(before, after, PRESCRIBED * sizeof *before);
  float *replayed = async_replay(o, path, NULL);
  ck_assert_mem_eq(w, replayed, o.problem.n * sizeof *w);
  free(before);
  free(after);
  free(w);
  free(replayed);
}
END_TEST

typedef struct tally {
  uint64_t pushes[64], evaluations, staleness, last_staleness;
  bool slow;        /* handling takes a while: everybody's next message is there by then */
  uint64_t stop_at; /* ask to stop at this update */
  uint64_t cut_at;
  tg_status why;
  tg_server *server;
} tally;

static tg_status count(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  tally *t = self;
  if (event->applied) {
    t->pushes[in->worker]++;
    t->staleness += event->staleness;
  }
  t->evaluations += event->evaluated;
  if (t->slow) usleep(1000);
  if (t->stop_at > 0 && event->update >= t->stop_at) *preempt = true;
  return TG_OK;
}

static tg_status note_cut(void *self, tg_status why) {
  tally *t = self;
  t->why = why;
  t->cut_at = tg_server_state_of(t->server).update;
  return TG_OK;
}

/* Where the server is the bottleneck every worker gets its share: low ranks are not preferred. */
START_TEST(is_fair) {
  enum { UPDATES = 400 };
  tally t = {.slow = true};
  tg_observer observer = {.self = &t, .handled = count};
  async_options o = async_defaults("asgd", "sgd", (uint32_t)world.size - 1, 2000, UPDATES);
  o.comm.piece = 512;
  o.eval_every = 40;
  free(async_over_mpi(&o, world.rank, &observer));
  if (world.rank != 0) return;
  ck_assert_uint_eq(t.evaluations, 10);
  for (uint32_t m = 0; m < o.workers; m++) ck_assert_uint_gt(t.pushes[m], UPDATES / o.workers / 2);
}
END_TEST

START_TEST(stops_on_request) {
  tally t = {.stop_at = 40};
  tg_observer observer = {.self = &t, .handled = count, .cut = note_cut};
  async_options o = _i < PACES ? paced(_i, 1e6) /* some are held, and must be let go */
                               : async_defaults("asgd", "sgd", (uint32_t)world.size - 1, 1000, 1e6);
  async_run run;
  uint32_t flags = 0;
  ck_ok(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  t.server = run.server;
  if (world.rank == 0) {
    ck_assert_int_eq(async_serve(&run, &observer), TG_EPREEMPTED);
    ck_assert_int_eq(t.why, TG_EPREEMPTED);
    ck_assert_uint_eq(t.cut_at, 40);
    ck_assert_uint_eq(tg_server_state_of(run.server).update, 40);
  } else {
    ck_ok(run.transport->work(run.comm, &flags));
    ck_assert_uint_eq(flags, TG_FLAG_PREEMPT);
  }
  async_close(&run);
}
END_TEST

START_TEST(diverges_together) {
  const char *rules[] = {"asgd", "ssp", "ssgd-backup"};
  tally t = {0};
  tg_observer observer = {.self = &t, .handled = count, .cut = note_cut};
  async_options o = async_defaults(rules[_i], "sgd", (uint32_t)world.size - 1, 1000, 1e6);
  async_run run;
  uint32_t flags = 0;
  o.max_nonfinite = 2;
  o.comm.worker.chaos_nan_at = 20;
  ck_ok(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  t.server = run.server;
  if (world.rank == 0) {
    ck_assert_int_eq(async_serve(&run, &observer), TG_EDIVERGED);
    ck_assert_int_eq(t.why, TG_EDIVERGED);
    ck_assert_ptr_nonnull(strstr(tg_status_message(), "3 gradients were not finite"));
  } else {
    ck_ok(run.transport->work(run.comm, &flags));
    ck_assert_uint_eq(flags, TG_FLAG_PREEMPT);
  }
  async_close(&run);
}
END_TEST

/* A worker that does not answer is named; when it answers after all, nothing was lost. */
START_TEST(names_who_is_late) {
  enum { SILENT = 2 };
  async_options o = async_defaults("asgd", "sgd", (uint32_t)world.size - 1, 100, 10);
  async_run run;
  o.comm.timeout_s = 1;
  ck_ok(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  if (world.rank == 0) {
    tg_msg msg, stop = {.kind = TG_MSG_STOP, .worker = SILENT};
    tg_server_start(run.server, SILENT, &msg);
    ck_ok(run.transport->send(run.comm, &msg));
    ck_ok(run.transport->send_piece(run.comm, SILENT, (tg_span){0, 100}, async_weights(&run)));
    ck_assert_int_eq(run.transport->recv(run.comm, &msg), TG_EUNAVAILABLE);
    ck_assert_str_eq(tg_status_message(), "waited 1 s for a message from worker 2 (rank 3)");
    ck_ok(tg_world_agree(TG_OK));
    const float *stats;
    float *g;
    tg_span span;
    ck_ok(run.transport->recv(run.comm, &msg));
    ck_assert_uint_eq(msg.worker, SILENT);
    ck_ok(run.transport->recv_piece(run.comm, &span, &g));
    ck_assert_uint_eq(span.hi, 100);
    ck_ok(run.transport->recv_stats(run.comm, &stats));
    ck_ok(run.transport->send(run.comm, &stop));
    ck_ok(run.transport->drain(run.comm));
  } else {
    uint32_t flags;
    if (world.rank != SILENT + 1) {
      ck_assert_int_eq(run.transport->work(run.comm, &flags), TG_EUNAVAILABLE);
      ck_assert_str_eq(tg_status_message(), "waited 1 s for an answer of the server (rank 0)");
    }
    ck_ok(tg_world_agree(TG_OK));
    if (world.rank == SILENT + 1) ck_ok(run.transport->work(run.comm, &flags));
  }
  async_close(&run);
}
END_TEST

/* `test_async die`: worker 1 is killed in the middle of a run without an end. */
static tg_status die(void) {
  async_options o = async_defaults("asgd", "sgd", (uint32_t)world.size - 1, 1000, 1e9);
  async_run run;
  uint32_t flags;
  if (world.rank == 2) o.problem.die_at = 100;
  TG_TRY(async_open(&o, "mpi", world.rank == 0, world.rank > 0, &run));
  return world.rank == 0 ? async_serve(&run, NULL) : run.transport->work(run.comm, &flags);
}

int main(int argc, char **argv) {
  if (tg_world_start(true, &world) != TG_OK) return 1;
  if (argc > 1 && strcmp(argv[1], "die") == 0) return (int)die();
  Suite *suite = suite_create("asynchronous training over MPI");
  TCase *tc = tcase_create("async");
  tcase_add_loop_test(tc, replays_to_the_bit, 0, sizeof variants / sizeof *variants);
  tcase_add_loop_test(tc, replays_gradients_that_were_dropped, 0, 5);
  tcase_add_loop_test(tc, replays_whatever_the_pace, 0, PACES);
  tcase_add_test(tc, shares_with_whom_it_can);
  tcase_add_loop_test(tc, follows_a_prescribed_order, 0, 4);
  tcase_add_test(tc, is_fair);
  tcase_add_loop_test(tc, stops_on_request, 0, PACES + 1);
  tcase_add_loop_test(tc, diverges_together, 0, 3);
  tcase_add_test(tc, names_who_is_late);
  suite_add_tcase(suite, tc);
  int failed = fixture_run(suite, world.rank);
  fixture_end();
  /* Ranks that wait for one that failed would wait long. */
  if (failed) tg_world_abort(TG_ERUNTIME);
  tg_world_end();
  return 0;
}
