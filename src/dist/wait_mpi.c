/* wait_mpi.c - waiting for other ranks: never blocked inside MPI, never for ever. pause_mpi.c is
 * what is done between two looks. */
#include <math.h>
#include <mpi.h>
#include <string.h>

#include "dist/comm_mpi.h"

/* Seconds of asking again at once. Where MPI itself moves the bytes, by copies through shared
 * memory or by TCP, it does so only while it is asked: what is on its way must not be slept over.
 */
static const double EAGER_S = 200e-6, EAGER_SOON_S = 20e-3;
/* Then naps; for what somebody still computes longer and longer ones: each costs some 10 us of a
 * core that a worker may need, and delays what comes by a sixteenth of the time waited so far. */
static const double NAP_PART = 0.125, SHORTEST_NAP_S = 50e-6, LONGEST_NAP_S = 1e-3;

tg_patience tg_patience_begin(double timeout_s, bool soon) {
  double now = tg_clock_s();
  return (tg_patience){.timeout_s = timeout_s, .soon = soon, .began = now, .now = now};
}

double tg_patience_step(const tg_patience *p) {
  double waited = p->now - p->began;
  if (waited < (p->soon ? EAGER_SOON_S : EAGER_S)) return 0;
  if (p->soon) return SHORTEST_NAP_S;
  return fmin(fmax(waited * NAP_PART, SHORTEST_NAP_S), LONGEST_NAP_S);
}

tg_status tg_mpi_check(int code, const char *call) {
  if (code == MPI_SUCCESS) return TG_OK;
  char text[MPI_MAX_ERROR_STRING];
  int length;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) text[0] = '\0';
  TG_FAIL(TG_ERUNTIME, "%.*s: %s (MPI error %d)", (int)strcspn(call, "("), call, text, code);
}

tg_status tg_mpi_advance(MPI_Request *requests, size_t count, size_t *done) {
  for (int flag = 1; *done < count && flag; *done += flag)
    TG_MPI(MPI_Test(&requests[*done], &flag, MPI_STATUS_IGNORE));
  return TG_OK;
}

tg_status tg_mpi_late(const tg_wait *w) {
  if (w->rank == 0) TG_FAIL(TG_EUNAVAILABLE, "waited %g s for %s (rank 0)", w->timeout_s, w->what);
  TG_FAIL(TG_EUNAVAILABLE, "waited %g s for %s worker %d (rank %d)", w->timeout_s, w->what,
          w->rank - 1, w->rank);
}

tg_status tg_mpi_finish(const tg_wait *w, MPI_Request *requests, size_t count, size_t *done) {
  tg_patience patience = tg_patience_begin(w->timeout_s, w->soon);
  for (size_t before = *done;; before = *done) {
    TG_TRY(tg_mpi_advance(requests, count, done));
    if (*done == count) return TG_OK;
    if (*done > before)
      patience = tg_patience_begin(w->timeout_s, w->soon);
    else if (!tg_patience_pause(&patience))
      return tg_mpi_late(w);
  }
}
