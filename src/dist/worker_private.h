/* worker_private.h - what worker.c and worker_local.c share. */
#ifndef DIST_WORKER_PRIVATE_H
#define DIST_WORKER_PRIVATE_H

#include "tardigrad/worker.h"

/* tg_worker_gradient - the gradient of worker and step of *out at w, clipped, in c->g; fills *out.
 */
TG_CHECKED tg_status tg_worker_gradient(tg_compute *c, const tg_worker_options *o, const float *w,
                                        tg_msg *out);
/* tg_worker_local - o->local_steps steps at this learning rate from w on; fills *out. */
TG_CHECKED tg_status tg_worker_local(tg_compute *c, const tg_worker_options *o, double lr,
                                     const float *w, tg_msg *out);

#endif
