/* word_mpi.c - short messages that nobody waits for. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm_mpi.h"

typedef struct word {
  struct word *next;
  MPI_Request request;
  int rank;
  char bytes[TG_WORD];
} word;

struct tg_mpi_words {
  word *sent, **last; /* not known to have left, the oldest first */
  word *spare;
};

/* Those that have left, in the order in which they were said. */
static tg_status reap(tg_mpi_words *s) {
  for (int flag = 1; s->sent;) {
    word *w = s->sent;
    TG_MPI(MPI_Test(&w->request, &flag, MPI_STATUS_IGNORE));
    if (!flag) return TG_OK;
    s->sent = w->next;
    if (!s->sent) s->last = &s->sent;
    w->next = s->spare;
    s->spare = w;
  }
  return TG_OK;
}

static tg_status open_words(tg_comm *c) {
  if (c->words) return TG_OK;
  c->words = calloc(1, sizeof *c->words);
  if (!c->words) TG_FAIL(TG_ERUNTIME, "no memory for messages");
  c->words->last = &c->words->sent;
  return TG_OK;
}

tg_status tg_mpi_say(tg_comm *c, uint32_t peer, const void *data, size_t bytes) {
  TG_TRY(open_words(c));
  tg_mpi_words *s = c->words;
  if (bytes > TG_WORD) TG_FAIL(TG_ERUNTIME, "mpi: a word of %zu bytes, at most %d", bytes, TG_WORD);
  TG_TRY(reap(s));
  word *w = s->spare ? s->spare : malloc(sizeof *w);
  if (!w) TG_FAIL(TG_ERUNTIME, "no memory for a message");
  if (w == s->spare) s->spare = w->next;
  memcpy(w->bytes, data, bytes);
  w->next = NULL;
  w->rank = peer == TG_PEER_SERVER ? 0 : (int)peer + 1;
  *s->last = w;
  s->last = &w->next;
  w->request = MPI_REQUEST_NULL;
  TG_MPI(MPI_Isend(w->bytes, (int)bytes, MPI_BYTE, w->rank, TG_TAG_WORD, c->comm, &w->request));
  return TG_OK;
}

tg_status tg_mpi_hear(tg_comm *c, void *data, size_t bytes, bool *got) {
  MPI_Status from;
  int flag, count;
  *got = false;
  if (c->words) TG_TRY(reap(c->words));
  TG_MPI(MPI_Iprobe(MPI_ANY_SOURCE, TG_TAG_WORD, c->comm, &flag, &from));
  if (!flag) return TG_OK;
  TG_MPI(MPI_Get_count(&from, MPI_BYTE, &count));
  if ((size_t)count != bytes)
    TG_FAIL(TG_ERUNTIME, "mpi: a word of %d bytes from rank %d, %zu expected", count,
            from.MPI_SOURCE, bytes);
  /* It has come: this does not wait. */
  TG_MPI(MPI_Recv(data, count, MPI_BYTE, from.MPI_SOURCE, TG_TAG_WORD, c->comm, MPI_STATUS_IGNORE));
  *got = true;
  return TG_OK;
}

void tg_mpi_words_close(tg_comm *c) {
  tg_mpi_words *s = c->words;
  if (!s) return;
  tg_patience patience = tg_patience_begin(1, true);
  while (s->sent && reap(s) == TG_OK && s->sent && tg_patience_pause(&patience)) continue;
  if (s->sent) return; /* after a failure: they may still be read */
  while (s->spare) {
    word *w = s->spare;
    s->spare = w->next;
    free(w);
  }
  free(s);
}
