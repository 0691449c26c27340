/* trace.h - the arrival order of an asynchronous run: the only thing that happened by chance.
 *
 * trace.bin: a 32-byte header { "TGTRACE1", uint32 version = 1, uint32 workers, uint64 seed, 8 zero
 * bytes }, then two little-endian uint32 per message that the server took, in the order in which it
 * took them: the source (bits 0..23 the worker, 0-based; bits 24..31 the tg_msg_kind), and a print
 * of the gradient, by which replay finds the first that differs. The file only grows, by whole
 * records, each written before its message is handled: after a crash a torn last record is dropped.
 */
#ifndef TARDIGRAD_TRACE_H
#define TARDIGRAD_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "tardigrad/message.h"
#include "tardigrad/status.h"

typedef struct tg_trace tg_trace;

/* tg_trace_create - a new, empty trace file. tg_trace_open - an existing one, to be appended to;
 * its records from `from` on become the prescribed order (tg_trace_next).
 * tg_trace_read - sources and prints of an existing file's records, for reading only: malloc'ed;
 * prints may be NULL.
 * Errors: TG_ENOINPUT, TG_EDATA (file, offset, what was expected). */
TG_CHECKED tg_status tg_trace_create(const char *path, uint32_t workers, uint64_t seed,
                                     tg_trace **out);
TG_CHECKED tg_status tg_trace_open(const char *path, uint32_t workers, uint64_t seed, uint64_t from,
                                   tg_trace **out);
TG_CHECKED tg_status tg_trace_read(const char *path, uint32_t *workers, uint64_t *seed,
                                   uint32_t **records, uint32_t **prints, size_t *count);
/* Flushes; NULL is fine. */
void tg_trace_close(tg_trace *trace);

/* tg_trace_next - the worker that the prescribed order asks for next, or -1 when the order is used
 * up and messages are taken as they arrive. */
int tg_trace_next(const tg_trace *trace);
/* tg_trace_append - notes one message. While an order is prescribed its source must be the one in
 * the file (TG_ERUNTIME otherwise); a print that differs is warned about once and replaced. */
TG_CHECKED tg_status tg_trace_append(tg_trace *trace, uint32_t worker, uint32_t kind,
                                     uint32_t print);
/* tg_trace_print - 32 bits of a push's version, step, loss, norm and correct predictions; 0 for an
 * evaluation. */
uint32_t tg_trace_print(const tg_msg *msg);
/* tg_trace_count - records handled so far: what a checkpoint notes as its place in the trace. */
uint64_t tg_trace_count(const tg_trace *trace);
/* tg_trace_sync - waits until what was written is on the disk: before a checkpoint notes its place
 * in the trace, so that a power cut cannot take that place away. */
TG_CHECKED tg_status tg_trace_sync(const tg_trace *trace);

#endif
