/* cmd_replay.c - tardigrad replay: a recorded run again, in one process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/run.h"

static tg_status run(const tg_args *args) {
  FILE *dump = NULL;
  if (args->dump) {
    dump = fopen(args->dump, "w");
    if (!dump) TG_FAIL(TG_ERUNTIME, "%s cannot be written: %s", args->dump, strerror(errno));
  }
  tg_status status = tg_replay(args->word[0], dump);
  if (dump && fclose(dump) != 0 && status == TG_OK)
    TG_FAIL(TG_ERUNTIME, "%s cannot be written: %s", args->dump, strerror(errno));
  return status;
}

const tg_command tg_command_replay = {
    .name = "replay",
    .usage = "replay RUN [--dump FILE]",
    .help = "re-runs a recorded run in one process; exit 0 only if the weights are identical",
    .details =
        "Starts from checkpoints/0, takes messages in the order of trace.bin, and compares every\n"
        "checkpoint that it passes. --dump writes one JSON object per update: update, worker, "
        "pulled\n"
        "(version of the weights), samples (indices into the training set, in batch order), lr, "
        "loss,\n"
        "gradient_norm, correction_ratio.",
    .takes = TG_TAKES_DUMP,
    .least = 1,
    .most = 1,
    .run = run,
};
