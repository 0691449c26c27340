/* cmd_list.c - tardigrad list: what can be named in a configuration. */
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/backend.h"
#include "tardigrad/codec.h"
#include "tardigrad/data.h"
#include "tardigrad/model.h"
#include "tardigrad/registry.h"
#include "tardigrad/transport.h"

typedef struct shelf {
  const char *name;
  const void *const *row; /* pointers to structs that begin with tg_named */
  const size_t *count;
} shelf;

static const shelf shelves[] = {
    {"models", (const void *const *)tg_models, &tg_model_count},
    {"rules", (const void *const *)tg_rules, &tg_rule_count},
    {"codecs", (const void *const *)tg_codecs, &tg_codec_count},
    {"optimizers", (const void *const *)tg_optimizers, &tg_optimizer_count},
    {"datasets", (const void *const *)tg_dataset_sources, &tg_dataset_source_count},
    {"devices", (const void *const *)tg_backends, &tg_backend_count},
    {"transports", (const void *const *)tg_transports, &tg_transport_count},
};
enum { SHELVES = sizeof shelves / sizeof *shelves };

static void print_shelf(const shelf *s, const char *indent) {
  for (size_t i = 0; i < *s->count; i++) {
    const tg_named *row = s->row[i];
    printf("%s%-14s %s\n", indent, row->name, row->help);
  }
}

static tg_status run(const tg_args *args) {
  if (args->words == 0) {
    for (int i = 0; i < SHELVES; i++) {
      printf("%s%s:\n", i ? "\n" : "", shelves[i].name);
      print_shelf(&shelves[i], "  ");
    }
    return TG_OK;
  }
  const char *names[SHELVES];
  for (int i = 0; i < SHELVES; i++) {
    names[i] = shelves[i].name;
    if (strcmp(args->word[0], names[i]) == 0) {
      print_shelf(&shelves[i], "");
      return TG_OK;
    }
  }
  const char *near = tg_nearest(args->word[0], names, SHELVES);
  TG_FAIL(TG_EUSAGE,
          "list: nothing is called '%s'%s%s (models, rules, codecs, optimizers, datasets, "
          "devices or transports)",
          args->word[0], near ? ": did you mean " : "", near ? near : "");
}

const tg_command tg_command_list = {
    .name = "list",
    .usage = "list [models|rules|codecs|optimizers|datasets|devices|transports]",
    .help = "names that a configuration can use, one a line, and what they are",
    .most = 1,
    .run = run,
};
