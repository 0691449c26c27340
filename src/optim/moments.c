/* moments.c - what Adam and its kin have in common: the factors of two decaying means. */
#include "optim/optimizers.h"
#include "optim/powers.h"

void tg_prepare_moments(tg_hyper *h) {
  const tg_optimizer_keys *k = &h->keys;
  uint64_t t = h->update + 1;
  double unbias = 1 / (1 - tg_power(k->beta1, t));
  tg_factors *f = &h->factors;
  f->keep1 = (float)k->beta1;
  f->take1 = (float)(1 - k->beta1);
  f->keep2 = (float)k->beta2;
  f->take2 = (float)(1 - k->beta2);
  f->unbias = (float)unbias;
  f->step = (float)(h->lr * unbias);
  f->root = (float)(1 / sqrt(1 - tg_power(k->beta2, t)));
  f->couple = h->weight_decay;
  f->shrink = 0;
  f->epsilon = (float)k->epsilon;
}
