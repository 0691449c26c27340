/* help.c - --help and the man page, from the same rows. */
#include <ctype.h>

#include "cli/cli.h"

typedef struct code_row {
  int code;
  const char *help;
} code_row;
static const code_row codes[] = {
    {0, "done"},
    {1, "failure at run time"},
    {2, "wrong usage"},
    {3, "diverged: loss not finite, or gradients not finite too often"},
    {65, "bad data: a file is malformed"},
    {66, "a data set or checkpoint is missing"},
    {69, "a device or a rank is not available"},
    {75, "stopped by a signal after a checkpoint: run again with resume=auto"},
    {78, "bad configuration"},
};
enum { CODES = sizeof codes / sizeof *codes };

void tg_help(FILE *out) {
  fputs("usage: tardigrad COMMAND ...\n\n"
        "Trains neural networks with late gradients: an asynchronous, delay-compensated parameter\n"
        "server over MPI.\n\ncommands:\n",
        out);
  for (int i = 0; i < tg_command_count; i++)
    fprintf(out, "  %-8s %s\n", tg_commands[i]->name, tg_commands[i]->help);
  fputs("\noptions:\n"
        "  --help     this text; after a command, that command's\n"
        "  --version  the version\n"
        "  --keys     the configuration as a Markdown table; --man: the man page, roff\n"
        "  -q         warnings and errors only\n"
        "\nexit codes:\n",
        out);
  for (int i = 0; i < CODES; i++) fprintf(out, "  %-3d %s\n", codes[i].code, codes[i].help);
}

void tg_command_help(const tg_command *c, FILE *out) {
  fprintf(out, "usage: tardigrad %s\n\n%s.\n", c->usage, c->help);
  if (c->details) fprintf(out, "\n%s\n", c->details);
  if (c->takes & TG_TAKES_KEYS) {
    fputs("\nkeys (in the file as section: {key: value}, here as section.key=value):\n", out);
    tg_config_help(out);
  }
}

/* Text for roff: backslashes, and dots and quotes at the beginning of a line, are its own. */
static void roff(const char *text, FILE *out) {
  bool line_start = true;
  for (const char *p = text; *p; p++) {
    if (line_start && (*p == '.' || *p == '\'')) fputs("\\&", out);
    if (*p == '\\')
      fputs("\\e", out);
    else if (*p == '-')
      fputs("\\-", out);
    else
      fputc(*p, out);
    line_start = *p == '\n';
  }
}

static void man_commands(FILE *out) {
  fputs(".SH COMMANDS\n", out);
  for (int i = 0; i < tg_command_count; i++) {
    const tg_command *c = tg_commands[i];
    fputs(".TP\n.B tardigrad ", out);
    roff(c->usage, out);
    fputc('\n', out);
    fputc(toupper((unsigned char)c->help[0]), out);
    roff(c->help + 1, out);
    fputs(".\n", out);
    if (!c->details) continue;
    fputs(".sp\n.nf\n", out);
    roff(c->details, out);
    fputs("\n.fi\n", out);
  }
}

void tg_man(FILE *out) {
  fputs(
      ".TH TARDIGRAD 1 \"\" \"tardigrad " TG_VERSION "\" \"User Commands\"\n"
      ".SH NAME\ntardigrad \\- train neural networks with late gradients\n"
      ".SH SYNOPSIS\n.B tardigrad\n.I command\n[\\fIargument\\fR ...] [\\fB\\-q\\fR]\n.br\n"
      ".B mpirun \\-n\n.I ranks\n.B tardigrad train\n.I config.yaml\n[\\fIkey\\fR=\\fIvalue\\fR "
      "...]\n"
      ".SH DESCRIPTION\nTardiGrad is an asynchronous, delay-compensated parameter server over "
      "MPI.\n"
      "Rank 0 keeps the weights and, for every worker, the weights that this worker last pulled;\n"
      "with them it repairs late gradients (DC-ASGD; Zheng et al., ICML 2017).\n",
      out);
  man_commands(out);
  fputs(".SH OPTIONS\n.TP\n.B \\-\\-help\nHelp; after a command, that command's.\n"
        ".TP\n.B \\-\\-version\nThe version.\n"
        ".TP\n.B \\-\\-keys\nThe configuration as a Markdown table.\n"
        ".TP\n.B \\-\\-man\nThis page, as roff.\n"
        ".TP\n.B \\-q\nWarnings and errors only.\n.SH CONFIGURATION\n"
        "YAML with one mapping per section; on the command line, section.key=value. Precedence:\n"
        "command line, file, default.\n",
        out);
  tg_config_man(out);
  fputs(".SH EXIT STATUS\n", out);
  for (int i = 0; i < CODES; i++) {
    fprintf(out, ".TP\n.B %d\n", codes[i].code);
    roff(codes[i].help, out);
    fputc('\n', out);
  }
  fputs(".SH FILES\nA run is a folder <run.dir>/<run.name> with config.yaml, metrics.jsonl, "
        "trace.bin,\n"
        "checkpoints/<update>/ and events.out.tfevents.*; include/tardigrad/trace.h and "
        "checkpoint.h\n"
        "document the formats.\n"
        ".SH ENVIRONMENT\n.TP\n.B TARDIGRAD_DATA\nFolder that holds data sets.\n"
        ".TP\n.B OMP_NUM_THREADS\nThreads per rank, where run.threads is auto.\n",
        out);
}
