/* net_beside.c - how gradients leave a device: in pieces, while the backward pass goes on; and how
 * weights come: in pieces, while others are on their way to this process. */
#include <stdio.h>
#include <stdlib.h>

#include "run/net_private.h"
#include "tardigrad/log.h"

enum { GROUP_PIECE = 4 << 20 }; /* floats that are summed at once: fewer, and NCCL's start costs */

static tg_status fetch_piece(void *self, tg_span span) {
  tg_net *net = self;
  return net->device->backend->to_host_beside(
      net->device, net->compute.g + span.lo, net->g + span.lo, (span.hi - span.lo) * sizeof(float));
}

static tg_status sum_piece(void *self, tg_span span) {
  tg_net *net = self;
  return net->device->backend->group_sum(net->device, span.hi - span.lo, net->g + span.lo,
                                         net->sum + span.lo);
}

/* Small: a copy to memory that is not pinned waits, and that is all. */
void tg_net_pin_told(tg_net *net) {
  tg_device *d = net->device;
  size_t bytes = sizeof *net->told + net->compute.ks * sizeof(float);
  net->told_pinned = d->backend->pin && d->backend->pin(d, net->told, bytes) == TG_OK;
}

void tg_net_let_go(tg_net *net) {
  if (net->pinned) net->device->backend->unpin(net->device, net->compute.g);
  net->pinned = false;
}

/* Memory that cannot be pinned is copied to all the same, but then nothing goes on meanwhile. */
void tg_net_pin_gradient(tg_net *net) {
  tg_device *d = net->device;
  if (!d->backend->pin || net->compute.device) return;
  net->pinned = d->backend->pin(d, net->compute.g, net->compute.n * sizeof(float)) == TG_OK;
  if (!net->pinned) tg_warn("gradients are copied slowly: %s", tg_status_message());
  tg_plan_watch(net->train.plan, net->options.piece, net->pinned ? fetch_piece : NULL, net);
}

tg_status tg_net_place_gradient(tg_compute *c, float *g) {
  tg_net *net = c->self;
  tg_net_let_go(net);
  free(net->host_g);
  net->host_g = NULL;
  c->g = g;
  if (g) tg_net_pin_gradient(net);
  return TG_OK;
}

/* ---- weights ---- */

tg_status tg_net_take_weights(tg_compute *c, const float *w, tg_span span) {
  tg_net *net = c->self;
  TG_TRY(net->device->backend->to_device_beside(net->device, net->w + span.lo, w + span.lo,
                                                (span.hi - span.lo) * sizeof(float)));
  net->taken = span.hi;
  return TG_OK;
}

tg_status tg_net_has_weights(tg_net *net, bool *out) {
  *out = net->taken == net->compute.n;
  if (net->taken > 0) TG_TRY(net->device->backend->join(net->device));
  net->taken = 0;
  return TG_OK;
}

void tg_net_pin_weights(tg_compute *c, const float *w) {
  tg_device *d = ((tg_net *)c->self)->device;
  if (d->backend->pin && d->backend->pin(d, (float *)w, c->n * sizeof *w) != TG_OK)
    tg_warn("weights are copied slowly: %s", tg_status_message());
}

void tg_net_unpin_weights(tg_compute *c, const float *w) {
  tg_device *d = ((tg_net *)c->self)->device;
  if (d->backend->unpin) d->backend->unpin(d, (float *)w);
}

/* ---- groups ---- */

tg_status tg_net_member(tg_net *net, bool first, char *identity, size_t size, tg_group_id *id) {
  const tg_backend *backend = net->device->backend;
  bool knows = backend->group_id && backend->identity;
  snprintf(identity, size, "%s", knows ? backend->identity(net->device) : "");
  return knows && first ? backend->group_id(net->device, id) : TG_OK;
}

tg_status tg_net_join(tg_net *net, const tg_group_id *id, int member, int members,
                      double timeout_s) {
  tg_compute *c = &net->compute;
  TG_TRY(net->device->backend->group_join(net->device, id, member, members, timeout_s));
  TG_TRY(tg_net_vector(net, c->n, &net->sum));
  tg_net_let_go(net);
  c->device = net->device;
  c->g = net->g;
  c->sum = net->sum;
  c->place_gradient = NULL;
  c->take = NULL;
  tg_plan_watch(net->train.plan, GROUP_PIECE, sum_piece, net);
  return TG_OK;
}
