/* main.c - arguments, one command, its exit code. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "tardigrad/log.h"
#include "tardigrad/registry.h"
#include "tardigrad/transport.h"

const tg_command *const tg_commands[] = {
#define TG_COMMAND(name) &tg_command_##name,
#include "cli/commands.def"
#undef TG_COMMAND
};
const int tg_command_count = sizeof tg_commands / sizeof *tg_commands;

static const tg_command *find_command(const char *name) {
  for (int i = 0; i < tg_command_count; i++)
    if (strcmp(tg_commands[i]->name, name) == 0) return tg_commands[i];
  return NULL;
}

static tg_status unknown_command(const char *name) {
  const char *names[32];
  for (int i = 0; i < tg_command_count; i++) names[i] = tg_commands[i]->name;
  const char *near = tg_nearest(name, names, (size_t)tg_command_count);
  TG_FAIL(TG_EUSAGE, "no command '%s'%s%s (tardigrad --help lists them)", name,
          near ? ": did you mean " : "", near ? near : "");
}

/* Options with a value: the value's place, or NULL if this is none of them. */
static const char **option_place(const tg_command *c, const char *word, tg_args *args) {
  if ((c->takes & TG_TAKES_OUTPUT) && (strcmp(word, "-o") == 0 || strcmp(word, "--output") == 0))
    return &args->output;
  if ((c->takes & TG_TAKES_DUMP) && strcmp(word, "--dump") == 0) return &args->dump;
  if ((c->takes & TG_TAKES_SPLIT) && strcmp(word, "--split") == 0) return &args->split;
  if ((c->takes & TG_TAKES_TARGET) && strcmp(word, "--target") == 0) return &args->target;
  return NULL;
}

/* Keys change something, and that comes first: a word with "=" there is it only if there is a file
 * of that name. */
static tg_status check_first(const tg_command *c, const char *word) {
  const char *place = strchr(c->usage, ' ') + 1;
  if (!(c->takes & TG_TAKES_KEYS) || !strchr(word, '=') || access(word, F_OK) == 0) return TG_OK;
  TG_FAIL(TG_EUSAGE, "%s: %.*s comes first, before '%s': usage: tardigrad %s", c->name,
          (int)strcspn(place, " "), place, word, c->usage);
}

/* Sorts argv into args; words and assignments are kept in `store` [argc]. */
static tg_status sort_arguments(const tg_command *c, int argc, char **argv, const char **store,
                                tg_args *args) {
  const char **front = store, **back = store + argc;
  for (int i = 0; i < argc; i++) {
    const char *word = argv[i];
    const char **place = option_place(c, word, args);
    if (place) {
      if (++i == argc) TG_FAIL(TG_EUSAGE, "%s %s: a value is missing", c->name, word);
      *place = argv[i];
    } else if ((c->takes & TG_TAKES_JSON) && strcmp(word, "--json") == 0) {
      args->json = true;
    } else if ((c->takes & TG_TAKES_CHECK) && strcmp(word, "--check") == 0) {
      args->check = true;
    } else if (word[0] == '-' && word[1]) {
      TG_FAIL(TG_EUSAGE, "%s: no option '%s' (tardigrad %s --help)", c->name, word, c->name);
    } else if ((c->takes & TG_TAKES_KEYS) && args->words > 0 && strchr(word, '=')) {
      *--back = word;
      args->assignments++;
    } else {
      if (args->words == 0) TG_TRY(check_first(c, word));
      *front++ = word;
      args->words++;
    }
  }
  /* Assignments were stacked backwards: the last one must win. */
  for (const char **a = back, **z = store + argc - 1; a < z; a++, z--) {
    const char *t = *a;
    *a = *z;
    *z = t;
  }
  args->word = store;
  args->assignment = back;
  if (args->words < c->least || args->words > c->most)
    TG_FAIL(TG_EUSAGE, "%s: usage: tardigrad %s", c->name, c->usage);
  return TG_OK;
}

static tg_status run_command(const tg_command *c, int argc, char **argv) {
  const char **store = calloc((size_t)argc + 1, sizeof *store);
  if (!store) TG_FAIL(TG_ERUNTIME, "no memory");
  tg_args args = {.json = false};
  tg_status status = sort_arguments(c, argc, argv, store, &args);
  if (status == TG_OK) status = c->run(&args);
  free(store);
  return status;
}

static bool wants_help(int argc, char **argv) {
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
  return false;
}

/* Removes -q and --quiet, wherever they stand. */
static int take_quiet(int argc, char **argv, bool *quiet) {
  int kept = 0;
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0)
      *quiet = true;
    else
      argv[kept++] = argv[i];
  }
  return kept;
}

static tg_status dispatch(int argc, char **argv) {
  if (argc < 1) {
    tg_help(stderr);
    TG_FAIL(TG_EUSAGE, "a command is missing");
  }
  if (strcmp(argv[0], "--version") == 0) {
    puts("tardigrad " TG_VERSION);
    return TG_OK;
  }
  if (strcmp(argv[0], "--man") == 0) {
    tg_man(stdout);
    return TG_OK;
  }
  if (strcmp(argv[0], "--keys") == 0) {
    tg_config_markdown(stdout);
    return TG_OK;
  }
  if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
      (strcmp(argv[0], "help") == 0 && argc == 1)) {
    tg_help(stdout);
    return TG_OK;
  }
  const tg_command *command = find_command(strcmp(argv[0], "help") == 0 ? argv[1] : argv[0]);
  if (!command) return unknown_command(strcmp(argv[0], "help") == 0 ? argv[1] : argv[0]);
  if (strcmp(argv[0], "help") == 0 || wants_help(argc - 1, argv + 1)) {
    tg_command_help(command, stdout);
    return TG_OK;
  }
  return run_command(command, argc - 1, argv + 1);
}

int main(int argc, char **argv) {
  bool quiet = false;
  int count = take_quiet(argc - 1, argv + 1, &quiet);
  tg_log_setup(0, quiet ? TG_LOG_WARN : TG_LOG_INFO);
  tg_status status = dispatch(count, argv + 1);
  /* In a job of many ranks the one that speaks has the message; the others have none. */
  if (status != TG_OK && *tg_status_message()) tg_error("%s", tg_status_message());
  if (fflush(stdout) != 0 && status == TG_OK) {
    tg_error("standard output cannot be written");
    status = TG_ERUNTIME;
  }
  return status;
}
