/* cmd_report.c - tardigrad report: one page that compares runs. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "tardigrad/log.h"
#include "tardigrad/report.h"

static tg_status target_of(const tg_args *args, double *target) {
  char *end;
  *target = NAN;
  if (!args->target) return TG_OK;
  *target = strtod(args->target, &end);
  if (end == args->target || *end || !(*target > 0 && *target < 100))
    TG_FAIL(TG_EUSAGE,
            "report --target %s: expected a test error in percent, above 0 and below 100",
            args->target);
  return TG_OK;
}

static tg_status run(const tg_args *args) {
  char own[PATH_MAX];
  double target;
  TG_TRY(target_of(args, &target));
  const char *path = args->output ? args->output : "report.html";
  if (!args->output && args->words == 1) {
    if ((size_t)snprintf(own, sizeof own, "%s/report.html", args->word[0]) >= sizeof own)
      TG_FAIL(TG_EUSAGE, "report: the path of the run is longer than %zu bytes", sizeof own - 13);
    path = own;
  }
  if (!*path) TG_FAIL(TG_EUSAGE, "report -o: expected the name of a file");
  TG_TRY(tg_report_write(args->word, args->words, target, path));
  tg_info("wrote %s", path);
  return TG_OK;
}

const tg_command tg_command_report = {
    .name = "report",
    .usage = "report RUN... [-o FILE.html] [--target E]",
    .help = "one self-contained page that says how runs went and compares them",
    .details =
        "Error over epochs and over time, training loss, scaling over workers, staleness, size\n"
        "of the correction, where time went, every number in a table, and in words what of it\n"
        "is chance. Runs that differ in their seeds alone are one configuration, and their\n"
        "spread is stated. --target E: the test error in percent that runs are timed to (without\n"
        "it the lowest that all reach). Without -o the page is RUN/report.html for one run, and\n"
        "report.html in this folder for several. Runs need not be finished. Figures are drawn by\n"
        "gnuplot (Debian: gnuplot-nox), or plainly by tardigrad where it is not here.",
    .takes = TG_TAKES_OUTPUT | TG_TAKES_TARGET,
    .least = 1,
    .most = INT_MAX,
    .run = run,
};
