/* cmd_train.c - tardigrad train: configuration on rank 0, the same on every rank, then the run. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/log.h"
#include "tardigrad/run.h"

/* Rank 0 reads the file and the command line, and settles what is to be the same everywhere. */
static tg_status resolve(const tg_args *args, const tg_world *world, char **text) {
  tg_config *config;
  int threads;
  TG_TRY(tg_config_load(args->word[0], args->assignment, args->assignments, &config));
  tg_status status = tg_threads_of(config, world, &threads);
  if (status == TG_OK) {
    config->run_threads = threads;
    status = tg_config_text(config, text);
  }
  tg_config_free(config);
  return status;
}

static tg_status share(char **text) {
  uint64_t length = *text ? strlen(*text) + 1 : 0;
  TG_TRY(tg_world_broadcast(&length, sizeof length));
  if (!*text) *text = calloc(1, length);
  if (!*text) TG_FAIL(TG_ERUNTIME, "no memory for the configuration");
  return tg_world_broadcast(*text, length);
}

static tg_status train(const tg_args *args, const tg_world *world) {
  char *text = NULL;
  tg_config *config = NULL;
  tg_status status = world->rank == 0 ? resolve(args, world, &text) : TG_OK;
  TG_DO(tg_world_agree(status));
  TG_DO(share(&text));
  TG_DO(tg_config_parse(text, &config));
  TG_DO(tg_train(config, world));
done:
  tg_config_free(config);
  free(text);
  return status;
}

static tg_status run(const tg_args *args) {
  tg_world world;
  tg_stop_catch(); /* before anything takes time */
  TG_TRY(tg_world_start(false, &world));
  if (world.rank != 0) tg_log_setup(world.rank, TG_LOG_WARN);
  tg_status status = train(args, &world);
  if (status != TG_OK && world.rank != 0) tg_status_set(status, "%s", "");
  tg_world_end();
  return status;
}

const tg_command tg_command_train = {
    .name = "train",
    .usage = "train CONFIG.yaml [key=value ...]",
    .help = "trains: under mpirun or srun, or alone (sync.rule=sgd, or transport.name=sim)",
    .details =
        "Rank 0 is the parameter server, every other rank a worker:\n"
        "  mpirun -n 5 tardigrad train configs/demo.yaml sync.rule=dc-asgd-a\n"
        "resume=auto continues the newest whole checkpoint of that run, or starts. SIGTERM and\n"
        "SIGUSR1 make a checkpoint and end the run with exit code 75.",
    .takes = TG_TAKES_KEYS,
    .least = 1,
    .most = 1,
    .run = run,
};
