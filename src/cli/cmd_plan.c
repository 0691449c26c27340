/* cmd_plan.c - tardigrad plan: what a run will take, without running it. */
#include <omp.h>
#include <string.h>

#include "cli/cli.h"
#include "tardigrad/forecast.h"
#include "tardigrad/log.h"
#include "tardigrad/run.h"

static void print_json(const tg_forecast *f) {
  printf("{\"parameters\": %llu, \"statistics\": %llu, \"workers\": %u,\n",
         (unsigned long long)f->parameters, (unsigned long long)f->statistics, f->workers);
  printf(" \"memory_bytes\": {\"server\": %llu, \"worker\": %llu, \"base\": %llu, "
         "\"activations\": %llu, \"activations_unplanned\": %llu},\n",
         (unsigned long long)f->server, (unsigned long long)f->worker, (unsigned long long)f->base,
         (unsigned long long)f->activations, (unsigned long long)f->unplanned);
  printf(" \"bytes_per_update\": %llu, \"push_bytes\": %llu, \"pull_bytes\": %llu, "
         "\"compression\": %.6g,\n",
         (unsigned long long)(f->push_bytes + f->pull_bytes), (unsigned long long)f->push_bytes,
         (unsigned long long)f->pull_bytes, f->compression);
  printf(" \"flops_per_gradient\": %.6g, \"copy_bytes_per_s\": %.4g, \"product_flops_per_s\": "
         "%.4g,\n",
         f->flops, f->copy_bandwidth, f->product_rate);
  printf(" \"floor_seconds\": {\"compute\": %.4g, \"update\": %.4g, \"transfer\": %.4g}, "
         "\"server_load\": %.4g}\n",
         f->compute_s, f->update_s, f->transfer_s, f->server_load);
}

static void print_text(const tg_forecast *f) {
  const double mib = 1 << 20;
  printf("parameters         %llu (and %llu running statistics)\n",
         (unsigned long long)f->parameters, (unsigned long long)f->statistics);
  printf("workers            %u\n", f->workers);
  if (f->server) printf("memory, rank 0     %.1f MiB\n", (double)f->server / mib);
  printf("memory, worker     %.1f MiB, of which activations %.1f MiB (%.1f without planning) and "
         "the program %.1f MiB\n",
         (double)f->worker / mib, (double)f->activations / mib, (double)f->unplanned / mib,
         (double)f->base / mib);
  printf("bytes per update   %llu pushed, %llu pulled\n", (unsigned long long)f->push_bytes,
         (unsigned long long)f->pull_bytes);
  if (f->compression != 1) printf("gradients          1/%.3g of their bytes\n", f->compression);
  printf("floor, gradient    %.3g s: %.3g GFLOP at %.0f GFLOP/s\n", f->compute_s, f->flops / 1e9,
         f->product_rate / 1e9);
  printf("floor, update      %.3g s; transfer %.3g s, at %.1f GB/s of copying\n", f->update_s,
         f->transfer_s, f->copy_bandwidth / 1e9);
  if (f->server_load > 0)
    printf("server load        %.3g at %u workers\n", f->server_load, f->workers);
}

static tg_status forecast(const tg_config *c, tg_forecast *f) {
  tg_world alone = {.size = 1, .local_size = 1};
  int threads;
  TG_TRY(tg_threads_of(c, &alone, &threads));
  omp_set_num_threads(threads);
  uint32_t workers = strcmp(c->sync_rule, "sgd") == 0 ? 1 : (uint32_t)c->sim_workers;
  TG_TRY(tg_forecast_make(c, workers, f));
  if (f->server_load > 0.7)
    tg_warn("the server limits this run: at %u workers it is busy for %.2g times as long as a "
            "gradient takes",
            f->workers, f->server_load);
  return TG_OK;
}

static tg_status run(const tg_args *args) {
  tg_config *config;
  tg_forecast f = {0};
  tg_world world;
  TG_TRY(tg_config_load(args->word[0], args->assignment, args->assignments, &config));
  /* MPI is part of what a rank of an mpi run holds in memory. */
  tg_status status = tg_world_start(strcmp(config->transport_name, "mpi") == 0, &world);
  if (status == TG_OK) {
    status = forecast(config, &f);
    tg_world_end();
  }
  tg_config_free(config);
  if (status != TG_OK) return status;
  if (args->json)
    print_json(&f);
  else
    print_text(&f);
  return TG_OK;
}

const tg_command tg_command_plan = {
    .name = "plan",
    .usage = "plan CONFIG.yaml [key=value ...] [--json]",
    .help = "memory per rank, bytes per update and floor times; trains nothing",
    .details =
        "The number of workers is sim.workers, whatever the transport. Memory is the resident\n"
        "peak; floors come from the bandwidth of a copy and the rate of a matrix product, both\n"
        "measured for a moment on this machine with run.threads threads.",
    .takes = TG_TAKES_JSON | TG_TAKES_KEYS,
    .least = 1,
    .most = 1,
    .run = run,
};
