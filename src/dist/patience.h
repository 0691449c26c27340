/* patience.h - what a loop does that waits for other ranks: asks again soon, then less often, and
 * not for ever. */
#ifndef DIST_PATIENCE_H
#define DIST_PATIENCE_H

#include <stdbool.h>

typedef struct tg_patience {
  double timeout_s, began, now;
  bool soon;
} tg_patience;

tg_patience tg_patience_begin(double timeout_s, bool soon);
/* tg_patience_step - seconds until the next look; 0: at once. */
double tg_patience_step(const tg_patience *p);
/* tg_patience_pause - yields for a moment, later naps. False when the time is up. */
bool tg_patience_pause(tg_patience *p);

#endif
