/* wait_mpi.c - waiting for other ranks: never blocked inside MPI, never for ever. */
#include <math.h>
#include <mpi.h>
#include <sched.h>
#include <string.h>

#include "dist/comm_mpi.h"

/* Seconds of asking again at once: longer than a piece travels, shorter than a gradient takes. */
static const double EAGER_S = 200e-6;
/* Then naps, the longer the longer nothing has come: each costs some 10 us of a core that a worker
 * may need, and delays what comes meanwhile by a sixteenth of the time waited so far on average. */
static const double NAP_PART = 0.125, SHORTEST_NAP_S = 50e-6, LONGEST_NAP_S = 1e-3;

tg_patience tg_patience_begin(double timeout_s) {
  double now = tg_clock_s();
  return (tg_patience){.timeout_s = timeout_s, .began = now, .now = now};
}

bool tg_patience_pause(tg_patience *p) {
  double waited = p->now - p->began;
  /* The processor is offered to others even then: ranks may be more than cores. */
  if (waited < EAGER_S)
    sched_yield();
  else
    tg_nap(fmin(fmax(waited * NAP_PART, SHORTEST_NAP_S), LONGEST_NAP_S));
  p->now = tg_clock_s();
  return p->now - p->began < p->timeout_s;
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

tg_status tg_mpi_late(double timeout_s, const char *what, int rank) {
  if (rank == 0) TG_FAIL(TG_EUNAVAILABLE, "waited %g s for %s (rank 0)", timeout_s, what);
  TG_FAIL(TG_EUNAVAILABLE, "waited %g s for %s worker %d (rank %d)", timeout_s, what, rank - 1,
          rank);
}

tg_status tg_mpi_finish(double timeout_s, MPI_Request *requests, size_t count, size_t *done,
                        const char *what, int rank) {
  tg_patience patience = tg_patience_begin(timeout_s);
  for (size_t before = *done;; before = *done) {
    TG_TRY(tg_mpi_advance(requests, count, done));
    if (*done == count) return TG_OK;
    if (*done > before)
      patience = tg_patience_begin(timeout_s);
    else if (!tg_patience_pause(&patience))
      return tg_mpi_late(timeout_s, what, rank);
  }
}
