/* cmd_export.c - tardigrad export: weights for other programs. */
#include "cli/cli.h"
#include "tardigrad/log.h"
#include "tardigrad/run.h"

static tg_status run(const tg_args *args) {
  if (!args->output) TG_FAIL(TG_EUSAGE, "export: usage: tardigrad export RUN|CHECKPOINT -o FILE");
  tg_source source;
  TG_TRY(tg_source_open(args->word[0], NULL, 0, &source));
  tg_status status = tg_export(&source, args->output);
  tg_config_free(source.config);
  if (status == TG_OK) tg_info("wrote %s", args->output);
  return status;
}

const tg_command tg_command_export = {
    .name = "export",
    .usage = "export RUN|CHECKPOINT -o FILE",
    .help = "weights for other programs: safetensors, PyTorch's names and layouts",
    .details = "The file loads with safetensors.torch.load_file into a module of the same names.\n"
               "It is written beside and renamed; an existing FILE is replaced.",
    .takes = TG_TAKES_OUTPUT,
    .least = 1,
    .most = 1,
    .run = run,
};
