/* Configuration: defaults, files, the command line, every kind of mistake, writing and reading
 * back. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/config_parts.h"
#include "run/text.h"
#include "tardigrad/rng.h"

static char folder[64], path[96];

static void make_folder(void) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.30s/config-XXXXXX", base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/c.yaml", folder);
}

static void remove_folder(void) {
  unlink(path);
  rmdir(folder);
}

static void put(const char *text, size_t length) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(text, 1, length, file), length);
  fclose(file);
}

static tg_config *load_ok(const char *text, const char *const *assignments, int count) {
  tg_config *config = NULL;
  if (text) put(text, strlen(text));
  tg_status status = tg_config_load(text ? path : NULL, assignments, count, &config);
  ck_assert_msg(status == TG_OK, "%s", tg_status_message());
  return config;
}

START_TEST(defaults_are_those_of_the_table) {
  tg_config *c = load_ok(NULL, NULL, 0), *empty = load_ok("", NULL, 0),
            *comment = load_ok("# nothing\n", NULL, 0);
  ck_assert_str_eq(c->run_name, "run");
  ck_assert_int_eq(c->run_threads, 0);
  ck_assert_int_eq(c->train_batch, 128);
  ck_assert_double_eq(c->sync_epsilon, 1e-7);
  ck_assert(isnan(c->sync_lambda) && isnan(c->optimizer_warmup_start));
  ck_assert(c->metrics_tensorboard);
  ck_assert_uint_eq(c->model_hidden.count, 2);
  ck_assert_int_eq(c->model_hidden.item[1], 128);
  ck_assert_uint_eq(c->optimizer_schedule.count, 0);
  ck_assert_str_eq(c->resume, "none");
  ck_assert_str_eq(empty->data_name, "fashion_mnist");
  ck_assert_str_eq(comment->data_name, "fashion_mnist");
  tg_config_free(c);
  tg_config_free(empty);
  tg_config_free(comment);
}
END_TEST

START_TEST(command_line_wins_over_file_over_default) {
  const char *const line[] = {"train.batch=7",    "model.hidden=3,2,1",
                              "resume=auto",      "optimizer.schedule=80:0.1,120:0.01",
                              "run.threads=auto", "train.batch=8"};
  tg_config *c = load_ok("train:\n  batch: 5\n  epochs: 2.5\nrun: {threads: 3, name: 'a b'}\n"
                         "optimizer:\n  schedule:\n    - epoch: 1\n      factor: 0.5\n",
                         line, 6);
  ck_assert_int_eq(c->train_batch, 8);
  ck_assert_double_eq(c->train_epochs, 2.5);
  ck_assert_int_eq(c->train_eval_batch, 256);
  ck_assert_int_eq(c->run_threads, 0);
  ck_assert_str_eq(c->run_name, "a b");
  ck_assert_uint_eq(c->model_hidden.count, 3);
  ck_assert_int_eq(c->model_hidden.item[2], 1);
  ck_assert_uint_eq(c->optimizer_schedule.count, 2);
  ck_assert_double_eq(c->optimizer_schedule.item[1].factor, 0.01);
  ck_assert_str_eq(c->resume, "auto");
  tg_config_free(c);
}
END_TEST

START_TEST(sections_hold_sections) {
  const char *const line[] = {"optimizer.gsgd.norm=published", "optimizer.gsgd.clamp=0.25"};
  const char *text = "optimizer:\n  gsgd:\n    skeleton: signs\n    clamp: 0\n  lr: 0.5\n";
  tg_config *c = load_ok(text, line, 2), *d = load_ok("optimizer: {gsgd: {}, lr: 2}", NULL, 0);
  ck_assert_str_eq(c->optimizer_gsgd_skeleton, "signs");
  ck_assert_str_eq(c->optimizer_gsgd_norm, "published");
  ck_assert_double_eq(c->optimizer_gsgd_clamp, 0.25);
  ck_assert_double_eq(c->optimizer_lr, 0.5);
  ck_assert_str_eq(d->optimizer_gsgd_skeleton, "auto");
  ck_assert_double_eq(d->optimizer_lr, 2);
  char *written = NULL;
  ck_assert_int_eq(tg_config_text(c, &written), TG_OK);
  const char *gsgd = strstr(written, "\n  gsgd:\n    skeleton: signs\n    norm: published\n");
  ck_assert_ptr_nonnull(gsgd);
  ck_assert_ptr_nonnull(strstr(gsgd, "\n    clamp: 0.25\nsync:\n"));
  free(written);
  tg_config_free(c);
  tg_config_free(d);
}
END_TEST

START_TEST(empty_lists_are_lists) {
  const char *const line[] = {"model.hidden="};
  tg_config *c = load_ok("model: {hidden: []}", NULL, 0), *d = load_ok(NULL, line, 1);
  ck_assert_uint_eq(c->model_hidden.count, 0);
  ck_assert_uint_eq(d->model_hidden.count, 0);
  tg_config_free(c);
  tg_config_free(d);
}
END_TEST

/* ---- mistakes ---- */

typedef struct mistake {
  const char *text, *assignment; /* either may be NULL */
  const char *message;           /* behind the name of the file */
} mistake;

static const char *const SECTIONS = "run, data, model, train, optimizer, sync, server, transport, "
                                    "sim, device, checkpoint, metrics, probe, chaos";

#define CL "command line: "
static const mistake mistakes[] = {
    {"run:\n  naem: 3\n", NULL, ":2: run.naem: unknown key (nearest: run.name)"},
    {"run:\n  name: x\n\n# c\n  bogus_key_xyz: 1\n", NULL,
     ":5: run.bogus_key_xyz: unknown key (known: name, dir, seed, threads, timeout_s, "
     "piece_bytes)"},
    {"\nrnu:\n  a: 1\n", NULL, ":2: rnu: unknown key (nearest: run)"},
    {"lr: 1\n", NULL, ":1: lr: unknown key (nearest: optimizer.lr)"},
    {"train:\n  lr: 1\n", NULL, ":2: train.lr: unknown key (nearest: optimizer.lr)"},
    {"sync: {lamda: 1}", NULL, ":1: sync.lamda: unknown key (nearest: sync.lambda)"},
    {"train.batch: 3", NULL,
     ":1: train.batch: keys are written below their section: 'train:', and in it 'batch: ...'"},
    {"optimizer.gsgd.norm: exact", NULL,
     ":1: optimizer.gsgd.norm: keys are written below their section: 'optimizer:', in it 'gsgd:', "
     "and in it 'norm: ...'"},
    {"optimizer:\n  gsgd.norm: exact", NULL,
     ":2: optimizer.gsgd.norm: keys are written below their section: 'optimizer:', in it 'gsgd:', "
     "and in it 'norm: ...'"},
    {"optimizer.gsgd: {}", NULL,
     ":1: optimizer.gsgd: keys are written below their section: 'optimizer:', and in it 'gsgd: "
     "...'"},
    {"gsgd: {norm: exact}", NULL, ":1: gsgd: unknown key (nearest: optimizer.gsgd)"},
    {"optimizer:\n  gsgd: exact\n", NULL,
     ":2: optimizer.gsgd: expected a mapping of keys, found a single value"},
    {"optimizer:\n  gsgd:\n", NULL,
     ":2: optimizer.gsgd: expected a mapping of keys, found a single value"},
    {"optimizer:\n  gsgd: [norm]\n", NULL,
     ":2: optimizer.gsgd: expected a mapping of keys, found a list"},
    {"optimizer:\n  gsgd:\n    norm: {a: b}\n", NULL,
     ":3: optimizer.gsgd.norm: expected a single value, found a mapping of keys"},
    {"optimizer:\n  gsgd:\n    norm: exactly\n", NULL,
     ":3: optimizer.gsgd.norm: 'exactly' is not one of exact|published"},
    {"optimizer:\n  gsgd:\n    skelton: ones\n", NULL,
     ":3: optimizer.gsgd.skelton: unknown key (nearest: optimizer.gsgd.skeleton)"},
    {"optimizer:\n  gsgd:\n    bogus_key_xyz: 1\n", NULL,
     ":3: optimizer.gsgd.bogus_key_xyz: unknown key (known: skeleton, norm, clamp)"},
    {"optimizer:\n  gsgd:\n    lr: 1\n", NULL,
     ":3: optimizer.gsgd.lr: unknown key (nearest: optimizer.lr)"},
    {"optimizer:\n  gsdg: {norm: exact}\n", NULL,
     ":2: optimizer.gsdg: unknown key (nearest: optimizer.gsgd)"},
    {"optimizer:\n  gsgd_norm: exact\n", NULL,
     ":2: optimizer.gsgd_norm: unknown key (nearest: optimizer.gsgd.norm)"},
    {"optimizer:\n  gsgd: {norm: exact}\n  gsgd: {clamp: 0}\n", NULL,
     ":3: optimizer.gsgd: given twice"},
    {"optimizer:\n  gsgd: {clamp: 0,\n    clamp: 1}\n", NULL,
     ":3: optimizer.gsgd.clamp: given twice"},
    {"'<<': {a: 1}\n", NULL, NULL},
    {"run:\n  name: a\n  dir: b\n  name: c\n", NULL, ":4: run.name: given twice"},
    {"run: {name: a}\ndata: {path: b}\nrun: {dir: c}\n", NULL, ":3: run: given twice"},
    {"resume: auto\nresume: none\n", NULL, ":2: resume: given twice"},
    {"train:\n  batch: 1x2\n", NULL, ":2: train.batch: '1x2' is not an integer"},
    {"train:\n  batch: 1e3\n", NULL, ":2: train.batch: '1e3' is not an integer"},
    {"train:\n  batch: 1.5\n", NULL, ":2: train.batch: '1.5' is not an integer"},
    {"train:\n  batch:\n", NULL, ":2: train.batch: '' is not an integer"},
    {"train:\n  batch: 0\n", NULL, ":2: train.batch: 0 is out of range: 1 to 1048576"},
    {"train:\n  batch: -7\n", NULL, ":2: train.batch: -7 is out of range: 1 to 1048576"},
    {"run:\n  seed: 99999999999999999999\n", NULL,
     ":2: run.seed: 99999999999999999999 is out of range: 0 to 9007199254740991"},
    {"train:\n  epochs: many\n", NULL, ":2: train.epochs: 'many' is not a number"},
    {"train:\n  epochs: .nan\n", NULL, ":2: train.epochs: '.nan' is not a number"},
    {"train:\n  epochs: inf\n", NULL, ":2: train.epochs: 'inf' is not a number"},
    {"train:\n  epochs: 0x10\n", NULL, ":2: train.epochs: '0x10' is not a number"},
    {"train:\n  epochs: 0.1zz\n", NULL, ":2: train.epochs: '0.1zz' is not a number"},
    {"optimizer: {lr: 1e999}", NULL, ":1: optimizer.lr: 1e999 is out of range: 0 to 1000000"},
    {"metrics: {tensorboard: ture}", NULL,
     ":1: metrics.tensorboard: 'ture' is neither true nor false"},
    {"sim: {order: trac}", NULL,
     ":1: sim.order: 'trac' is not one of round_robin|exponential|lognormal|trace"},
    {"sim: {order: round}", NULL,
     ":1: sim.order: 'round' is not one of round_robin|exponential|lognormal|trace"},
    {"resume: always", NULL, ":1: resume: 'always' is not one of none|auto"},
    {"run: 5\n", NULL, ":1: run: expected a mapping of keys, found a single value"},
    {"run:\n", NULL, ":1: run: expected a mapping of keys, found a single value"},
    {"run: [a]\n", NULL, ":1: run: expected a mapping of keys, found a list"},
    {"run:\n  name: [a]\n", NULL, ":2: run.name: expected a single value, found a list"},
    {"run:\n  name: {a: b}\n", NULL,
     ":2: run.name: expected a single value, found a mapping of keys"},
    {"run:\n  name: [[[[[[[[[[[[1]]]]]]]]]]]]\n", NULL,
     ":2: run.name: expected a single value, found a list"},
    {"model:\n  hidden: 5\n", NULL, ":2: model.hidden: expected a list, found a single value"},
    {"model:\n  hidden: [1,\n    2x]\n", NULL, ":3: model.hidden[1]: '2x' is not an integer"},
    {"model:\n  hidden: [0]\n", NULL, ":2: model.hidden[0]: 0 is out of range: 1 to 1000000"},
    {"optimizer:\n  schedule:\n  - {epoch: 3, factor: 0.1}\n  - {epoch: 4}\n", NULL,
     ":4: optimizer.schedule[1]: lacks 'factor'"},
    {"optimizer:\n  schedule:\n  - {epoch: 3, fctor: 0.1}\n", NULL,
     ":3: optimizer.schedule[0].fctor: unknown key (known: epoch, factor)"},
    {"optimizer:\n  schedule:\n  - {epoch: 3, factor: [0.1]}\n", NULL,
     ":3: optimizer.schedule[0].factor: expected a single value, found a list"},
    {"optimizer:\n  schedule:\n  - {epoch: 3, epoch: 4}\n", NULL,
     ":3: optimizer.schedule[0].epoch: given twice"},
    {"optimizer:\n  schedule:\n  - 3\n", NULL,
     ":3: optimizer.schedule[0]: expected a mapping of keys, found a single value"},
    {"optimizer:\n  schedule:\n  - {epoch: 3, factor: 0.1}\n  - {epoch: 3, factor: 0.1}\n", NULL,
     ":4: optimizer.schedule[1].epoch: epochs must ascend: 3 after 3"},
    {"optimizer:\n  schedule:\n  - epoch: 3\n    factor: 0\n", NULL,
     ":4: optimizer.schedule[0].factor: must be above 0"},
    {"optimizer:\n  schedule:\n  - {epoch: -3, factor: 1}\n", NULL,
     ":3: optimizer.schedule[0].epoch: -3 is out of range: 0 to 1000000000"},
    {"optimizer:\n  schedule:\n  - {epoch: x, factor: 1}\n", NULL,
     ":3: optimizer.schedule[0].epoch: 'x' is not a number"},
    {"run:\n  name: &x a\n  dir: *x\n", NULL,
     ":3: run.dir: aliases are not supported: write the value itself"},
    {"*x", NULL, ":1: aliases are not supported: write the value itself"},
    {"run: {name: a}\n---\nrun: {name: b}\n", NULL, ":2: a second document begins: expected one"},
    {"run: {name: \"a\\0b\"}\n", NULL, ":1: a value holds a zero byte"},
    {"run:\n  name: \"a\\nb\"\n", NULL,
     ":2: run.name: 'a?b' holds a control character or is not UTF-8"},
    {"\n#x\n[1]", NULL, ":3: expected a mapping of keys, found a list"},
    {"just", NULL, ":1: expected a mapping of keys, found a single value"},
    {"{[1]: 2}", NULL, ":1: expected a single word as key"},
    {"run: {? {a: b} : 2}", NULL, ":1: expected a single word as key"},
    {"\n\n\n\xff\x81zzz", NULL, ":4: not YAML: invalid leading UTF-8 octet"},
    {"run:\n\tname: x\n", NULL,
     ":2: not YAML: found character that cannot start any token, while scanning for the next "
     "token from line 2 on"},
    {"run: {name: \"unterminated\n\n", NULL,
     ":3: not YAML: found unexpected end of stream, while scanning a quoted scalar from line 1 "
     "on"},
    {"%YAML 3.0\n---\na: 1", NULL, ":1: not YAML: found incompatible YAML document"},
    {"run: {name: ../x}", NULL,
     ":1: run.name: '../x' is not the name of one folder (run.dir is the folder that holds it)"},
    {"run: {name: ..}", NULL,
     ":1: run.name: '..' is not the name of one folder (run.dir is the folder that holds it)"},
    {"run: {name: ''}", NULL, ":1: run.name: empty: expected the name of a folder"},
    {"run: {dir: ''}", NULL, ":1: run.dir: empty: expected a folder"},
    {"sim: {workers: 4,\n  order: trace}", NULL,
     ":2: sim.order: trace needs sim.trace, the trace.bin of a recorded run"},
    {"sim:\n  slow_workers: 5\n", NULL,
     ":2: sim.slow_workers: 5 slow workers are more than sim.workers=4"},
    {"optimizer:\n  warmup_start: 0.5\n", NULL,
     ":2: optimizer.warmup_start: needs optimizer.warmup_epochs above 0"},
    {NULL, "sim.slow_workers=5", CL "sim.slow_workers: 5 slow workers are more than sim.workers=4"},
    {NULL, "trian.batch=3", CL "trian.batch: unknown key (nearest: train.batch)"},
    {NULL, "batch=3", CL "batch: unknown key (nearest: train.batch)"},
    {NULL, "train=3", CL "train: a section: expected train.key=value"},
    {NULL, "optimizer.gsgd=ones",
     CL "optimizer.gsgd: a section: expected optimizer.gsgd.key=value"},
    {NULL, "gsgd=ones", CL "gsgd: unknown key (nearest: optimizer.gsgd)"},
    {NULL, "optimizer.gsgd.skelton=ones",
     CL "optimizer.gsgd.skelton: unknown key (nearest: optimizer.gsgd.skeleton)"},
    {NULL, "optimizer.gsgd_skeleton=ones",
     CL "optimizer.gsgd_skeleton: unknown key (nearest: optimizer.gsgd.skeleton)"},
    {NULL, "optimizer.gsdg.skeleton=ones",
     CL "optimizer.gsdg.skeleton: unknown key (nearest: optimizer.gsgd.skeleton)"},
    {NULL, "gsgd.norm=exact", CL "gsgd.norm: unknown key (nearest: optimizer.gsgd.norm)"},
    {NULL, "optimizer.norm=exact", CL "optimizer.norm: unknown key (nearest: optimizer.gsgd.norm)"},
    {NULL, "optimizer.gsgd.norm=none",
     CL "optimizer.gsgd.norm: 'none' is not one of exact|published"},
    {NULL, "resum=auto", CL "resum: unknown key (nearest: resume)"},
    {NULL, "run.nam\ne=auto", CL "run.nam?e: unknown key (nearest: run.name)"},
    {NULL, "run.seed=", CL "run.seed: '' is not an integer"},
    {NULL, "run.seed= 5", CL "run.seed: ' 5' is not an integer"},
    {NULL, "run.threads=all", CL "run.threads: 'all' is not an integer"},
    {NULL, "optimizer.lr=nan", CL "optimizer.lr: 'nan' is not a number"},
    {NULL, "optimizer.lr=-1", CL "optimizer.lr: -1 is out of range: 0 to 1000000"},
    {NULL, "optimizer.schedule=1:2:3",
     CL "optimizer.schedule: expected epoch:factor,epoch:factor,..."},
    {NULL, "optimizer.schedule=1,2",
     CL "optimizer.schedule: expected epoch:factor,epoch:factor,..."},
    {NULL, "optimizer.schedule=5:1,2:1",
     CL "optimizer.schedule[1].epoch: epochs must ascend: 2 after 5"},
    {NULL, "model.hidden=1,,2", CL "model.hidden[1]: '' is not an integer"},
    {NULL, "model.hidden=1:2", CL "model.hidden: expected integers like 256,128"},
    {NULL, "run.name=", CL "run.name: empty: expected the name of a folder"},
    {NULL, "run.name=\xff", CL "run.name: '?' holds a control character or is not UTF-8"},
};

START_TEST(mistakes_are_named_in_one_line) {
  const mistake *m = &mistakes[_i];
  tg_config *config = NULL;
  char expected[512], all[256];
  if (m->text) put(m->text, strlen(m->text));
  snprintf(all, sizeof all, ":1: <<: unknown section (known: %s)", SECTIONS);
  snprintf(expected, sizeof expected, "%s%s", m->text ? path : "", m->message ? m->message : all);
  tg_status status =
      tg_config_load(m->text ? path : NULL, &m->assignment, m->assignment != NULL, &config);
  ck_assert_str_eq(status ? tg_status_message() : "no failure", expected);
  ck_assert_int_eq(status, TG_ECONFIG);
  ck_assert_ptr_null(config);
}
END_TEST

START_TEST(a_word_without_equals_is_a_wrong_command_line) {
  tg_config *config = NULL;
  const char *const line[] = {"fooo"};
  ck_assert_int_eq(tg_config_load(NULL, line, 1, &config), TG_EUSAGE);
  ck_assert_str_eq(tg_status_message(), "command line: 'fooo': expected section.key=value");
}
END_TEST

START_TEST(files_that_are_none) {
  tg_config *config = NULL;
  ck_assert_int_eq(tg_config_load("/nowhere/c.yaml", NULL, 0, &config), TG_ENOINPUT);
  ck_assert_str_eq(tg_status_message(), "/nowhere/c.yaml: No such file or directory");
  ck_assert_int_eq(tg_config_load(folder, NULL, 0, &config), TG_ENOINPUT);
  ck_assert_int_eq(tg_config_load("/dev/zero", NULL, 0, &config), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "/dev/zero: larger than 1048576 bytes: not a configuration");
}
END_TEST

START_TEST(huge_and_deep_texts_end_soon) {
  enum { BYTES = 1 << 20 };
  static const struct {
    const char *head, *body;
  } shapes[] = {{"", "["},
                {"", "{a: "},
                {"", "a: \n "},
                {"run: {name: ", "["},
                {"run: {name: '", "x"},
                {"model: {hidden: [", "1,"},
                {"", "- "},
                {"", "? "},
                {"run: {name: ", "\"a\" "}};
  char *text = malloc(BYTES);
  ck_assert_ptr_nonnull(text);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    size_t head = strlen(shapes[i].head), body = strlen(shapes[i].body);
    memcpy(text, shapes[i].head, head);
    for (size_t at = head; at < BYTES; at++) text[at] = shapes[i].body[(at - head) % body];
    put(text, BYTES);
    tg_config *config = NULL;
    ck_assert_int_eq(tg_config_load(path, NULL, 0, &config), TG_ECONFIG);
    ck_assert_uint_lt(strlen(tg_status_message()), 512);
  }
  free(text);
}
END_TEST

/* ---- writing and reading back ---- */

static void assert_same(const tg_config *a, const tg_config *b) {
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    char **wa, **wb;
    size_t na, nb;
    ck_assert_int_eq(tg_option_words(a, o, &wa, &na), TG_OK);
    ck_assert_int_eq(tg_option_words(b, o, &wb, &nb), TG_OK);
    ck_assert_msg(na == nb, "%s", o->name);
    for (size_t j = 0; j < na; j++) ck_assert_msg(strcmp(wa[j], wb[j]) == 0, "%s", o->name);
    tg_words_free(wa);
    tg_words_free(wb);
    const char *pa = (const char *)a + o->offset, *pb = (const char *)b + o->offset;
    if (o->kind == TG_OPTION_REAL && na) ck_assert_mem_eq(pa, pb, sizeof(double));
    if (o->kind == TG_OPTION_STEPS)
      ck_assert_mem_eq(((const tg_step_list *)pa)->item, ((const tg_step_list *)pb)->item,
                       na / 2 * sizeof(tg_schedule_step));
  }
}

/* A value other than the default; all of them together contradict nothing. */
static void another_value(const tg_option *o, char out[128]) {
  switch (o->kind) {
  case TG_OPTION_TEXT: {
    const char *last = strrchr(o->values, '|');
    if (!last)
      snprintf(out, 128, "x: \"%s\" # 'é' \\ ~", o->key);
    else if (strcmp(last + 1, o->initial) == 0)
      snprintf(out, 128, "%.*s", (int)strcspn(o->values, "|"), o->values);
    else
      snprintf(out, 128, "%s", last + 1);
    break;
  }
  case TG_OPTION_INT:
  case TG_OPTION_AUTO:
    snprintf(out, 128, "%.0f", strcmp(o->name, "sim.slow_workers") ? o->max - 3 : 2);
    break;
  case TG_OPTION_REAL:
    snprintf(out, 128, "%.17g", o->min + (o->max - o->min) / 3.0);
    break;
  case TG_OPTION_BOOL:
    snprintf(out, 128, "%s", *o->initial == 't' ? "false" : "true");
    break;
  case TG_OPTION_INTS:
    snprintf(out, 128, "7,1,65536");
    break;
  case TG_OPTION_STEPS:
    snprintf(out, 128, "0.1:0.33333333333333331,1e2:1e-300");
    break;
  }
}

START_TEST(every_key_survives_writing) {
  enum { MOST = 256 };
  static char values[MOST][128], words[MOST][192];
  const char *line[MOST];
  ck_assert_uint_le(tg_option_count, MOST);
  for (size_t i = 0; i < tg_option_count; i++) {
    another_value(&tg_options[i], values[i]);
    snprintf(words[i], sizeof words[i], "%.60s=%.127s", tg_options[i].name, values[i]);
    line[i] = words[i];
  }
  tg_config *c = load_ok(NULL, line, (int)tg_option_count), *plain = load_ok(NULL, NULL, 0);
  for (size_t i = 0; i < tg_option_count; i++) {
    char **a, **b;
    size_t na, nb;
    ck_assert_int_eq(tg_option_words(c, &tg_options[i], &a, &na), TG_OK);
    ck_assert_int_eq(tg_option_words(plain, &tg_options[i], &b, &nb), TG_OK);
    ck_assert_msg(na != nb || strcmp(a[0], b[0]) != 0, "%s is still its default",
                  tg_options[i].name);
    tg_words_free(a);
    tg_words_free(b);
  }
  FILE *file = fopen(path, "w");
  ck_assert_int_eq(tg_config_write(c, file), TG_OK);
  fclose(file);
  tg_config *from_file = NULL, *from_text = NULL;
  tg_status status = tg_config_load(path, NULL, 0, &from_file);
  ck_assert_msg(status == TG_OK, "%s", tg_status_message());
  assert_same(c, from_file);
  char *text = NULL;
  ck_assert_int_eq(tg_config_text(c, &text), TG_OK);
  ck_assert_int_eq(tg_config_parse(text, &from_text), TG_OK);
  assert_same(c, from_text);
  free(text);
  tg_config_free(c);
  tg_config_free(plain);
  tg_config_free(from_file);
  tg_config_free(from_text);
}
END_TEST

START_TEST(defaults_survive_writing_and_unset_stays_unset) {
  tg_config *c = load_ok(NULL, NULL, 0), *d = NULL;
  char *text = NULL;
  ck_assert_int_eq(tg_config_text(c, &text), TG_OK);
  ck_assert_ptr_null(strstr(text, "lambda"));
  ck_assert_ptr_null(strstr(text, "warmup_start"));
  ck_assert_ptr_nonnull(strstr(text, "\n  threads: auto\n"));
  ck_assert_ptr_nonnull(strstr(text, "\n  epsilon: 1.0e-07\n"));
  ck_assert_int_eq(tg_config_parse(text, &d), TG_OK);
  assert_same(c, d);
  ck_assert(isnan(d->sync_lambda));
  free(text);
  tg_config_free(c);
  tg_config_free(d);
}
END_TEST

/* Longer than the lines that emitters like to fold, and with two blanks where they might. */
#define LONG_TEXT                                                                                  \
  ("0123456789 123456789 123456789 123456789 123456789 123456789 123456789 12345678  0123456789 "  \
   "123456789")

START_TEST(odd_texts_survive_writing) {
  static const char *const odd[] = {"null",   "~",
                                    "true",   "12",
                                    "1e3",    " lead",
                                    "trail ", "- a",
                                    "a: b",   "#c",
                                    "&x",     "*x",
                                    "!t",     "%",
                                    "@",      "`",
                                    "''",     "\"\"",
                                    "\\",     "{}",
                                    "[]",     "é\u20ac\U0001F43B",
                                    "|",      ">",
                                    "---",    LONG_TEXT};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    char word[256], *text = NULL;
    snprintf(word, sizeof word, "data.path=%s", odd[i]);
    const char *const line[] = {word};
    tg_config *c = load_ok(NULL, line, 1), *d = NULL;
    ck_assert_int_eq(tg_config_text(c, &text), TG_OK);
    tg_status status = tg_config_parse(text, &d);
    ck_assert_msg(status == TG_OK, "%s", tg_status_message());
    ck_assert_str_eq(d->data_path, odd[i]);
    free(text);
    tg_config_free(c);
    tg_config_free(d);
  }
}
END_TEST

START_TEST(reals_are_short_and_exact) {
  char text[TG_REAL_CHARS];
  ck_assert_str_eq(tg_text_real(0.1, text), "0.1");
  ck_assert_str_eq(tg_text_real(1e-7, text), "1.0e-07");
  ck_assert_str_eq(tg_text_real(1.0 / 3.0, text), "0.3333333333333333");
  ck_assert_str_eq(tg_text_real(-0.0, text), "-0");
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 1, 0);
  for (int i = 0; i < 200000; i++) {
    uint64_t bits = (uint64_t)tg_rng_u32(&r) << 32 | tg_rng_u32(&r);
    double value, back;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) continue;
    back = strtod(tg_text_real(value, text), NULL);
    ck_assert_mem_eq(&back, &value, sizeof value);
  }
}
END_TEST

/* ---- mutations ---- */

START_TEST(mutated_files_load_or_are_refused_in_one_line) {
  static const char base[] =
      "run:\n  name: \"a\"\n  threads: auto\nmodel:\n  hidden: [256, 128]\noptimizer:\n  lr: 0.1\n"
      "  schedule:\n  - {epoch: 80, factor: 0.1}\n  - epoch: 1.2e+02\n    factor: 0.5\n"
      "  gsgd:\n    norm: exact\n    clamp: 0.1\n"
      "sim: {order: round_robin}\nmetrics:\n  tensorboard: true # yes\nresume: none\n";
  static const char bytes[] = "\n\n  ::--[]{},,&*!|>'\"%@#?\t0.x\x80\xff";
  tg_rng r = tg_rng_open(7, TG_RNG_TEST, 2, 0);
  for (int i = 0; i < 4000; i++) {
    char text[sizeof base + 8];
    size_t length = sizeof base - 1;
    memcpy(text, base, length);
    for (uint32_t k = tg_rng_below(&r, 4) + 1; k > 0; k--) {
      size_t at = tg_rng_below(&r, (uint32_t)length);
      char byte = bytes[tg_rng_below(&r, sizeof bytes - 1)];
      switch (tg_rng_below(&r, 3)) {
      case 0:
        text[at] = byte;
        break;
      case 1:
        memmove(text + at + 1, text + at, length - at);
        text[at] = byte;
        length++;
        break;
      default:
        memmove(text + at, text + at + 1, --length - at);
        break;
      }
    }
    put(text, length);
    tg_config *config = NULL;
    tg_status status = tg_config_load(path, NULL, 0, &config);
    if (status == TG_OK) {
      tg_config_free(config);
      continue;
    }
    ck_assert_int_eq(status, TG_ECONFIG);
    const char *message = tg_status_message();
    ck_assert_msg(strncmp(message, path, strlen(path)) == 0, "%s", message);
    ck_assert_msg(message[strlen(path)] == ':' && !strchr(message, '\n'), "%s", message);
    ck_assert_msg(!strstr(message, "nternal"), "%s\n%.*s", message, (int)length, text);
  }
}
END_TEST

/* ---- tables for people ---- */

static char *captured(void (*print)(FILE *)) {
  char *text = NULL;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  print(stream);
  fclose(stream);
  return text;
}

START_TEST(every_key_is_in_every_table) {
  char *help = captured(tg_config_help), *man = captured(tg_config_man),
       *markdown = captured(tg_config_markdown);
  for (size_t i = 0; i < tg_option_count; i++) {
    char cell[96];
    snprintf(cell, sizeof cell, "| `%s` |", tg_options[i].name);
    ck_assert_ptr_nonnull(strstr(help, tg_options[i].name));
    ck_assert_ptr_nonnull(strstr(man, tg_options[i].name));
    ck_assert_ptr_nonnull(strstr(markdown, cell));
  }
  for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
    ck_assert_msg(strlen(line) < 80, "%s", line);
  for (char *line = strtok(markdown, "\n"); line; line = strtok(NULL, "\n")) {
    int bars = 0;
    for (char *c = line; *c; c++) bars += *c == '|' && (c == line || c[-1] != '\\');
    ck_assert_msg(bars == 5, "%s", line);
  }
  free(help);
  free(man);
  free(markdown);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("config");
  TCase *c = tcase_create("config");
  tcase_add_checked_fixture(c, make_folder, remove_folder);
  tcase_set_timeout(c, 60);
  tcase_add_test(c, defaults_are_those_of_the_table);
  tcase_add_test(c, command_line_wins_over_file_over_default);
  tcase_add_test(c, sections_hold_sections);
  tcase_add_test(c, empty_lists_are_lists);
  tcase_add_loop_test(c, mistakes_are_named_in_one_line, 0, sizeof mistakes / sizeof *mistakes);
  tcase_add_test(c, a_word_without_equals_is_a_wrong_command_line);
  tcase_add_test(c, files_that_are_none);
  tcase_add_test(c, huge_and_deep_texts_end_soon);
  tcase_add_test(c, every_key_survives_writing);
  tcase_add_test(c, defaults_survive_writing_and_unset_stays_unset);
  tcase_add_test(c, odd_texts_survive_writing);
  tcase_add_test(c, reals_are_short_and_exact);
  tcase_add_test(c, mutated_files_load_or_are_refused_in_one_line);
  tcase_add_test(c, every_key_is_in_every_table);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
