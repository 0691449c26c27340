/* kept.h - copies of the lists that a loop's options point at, so that whoever made them may drop
 * them. */
#ifndef DIST_KEPT_H
#define DIST_KEPT_H

#include "tardigrad/server.h"

typedef struct tg_kept {
  tg_fold *folds;
  tg_schedule_step *steps;
  tg_part *parts;
  tg_optimizer optimizer;
} tg_kept;

/* tg_kept_open - makes the copies, and points *folds [fold_count], the schedule, the layout and
 * *optimizer at them. Free with tg_kept_close, also after a failure. */
TG_CHECKED tg_status tg_kept_open(tg_kept *k, const tg_fold **folds, size_t fold_count,
                                  tg_schedule *schedule, tg_layout *layout,
                                  const tg_optimizer **optimizer);
void tg_kept_close(tg_kept *k);

#endif
