/* Checkpoints: what is saved comes back; what is broken is named and passed over; a process killed
 * at any moment, or a full disk, leaves only whole ones. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tardigrad/checkpoint.h"
#include "tardigrad/log.h"
#include "tardigrad/rng.h"

static char run[64];

static void make_run(void) {
  const char *base = getenv("TMPDIR");
  snprintf(run, sizeof run, "%.30s/ckpt-XXXXXX", base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(run));
  tg_log_setup(0, TG_LOG_ERROR); /* warnings about broken ones are expected */
}

static void remove_all(const char *path) {
  DIR *folder = opendir(path);
  for (struct dirent *e; folder && (e = readdir(folder));) {
    char inner[512];
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%.250s/%.250s", path, e->d_name);
    if (unlink(inner) != 0) remove_all(inner);
  }
  if (folder) closedir(folder);
  rmdir(path);
}

static void remove_run(void) {
  remove_all(run);
}

/* ---- a small model ---- */

enum { N = 3000 };
typedef struct model {
  float w[N], b[7];
  float w_bak[2 * N];
  uint64_t version[2];
  tg_ckpt_array weights[2], state[2];
  tg_ckpt_content content;
} model;

static void name_arrays(model *m) {
  *m = (model){.weights = {{.name = "fc1.weight", .dtype = TG_ST_F32, .nd = 2, .dim = {30, 100}},
                           {.name = "bn1.running_mean", .dtype = TG_ST_F32, .nd = 1, .dim = {7}}},
               .state = {{.name = "w_bak", .dtype = TG_ST_F32, .nd = 2, .dim = {2, N}},
                         {.name = "version", .dtype = TG_ST_U64, .nd = 1, .dim = {2}}}};
  m->weights[0].data = m->w;
  m->weights[1].data = m->b;
  m->state[0].data = m->w_bak;
  m->state[1].data = m->version;
  m->content = (tg_ckpt_content){.weights = m->weights,
                                 .weight_count = 2,
                                 .state = m->state,
                                 .state_count = 2,
                                 .model = "mlp"};
}

/* Every number follows from the update, so that a mixture of two checkpoints shows. */
static float value_of(uint64_t update, int i) {
  return (float)update * 0.1f + (float)i;
}

static void fill(model *m, uint64_t update) {
  for (int i = 0; i < N; i++) m->w[i] = value_of(update, i);
  for (int i = 0; i < 7; i++) m->b[i] = value_of(update, -i);
  for (int i = 0; i < 2 * N; i++) m->w_bak[i] = value_of(update, 5 * i);
  m->version[0] = update;
  m->version[1] = UINT64_MAX - update;
  m->content.update = update;
  m->content.samples = 128 * update;
  m->content.epoch = (double)update / 3.0;
  m->content.trace_records = 2 * update;
  m->content.metrics_bytes = 77 * update;
}

static void assert_filled(const model *m, uint64_t update) {
  model expected;
  name_arrays(&expected);
  fill(&expected, update);
  ck_assert_mem_eq(m->w, expected.w, sizeof m->w);
  ck_assert_mem_eq(m->b, expected.b, sizeof m->b);
  ck_assert_mem_eq(m->w_bak, expected.w_bak, sizeof m->w_bak);
  ck_assert_mem_eq(m->version, expected.version, sizeof m->version);
  ck_assert_uint_eq(m->content.update, update);
  ck_assert_uint_eq(m->content.samples, 128 * update);
  ck_assert_double_eq(m->content.epoch, (double)update / 3.0);
  ck_assert_uint_eq(m->content.trace_records, 2 * update);
  ck_assert_uint_eq(m->content.metrics_bytes, 77 * update);
}

static tg_status save(uint64_t update, int keep) {
  model m;
  name_arrays(&m);
  fill(&m, update);
  return tg_checkpoint_save(run, &m.content, keep);
}

static const char *folder_of(uint64_t update) {
  static char path[128];
  snprintf(path, sizeof path, "%s/checkpoints/%llu", run, (unsigned long long)update);
  return path;
}

static const char *file_of(uint64_t update, const char *name) {
  static char path[192];
  snprintf(path, sizeof path, "%s/%s", folder_of(update), name);
  return path;
}

/* "0 3 4", in ascending order, with '+' for what is not an update. */
static const char *listing(void) {
  static char text[256];
  char path[96];
  snprintf(path, sizeof path, "%s/checkpoints", run);
  struct dirent **entries = NULL;
  int count = scandir(path, &entries, NULL, versionsort);
  text[0] = 0;
  for (int i = 0; i < count; i++) {
    const char *name = entries[i]->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.20s", *text ? " " : "",
               *name == '.' ? "+" : name);
    free(entries[i]);
  }
  free(entries);
  return text;
}

/* ---- saving and loading ---- */

START_TEST(what_is_saved_comes_back) {
  ck_assert_int_eq(save(12, 2), TG_OK);
  model m;
  name_arrays(&m);
  ck_assert_int_eq(tg_checkpoint_load(folder_of(12), &m.content), TG_OK);
  assert_filled(&m, 12);
}
END_TEST

START_TEST(weights_alone_can_be_read) {
  ck_assert_int_eq(save(12, 2), TG_OK);
  model m;
  name_arrays(&m);
  m.content.state_count = 0;
  m.content.model = NULL;
  ck_assert_int_eq(unlink(file_of(12, "state.safetensors")), 0);
  ck_assert_int_eq(tg_checkpoint_load(folder_of(12), &m.content), TG_OK);
  ck_assert_float_eq(m.w[5], value_of(12, 5));
  ck_assert_uint_eq(m.version[0], 0);
}
END_TEST

START_TEST(the_newest_and_the_first_are_kept) {
  uint64_t newest;
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_ENOINPUT);
  ck_assert_msg(strstr(tg_status_message(), "/checkpoints: no whole checkpoint"), "%s",
                tg_status_message());
  for (uint64_t u = 0; u <= 11; u++) ck_assert_int_eq(save(u, 3), TG_OK);
  ck_assert_str_eq(listing(), "0 9 10 11");
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_OK);
  ck_assert_uint_eq(newest, 11);
  ck_assert_int_eq(save(100, 1), TG_OK);
  ck_assert_str_eq(listing(), "0 100");
}
END_TEST

START_TEST(a_whole_one_is_left_as_it_is) {
  ck_assert_int_eq(save(5, 2), TG_OK);
  struct stat before, after;
  ck_assert_int_eq(stat(file_of(5, "weights.safetensors"), &before), 0);
  ck_assert_int_eq(save(5, 2), TG_OK);
  ck_assert_int_eq(stat(file_of(5, "weights.safetensors"), &after), 0);
  ck_assert_uint_eq(before.st_ino, after.st_ino);
  ck_assert_str_eq(listing(), "5");
}
END_TEST

START_TEST(leftovers_of_dead_processes_are_removed) {
  pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, NULL, 0);
  char path[160];
  ck_assert_int_eq(save(1, 2), TG_OK);
  snprintf(path, sizeof path, "%s/checkpoints/.7.%d.part", run, (int)dead);
  ck_assert_int_eq(mkdir(path, 0777), 0);
  snprintf(path, sizeof path, "%s/checkpoints/.7.%d.part/x", run, (int)dead);
  fclose(fopen(path, "w"));
  snprintf(path, sizeof path, "%s/checkpoints/.8.%d.part", run, (int)getppid());
  ck_assert_int_eq(mkdir(path, 0777), 0); /* of a process that lives */
  ck_assert_int_eq(save(2, 2), TG_OK);
  ck_assert_str_eq(listing(), "+ 1 2");
}
END_TEST

/* ---- broken ones ---- */

static void flip_byte(const char *path, long at) {
  FILE *file = fopen(path, "r+b");
  ck_assert_ptr_nonnull(file);
  fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
  int byte = fgetc(file);
  fseek(file, -1, SEEK_CUR);
  fputc(byte ^ 1, file);
  fclose(file);
}

static void put(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  ck_assert_ptr_nonnull(file);
  fputs(text, file);
  fclose(file);
}

static void break_it(int how) {
  char path[192];
  switch (how) {
  case 0:
    flip_byte(file_of(2, "weights.safetensors"), -5);
    break;
  case 1:
    flip_byte(file_of(2, "state.safetensors"), -1);
    break;
  case 2:
    ck_assert_int_eq(truncate(file_of(2, "state.safetensors"), 100), 0);
    break;
  case 3:
    unlink(file_of(2, "weights.safetensors"));
    break;
  case 4:
    unlink(file_of(2, "manifest.json"));
    break;
  case 5:
    put(file_of(2, "manifest.json"), "");
    break;
  case 6:
    put(file_of(2, "manifest.json"), "{\"format\": \"other\"}");
    break;
  case 7:
    put(file_of(2, "manifest.json"), "[1, 2");
    break;
  case 8:
    flip_byte(file_of(2, "weights.safetensors"), 0);
    break;
  default:
    snprintf(path, sizeof path, "%s", file_of(2, "weights.safetensors"));
    put(path, "longer and different");
  }
}

static const struct {
  tg_status status;
  const char *message;
} breakage[] = {{TG_EDATA, "weights.safetensors: hash "},
                {TG_EDATA, "state.safetensors: hash "},
                {TG_EDATA, "state.safetensors: offset 0: the header has "},
                {TG_ENOINPUT, "weights.safetensors: No such file"},
                {TG_ENOINPUT, "manifest.json: No such file"},
                {TG_EDATA, "manifest.json: offset 0: expected JSON: "},
                {TG_EDATA, "manifest.json: 'format': expected 'tardigrad checkpoint'"},
                {TG_EDATA, "manifest.json: offset 5: expected JSON: "},
                {TG_EDATA, "weights.safetensors: offset "},
                {TG_EDATA, "weights.safetensors: offset 0: the header has "}};

START_TEST(broken_ones_are_named_passed_over_and_replaced) {
  uint64_t newest;
  ck_assert_int_eq(save(1, 5), TG_OK);
  ck_assert_int_eq(save(2, 5), TG_OK);
  break_it(_i);
  model m;
  name_arrays(&m);
  ck_assert_int_eq(tg_checkpoint_load(folder_of(2), &m.content), breakage[_i].status);
  ck_assert_msg(strstr(tg_status_message(), breakage[_i].message), "%s", tg_status_message());
  ck_assert_uint_eq(m.version[0], 0);
  ck_assert_float_eq(m.w[1], 0);
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_OK);
  ck_assert_uint_eq(newest, 1);
  ck_assert_int_eq(save(2, 5), TG_OK);
  ck_assert_int_eq(tg_checkpoint_load(folder_of(2), &m.content), TG_OK);
  assert_filled(&m, 2);
  ck_assert_str_eq(listing(), "1 2");
}
END_TEST

START_TEST(a_broken_later_one_costs_no_earlier_one) {
  uint64_t newest;
  ck_assert_int_eq(save(10, 1), TG_OK);
  ck_assert_int_eq(save(20, 5), TG_OK);
  flip_byte(file_of(20, "weights.safetensors"), -1);
  ck_assert_int_eq(save(15, 1), TG_OK);
  ck_assert_str_eq(listing(), "15 20");
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_OK);
  ck_assert_uint_eq(newest, 15);
}
END_TEST

START_TEST(names_that_are_no_updates_are_ignored) {
  static const char *const names[] = {"007", "-3", "1x", "99999999999999999999", "best", " 5"};
  uint64_t newest;
  ck_assert_int_eq(save(3, 2), TG_OK);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[160];
    snprintf(path, sizeof path, "%s/checkpoints/%s", run, names[i]);
    ck_assert_int_eq(mkdir(path, 0777), 0);
  }
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_OK);
  ck_assert_uint_eq(newest, 3);
}
END_TEST

static void assert_refused(model *m, const char *message) {
  ck_assert_int_eq(tg_checkpoint_load(folder_of(4), &m->content), TG_EDATA);
  ck_assert_msg(strstr(tg_status_message(), message), "%s", tg_status_message());
  ck_assert_float_eq(m->w[1], 0);
}

START_TEST(other_models_are_refused) {
  ck_assert_int_eq(save(4, 2), TG_OK);
  model m;
  name_arrays(&m);
  m.weights[0].dim[1] = 99;
  assert_refused(&m,
                 "weights.safetensors: array 'fc1.weight' is F32 [30, 100]: expected F32 [30, 99]");
  name_arrays(&m);
  m.weights[0].nd = 1;
  m.weights[0].dim[0] = N;
  assert_refused(&m, "array 'fc1.weight' is F32 [30, 100]: expected F32 [3000]");
  name_arrays(&m);
  m.state[1].dtype = TG_ST_I64;
  assert_refused(&m, "state.safetensors: array 'version' is U64 [2]: expected I64 [2]");
  name_arrays(&m);
  strcpy(m.weights[1].name, "bn2.running_mean");
  assert_refused(&m, "weights.safetensors: array 'bn2.running_mean' is missing");
  name_arrays(&m);
  m.content.weight_count = 1;
  assert_refused(&m, "weights.safetensors: array 'bn1.running_mean' is not expected here");
  name_arrays(&m);
  m.content.model = "resnet20";
  assert_refused(&m, "a checkpoint of model 'mlp': expected 'resnet20'");
}
END_TEST

/* ---- accidents ---- */

/* A child that saves without end, killed after a random time: the next one goes on from the newest.
 */
static uint64_t save_until_killed(uint64_t from, uint32_t microseconds) {
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    for (uint64_t u = from;; u++)
      if (save(u, 2) != TG_OK) _exit(1);
  }
  struct timespec nap = {.tv_nsec = (long)microseconds * 1000};
  nanosleep(&nap, NULL);
  kill(child, SIGKILL);
  int how;
  ck_assert_int_eq(waitpid(child, &how, 0), child);
  ck_assert(WIFSIGNALED(how));
  uint64_t newest;
  ck_assert_int_eq(tg_checkpoint_newest(run, &newest), TG_OK);
  return newest;
}

START_TEST(kill_9_at_any_moment_leaves_whole_ones) {
  ck_assert_int_eq(save(0, 2), TG_OK);
  tg_rng r = tg_rng_open(9, TG_RNG_TEST, 4, 0);
  uint64_t newest = 0;
  uint32_t longest = 20000;
  for (int i = 0; i < 60; i++) {
    uint64_t before = newest;
    newest = save_until_killed(before + 1, tg_rng_below(&r, longest));
    if (newest == before) longest += longest / 4; /* slow machines need longer for one save */
    model m;
    name_arrays(&m);
    tg_status status = tg_checkpoint_load(folder_of(newest), &m.content);
    ck_assert_msg(status == TG_OK, "%s", tg_status_message());
    assert_filled(&m, newest);
    ck_assert_int_eq(access(folder_of(0), F_OK), 0);
  }
  ck_assert_uint_gt(newest, 0);
  ck_assert_int_eq(save(newest + 1, 2), TG_OK);
  ck_assert_ptr_null(strchr(listing(), '+'));
}
END_TEST

/* While the limit holds, Check cannot write down its own results either: nothing is asserted. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit = {bytes, RLIM_INFINITY};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(a_full_disk_is_a_failure_and_no_checkpoint) {
  ck_assert_int_eq(save(1, 2), TG_OK);
  /* Beyond the limit within the weights, within the state, and at the first byte. */
  static const rlim_t limits[] = {5000, 20000, 1};
  limit_files(limits[_i]);
  tg_status status = save(2, 2);
  limit_files(RLIM_INFINITY);
  ck_assert_int_eq(status, TG_ERUNTIME);
  ck_assert_msg(strstr(tg_status_message(), "cannot write: File too large"), "%s",
                tg_status_message());
  ck_assert_str_eq(listing(), "1");
  ck_assert_int_eq(save(2, 2), TG_OK);
  ck_assert_str_eq(listing(), "1 2");
}
END_TEST

START_TEST(a_missing_run_is_a_failure) {
  model m;
  name_arrays(&m);
  ck_assert_int_eq(tg_checkpoint_save("/nowhere/run", &m.content, 2), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(),
                   "/nowhere/run/checkpoints: cannot make the folder: No such file or directory");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("checkpoint");
  TCase *c = tcase_create("checkpoint");
  tcase_add_checked_fixture(c, make_run, remove_run);
  tcase_set_timeout(c, 120);
  tcase_add_test(c, what_is_saved_comes_back);
  tcase_add_test(c, weights_alone_can_be_read);
  tcase_add_test(c, the_newest_and_the_first_are_kept);
  tcase_add_test(c, a_whole_one_is_left_as_it_is);
  tcase_add_test(c, leftovers_of_dead_processes_are_removed);
  tcase_add_loop_test(c, broken_ones_are_named_passed_over_and_replaced, 0,
                      sizeof breakage / sizeof *breakage);
  tcase_add_test(c, a_broken_later_one_costs_no_earlier_one);
  tcase_add_test(c, names_that_are_no_updates_are_ignored);
  tcase_add_test(c, other_models_are_refused);
  tcase_add_test(c, kill_9_at_any_moment_leaves_whole_ones);
  tcase_add_loop_test(c, a_full_disk_is_a_failure_and_no_checkpoint, 0, 3);
  tcase_add_test(c, a_missing_run_is_a_failure);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
