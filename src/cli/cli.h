/* cli.h - the command line: one row and one file per command. */
#ifndef TARDIGRAD_CLI_H
#define TARDIGRAD_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "tardigrad/config.h"
#include "tardigrad/status.h"

/* A command's arguments, sorted: options it declared, assignments key=value, and the rest. */
typedef struct tg_args {
  const char *const *word; /* positional words */
  int words;
  const char *const *assignment;
  int assignments;
  bool json;
  bool check;         /* --check */
  const char *output; /* -o FILE */
  const char *dump;   /* --dump FILE */
  const char *split;  /* --split NAME */
  const char *target; /* --target E */
} tg_args;

enum {
  TG_TAKES_JSON = 1,
  TG_TAKES_OUTPUT = 2,
  TG_TAKES_DUMP = 4,
  TG_TAKES_SPLIT = 8,
  TG_TAKES_KEYS = 16,
  TG_TAKES_TARGET = 32,
  TG_TAKES_CHECK = 64
};

typedef struct tg_command {
  const char *name, *usage, *help, *details;
  unsigned takes;
  int least, most; /* positional words */
  tg_status (*run)(const tg_args *args);
} tg_command;

#define TG_COMMAND(name) extern const tg_command tg_command_##name;
#include "cli/commands.def"
#undef TG_COMMAND
extern const tg_command *const tg_commands[];
extern const int tg_command_count;

/* tg_help - the overview, or one command's help. tg_man - the man page, roff. */
void tg_help(FILE *out);
void tg_command_help(const tg_command *command, FILE *out);
void tg_man(FILE *out);

#endif
