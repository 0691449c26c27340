/* cmd_report.c - tardigrad report: one page that compares runs. */
#include <limits.h>
#include <stdio.h>

#include "cli/cli.h"
#include "tardigrad/log.h"
#include "tardigrad/report.h"

static tg_status run(const tg_args *args) {
  char own[PATH_MAX];
  const char *path = args->output ? args->output : "report.html";
  if (!args->output && args->words == 1) {
    if ((size_t)snprintf(own, sizeof own, "%s/report.html", args->word[0]) >= sizeof own)
      TG_FAIL(TG_EUSAGE, "report: the path of the run is longer than %zu bytes", sizeof own - 13);
    path = own;
  }
  if (!*path) TG_FAIL(TG_EUSAGE, "report -o: expected the name of a file");
  TG_TRY(tg_report_write(args->word, args->words, path));
  tg_info("wrote %s", path);
  return TG_OK;
}

const tg_command tg_command_report = {
    .name = "report",
    .usage = "report RUN... [-o FILE.html]",
    .help = "one self-contained page that says how runs went and compares them",
    .details =
        "Error over epochs and over time, training loss, staleness, size of the correction,\n"
        "every number in a table, and what these numbers do not say. Runs that differ in\n"
        "their seeds alone are grouped and their spread is stated. Without -o the page is\n"
        "RUN/report.html for one run, and report.html in this folder for several. Runs need\n"
        "not be finished.",
    .takes = TG_TAKES_OUTPUT,
    .least = 1,
    .most = INT_MAX,
    .run = run,
};
