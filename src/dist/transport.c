/* transport.c - transports by name. */
#include "tardigrad/transport.h"

#include "tardigrad/registry.h"

#define TG_TRANSPORT(name) extern const tg_transport tg_transport_##name;
#include "dist/transports.def"
#undef TG_TRANSPORT

const tg_transport *const tg_transports[] = {
#define TG_TRANSPORT(name) &tg_transport_##name,
#include "dist/transports.def"
#undef TG_TRANSPORT
};
const size_t tg_transport_count = sizeof tg_transports / sizeof *tg_transports;

tg_status tg_transport_find(const char *name, const tg_transport **out) {
  const char *nearest = NULL;
  *out = tg_registry_find(name, (const void *const *)tg_transports, tg_transport_count, &nearest);
  if (*out) return TG_OK;
  if (nearest) TG_FAIL(TG_ECONFIG, "no transport '%s'; did you mean '%s'?", name, nearest);
  TG_FAIL(TG_ECONFIG, "no transport '%s'; there are mpi and sim", name);
}
