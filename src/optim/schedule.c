/* schedule.c - the learning rate by effective epoch, and the scale of a clipped gradient. */
#include "tardigrad/optim.h"

double tg_schedule_lr(const tg_schedule *s, double epoch_before, double epoch_after) {
  double lr = s->lr;
  for (size_t i = 0; i < s->count; i++)
    if (epoch_before >= s->steps[i].epoch) lr *= s->steps[i].factor;
  if (s->warmup_epochs > 0 && epoch_after < s->warmup_epochs)
    lr *= s->warmup_start + (1 - s->warmup_start) * (epoch_after / s->warmup_epochs);
  return lr;
}

float tg_clip_scale(double norm, double limit) {
  return limit > 0 && norm > limit ? (float)(limit / norm) : 1.0f;
}
