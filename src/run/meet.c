/* meet.c - all ranks learn what each computes on, and whether devices sum gradients themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/job.h"
#include "tardigrad/log.h"

typedef struct member {
  char host[128], device[64]; /* where, and its name there; "": none that others could want too */
  char description[256];
  tg_group_id id; /* of the first, where devices know groups */
} member;

static void introduce(const tg_job *job, member *mine) {
  bool first = job->world->rank <= 1;
  gethostname(mine->host, sizeof mine->host - 1);
  if (!job->net) return;
  snprintf(mine->description, sizeof mine->description, "%s", tg_net_device(job->net));
  if (tg_net_member(job->net, first, mine->device, sizeof mine->device, &mine->id) == TG_OK) return;
  tg_warn("%s", tg_status_message());
  mine->device[0] = '\0';
}

/* "workers 0 and 1 share GPU ..."; "" if none do. */
static void find_sharing(const member *all, int ranks, char *text, size_t size) {
  text[0] = '\0';
  for (int i = 2; i < ranks && !text[0]; i++)
    for (int j = 1; j < i && !text[0]; j++)
      if (all[i].device[0] && strcmp(all[i].host, all[j].host) == 0 &&
          strcmp(all[i].device, all[j].device) == 0)
        snprintf(text, size, "workers %d and %d share GPU %s of %s", j - 1, i - 1, all[i].device,
                 all[i].host);
}

static bool any_without(const member *all, int ranks) {
  for (int i = 1; i < ranks; i++)
    if (!all[i].device[0]) return true;
  return false;
}

tg_status tg_job_meet(tg_job *job) {
  const tg_world *world = job->world;
  tg_status status = TG_OK;
  char sharing[320];
  bool sync = job->setup.rule->scheme == TG_SCHEME_SYNC;
  member *all = calloc((size_t)world->size, sizeof *all);
  if (!all) TG_FAIL(TG_ERUNTIME, "no memory for %d ranks", world->size);
  introduce(job, &all[world->rank]);
  TG_DO(tg_world_gather(all, sizeof *all));
  const member *one = &all[world->size > 1];
  snprintf(job->device, sizeof job->device, "%s", one->description);
  tg_info("computing on %s%s", job->device, world->size > 1 ? ", on every worker" : "");
  find_sharing(all, world->size, sharing, sizeof sharing);
  if (sharing[0]) tg_info("%s: their kernels take turns", sharing);
  if (!sync || world->size == 1) goto done;
  bool possible = !sharing[0] && !any_without(all, world->size);
  bool clips = job->config->sync_clip_norm > 0,
       on_host = job->setup.optimizer.whole && !job->setup.optimizer.path_step;
  bool coded = job->setup.codec->encode;
  job->group = possible && !clips && !on_host && !coded;
  if (coded) tg_info("gradients are encoded by %s and sent by MPI", job->setup.codec->name);
  if (coded) goto done;
  tg_info("gradients are summed by %s",
          job->group   ? "NCCL"
          : possible   ? clips ? "MPI: sync.clip_norm shortens them before, NCCL sums them at once"
                               : "MPI: the optimizer works on whole tensors in host memory"
          : sharing[0] ? "MPI: NCCL wants a GPU for each worker"
                       : "MPI");
  if (!job->group || !job->net) goto done;
  TG_DO(tg_net_join(job->net, &all[1].id, world->rank - 1, world->size - 1,
                    job->config->run_timeout_s));
  job->updates = tg_net_compute(job->net)->device;
done:
  free(all);
  return status;
}
