/* cmd_eval.c - tardigrad eval: loss and error of saved weights. */
#include <omp.h>
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/run.h"

static tg_status split_of(const char *name, tg_split *out) {
  *out = TG_TEST;
  if (!name) return TG_OK;
  for (int split = TG_TRAIN; split <= TG_VALIDATION; split++) {
    *out = (tg_split)split;
    if (strcmp(name, tg_split_name(*out)) == 0) return TG_OK;
  }
  TG_FAIL(TG_EUSAGE, "eval --split %s: train, test or validation", name);
}

static tg_status run(const tg_args *args) {
  tg_split split = TG_TEST;
  tg_source source;
  TG_TRY(split_of(args->split, &split));
  TG_TRY(tg_source_open(args->word[0], args->assignment, args->assignments, &source));
  tg_world alone = {.size = 1, .local_size = 1};
  int threads = 1;
  tg_evaluation e = {0};
  source.config->run_threads = 0; /* of that run's ranks; here the machine is ours */
  tg_status status = tg_threads_of(source.config, &alone, &threads);
  if (status == TG_OK) {
    omp_set_num_threads(threads);
    status = tg_evaluate(&source, split, &e);
  }
  tg_config_free(source.config);
  if (status != TG_OK) return status;
  const char *name = tg_split_name(split);
  if (args->json)
    printf("{\"split\": \"%s\", \"loss\": %.9g, \"error\": %.9g, \"samples\": %u}\n", name, e.loss,
           e.error, e.samples);
  else
    printf("%s: loss %.4f, error %.2f %%, %u samples\n", name, e.loss, e.error, e.samples);
  return TG_OK;
}

const tg_command tg_command_eval = {
    .name = "eval",
    .usage = "eval RUN|CHECKPOINT [key=value ...] [--split test|train|validation] [--json]",
    .help = "loss and error of saved weights on a split",
    .details =
        "RUN is a run's folder (its newest whole checkpoint is taken), CHECKPOINT one of its\n"
        "checkpoints/<update>. Keys change the run's configuration, e.g. device.precision.",
    .takes = TG_TAKES_JSON | TG_TAKES_SPLIT | TG_TAKES_KEYS,
    .least = 1,
    .most = 1,
    .run = run,
};
