/* cmd_paths.c - tardigrad paths: the path space of a model. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/net.h"

/* What is known of one block, or of all together. */
typedef struct row {
  tg_path_counts counts;
  bool basis; /* whether skeletons are one */
  tg_path_check check;
} row;

typedef struct table {
  const tg_outline *outline;
  row *row; /* [blocks] */
  row total;
  size_t outside; /* parameters of no block */
  bool checked, holds;
} table;

static const char *yes_or_no(bool yes) {
  return yes ? "true" : "false";
}

/* What an update in path space changes. */
static size_t trainable(const tg_path_counts *c) {
  return c->weights + c->biases - c->frozen;
}

static void add(tg_path_counts *sum, const tg_path_counts *c) {
  sum->weights += c->weights;
  sum->biases += c->biases;
  sum->hidden += c->hidden;
  sum->rank += c->rank;
  sum->frozen += c->frozen;
  sum->trained += c->trained;
}

/* ---- for people ---- */

static void print_counts(const char *name, const row *r) {
  const tg_path_counts *c = &r->counts;
  printf("%-14s %10zu %8zu %8zu %10zu %8zu %8zu", name, c->weights, c->biases, c->hidden, c->rank,
         c->frozen, c->trained);
}

/* Widths as they follow each other, with "3x" before those that come three times. */
static void print_widths(const tg_path_block *b) {
  for (int n = 0, last; n <= b->count; n = last + 1) {
    size_t width = tg_path_width(b, n);
    for (last = n; last < b->count && tg_path_width(b, last + 1) == width; last++) continue;
    printf(n ? " " : "  ");
    if (last > n) printf("%dx", last - n + 1);
    printf("%zu", width);
  }
}

static void print_block(const tg_path_block *b, const row *r) {
  print_counts(b->name, r);
  print_widths(b);
  if (b->special > 0) printf(", %s", b->layer[b->special - 1].name);
  putchar('\n');
}

static void print_no_basis(const tg_path_block *b, const row *r) {
  printf("%s: no basis, since %s: %zu weights would train, m-H is %zu\n", b->name,
         b->special > 0 ? "hidden widths do not rise and then fall" : "it has no hidden units",
         trainable(&r->counts), r->counts.rank);
}

static void print_check(const tg_path_block *b, const row *r) {
  const tg_path_check *c = &r->check;
  if (c->done && !r->basis)
    printf(
        "%s: does not hold: all %.0f paths have rank %zu, m-H is %zu, and no paths are a basis\n",
        b->name, c->paths, c->rank, r->counts.rank);
  else if (!c->done)
    printf("%s: not checked: %.3g paths of %zu weights, more than %d of %d\n", b->name, c->paths,
           r->counts.weights + r->counts.biases, (int)TG_MOST_PATHS, (int)TG_MOST_PATH_WEIGHTS);
  else
    printf("%s: %s: all %.0f paths have rank %zu, %zu basis paths %zu, both %zu; m-H is %zu\n",
           b->name, c->holds ? "holds" : "does not hold", c->paths, c->rank, c->basis,
           c->basis_rank, c->joint, r->counts.rank);
}

static void print_text(const table *t) {
  const tg_paths *paths = t->outline->paths;
  printf("%-14s %10s %8s %8s %10s %8s %8s  %s\n", "block", "weights", "biases", "hidden", "rank",
         "frozen", "trained", "widths, layer of the trained skeletons");
  for (size_t i = 0; i < paths->count; i++) print_block(&paths->block[i], &t->row[i]);
  print_counts("total", &t->total);
  printf("\n%-14s %10zu parameters\n", "outside", t->outside);
  for (size_t i = 0; i < paths->count; i++)
    if (!t->row[i].basis) print_no_basis(&paths->block[i], &t->row[i]);
  for (size_t i = 0; i < paths->count && t->checked; i++) print_check(&paths->block[i], &t->row[i]);
}

/* ---- for programs ---- */

static void json_counts(const row *r) {
  const tg_path_counts *c = &r->counts;
  printf("\"weights\": %zu, \"biases\": %zu, \"hidden\": %zu, \"rank\": %zu, \"frozen\": %zu, "
         "\"trained\": %zu, \"trainable\": %zu",
         c->weights, c->biases, c->hidden, c->rank, c->frozen, c->trained, trainable(c));
}

static void json_layers(const tg_path_block *b) {
  printf(", \"layers\": [");
  for (int l = 0; l < b->count; l++) {
    const tg_path_layer *y = &b->layer[l];
    printf("%s{\"name\": \"%s\", \"in\": %zu, \"out\": %zu, \"taps\": %zu, \"special\": %s, "
           "\"hollow\": %s}",
           l ? ", " : "", y->name, y->in, y->out, y->taps, yes_or_no(l + 1 == b->special),
           yes_or_no(y->hollow));
  }
  putchar(']');
}

static void json_check(const tg_path_check *c) {
  printf(", \"check\": ");
  if (c->done)
    printf("{\"paths\": %.0f, \"rank\": %zu, \"basis\": %zu, \"basis_rank\": %zu, \"joint_rank\": "
           "%zu, \"holds\": %s}",
           c->paths, c->rank, c->basis, c->basis_rank, c->joint, yes_or_no(c->holds));
  else
    printf("null");
}

static void print_json(const table *t) {
  const tg_paths *paths = t->outline->paths;
  printf("{\"model\": \"%s\", \"parameters\": %zu, \"outside\": %zu, ", t->outline->model_name,
         t->outline->graph->n, t->outside);
  json_counts(&t->total);
  printf(", \"basis\": %s,\n \"blocks\": [", yes_or_no(t->total.basis));
  for (size_t i = 0; i < paths->count; i++) {
    printf("%s{\"name\": \"%s\", ", i ? ",\n  " : "\n  ", paths->block[i].name);
    json_counts(&t->row[i]);
    printf(", \"basis\": %s", yes_or_no(t->row[i].basis));
    json_layers(&paths->block[i]);
    if (t->checked) json_check(&t->row[i].check);
    putchar('}');
  }
  printf("]}\n");
}

/* ---- the command ---- */

static tg_status fill(bool check, table *t) {
  const tg_paths *paths = t->outline->paths;
  t->checked = check;
  t->holds = t->total.basis = true;
  for (size_t i = 0; i < paths->count; i++) {
    const tg_path_block *b = &paths->block[i];
    row *r = &t->row[i];
    r->counts = tg_path_count(b);
    r->basis = b->special > 0 && tg_path_rises(b);
    add(&t->total.counts, &r->counts);
    t->total.basis &= r->basis;
    if (check) TG_TRY(tg_path_verify(b, &r->check));
    t->holds &= r->basis && (r->check.holds || !r->check.done);
  }
  t->outside = t->outline->graph->n - t->total.counts.weights - t->total.counts.biases;
  return TG_OK;
}

static tg_status show(const tg_args *args, const tg_outline *outline) {
  table t = {.outline = outline};
  if (outline->paths->count == 0)
    TG_FAIL(TG_ECONFIG, "paths: model %s has no path blocks", outline->model_name);
  t.row = calloc(outline->paths->count, sizeof *t.row);
  if (!t.row) TG_FAIL(TG_ERUNTIME, "no memory for %zu path blocks", outline->paths->count);
  tg_status status = fill(args->check, &t);
  if (status == TG_OK && args->json) print_json(&t);
  if (status == TG_OK && !args->json) print_text(&t);
  if (status == TG_OK && args->check && !t.holds)
    status =
        tg_status_set(TG_ERUNTIME, "paths: the skeletons of model %s are no basis of its paths",
                      outline->model_name);
  free(t.row);
  return status;
}

/* The model is an assignment like the others, and comes last: it wins. */
static tg_status load(const tg_args *args, tg_config **out) {
  static const char key[] = "model.name=";
  size_t bytes = sizeof key + strlen(args->word[0]);
  const char **all = calloc((size_t)args->assignments + 1, sizeof *all);
  char *model = malloc(bytes);
  tg_status status = TG_OK;
  if (!all || !model) TG_DO(tg_status_set(TG_ERUNTIME, "no memory for %s", args->word[0]));
  memcpy(all, args->assignment, (size_t)args->assignments * sizeof *all);
  snprintf(model, bytes, "%s%s", key, args->word[0]);
  all[args->assignments] = model;
  TG_DO(tg_config_load(NULL, all, args->assignments + 1, out));
done:
  free(model);
  free(all);
  return status;
}

static tg_status run(const tg_args *args) {
  tg_config *config;
  tg_outline *outline = NULL;
  TG_TRY(load(args, &config));
  tg_status status = tg_outline_create(config, 1, &outline);
  if (status == TG_OK) status = show(args, outline);
  tg_outline_destroy(outline);
  tg_config_free(config);
  return status;
}

const tg_command tg_command_paths = {
    .name = "paths",
    .usage = "paths MODEL [key=value ...] [--check] [--json]",
    .help = "the path space of a model: blocks, hidden units, skeletons, rank",
    .details =
        "MODEL is what model.name would be; data.name says how large inputs are, model.* the "
        "rest.\n"
        "A block of m weights and biases and H hidden units has m-H independent paths. Skeletons\n"
        "are the weights that gsgd goes on through: those of one layer are trained, the others\n"
        "frozen; m less the frozen ones is m-H where hidden widths rise and then fall. --check\n"
        "lists all paths of blocks that have at most 400000 of at most 5000 weights, and finds\n"
        "their rank and that of the basis; where one is not m-H the exit code is 1.",
    .takes = TG_TAKES_JSON | TG_TAKES_CHECK | TG_TAKES_KEYS,
    .least = 1,
    .most = 1,
    .run = run,
};
