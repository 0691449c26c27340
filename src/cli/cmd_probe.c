/* cmd_probe.c - tardigrad probe: whether delay compensation can help. */
#include "cli/cli.h"
#include "tardigrad/probe.h"

static tg_status run(const tg_args *args) {
  return tg_probe(args->word[0], args->assignment, args->assignments, args->json, stdout);
}

const tg_command tg_command_probe = {
    .name = "probe",
    .usage = "probe RUN [key=value ...] [--json]",
    .help =
        "how close each compensation of a late gradient comes to the gradient at the new weights",
    .details =
        "Goes from every checkpoint of the run a few updates on, as an asynchronous server with\n"
        "probe.workers workers in turn would, and compares g + s C (w - w_bak) with the gradient\n"
        "of the same batch at w, for the curvatures C of Zheng et al. (ICML 2017), Hutchinson's\n"
        "diagonal and the exact Hessian (central differences). A residual of 1 is no "
        "compensation,\n"
        "0 the gradient at w; s is the run's lambda (1 where there is none), and the best that an\n"
        "oracle could choose. Also: the loss's sharpness, against the largest stable lr at this "
        "delay.\n"
        "--json prints one object per checkpoint. Keys change the run's configuration.",
    .takes = TG_TAKES_JSON | TG_TAKES_KEYS,
    .least = 1,
    .most = 1,
    .run = run,
};
