#include "seen.h"

static tg_status see(void *self, const tg_msg *in, const tg_server_event *event, bool *preempt) {
  seen *s = self;
  s->update = event->update;
  s->pushes += in->kind == TG_MSG_PUSH;
  s->dropped += event->nonfinite;
  s->evaluations += event->evaluated;
  s->staleness += event->staleness;
  s->bytes += event->bytes;
  if (event->evaluated) s->loss = in->loss_sum;
  if (!event->evaluated && s->recorded < SEEN_RECORDS)
    s->records[s->recorded++] = in->worker | (uint32_t)TG_MSG_PUSH << 24;
  if (s->stop_at > 0 && event->update >= s->stop_at) *preempt = true;
  return TG_OK;
}

static tg_status see_cut(void *self, tg_status why) {
  (void)why;
  ((seen *)self)->cuts++;
  return TG_OK;
}

tg_observer seen_by(seen *s) {
  return (tg_observer){.self = s, .handled = see, .cut = see_cut};
}
