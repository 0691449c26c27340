/* setup_updates.c - where updates are made, and what cannot be made there. */
#include <string.h>

#include "run/setup.h"

bool tg_setup_opens_device(const tg_setup *s) {
  const char *name = s->config->server_device;
  return !tg_setup_shares_device(s) && strcmp(name, "cpu") != 0 && strcmp(name, "auto") != 0;
}

tg_status tg_setup_check_server(const tg_setup *s) {
  if (!tg_setup_opens_device(s) || s->rule->scheme == TG_SCHEME_ASYNC) return TG_OK;
  TG_FAIL(TG_ECONFIG, "server.device=%s: sync.rule=%s has no server; every worker updates",
          s->config->server_device, s->rule->name);
}

tg_status tg_setup_check_updates(const tg_setup *s, bool on_device) {
  TG_TRY(tg_layout_check(&s->optimizer, &s->outline->layout, s->outline->graph->n, on_device));
  if (on_device && s->optimizer.inner && (s->rule->settle || s->rule->serve))
    TG_FAIL(TG_ECONFIG,
            "optimizer.name=%s with sync.rule=%s works in host memory: set server.device=cpu",
            s->optimizer.name, s->rule->name);
  return TG_OK;
}
