/* seen.h - what an observer saw of a run: counts, and who came when. */
#ifndef TESTS_SEEN_H
#define TESTS_SEEN_H

#include "tardigrad/serve.h"

enum { SEEN_RECORDS = 60000 };

typedef struct seen {
  uint64_t update, pushes, dropped, evaluations, cuts, staleness, bytes;
  double loss;                    /* of the last evaluation */
  uint32_t records[SEEN_RECORDS]; /* of gradients, as in trace.bin, dropped ones too */
  size_t recorded;
  uint64_t stop_at; /* asks to stop at this update; 0: never */
} seen;

/* An observer that counts into s and stops where s->stop_at says. */
tg_observer seen_by(seen *s);

#endif
