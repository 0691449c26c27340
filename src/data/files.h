/* files.h - what the readers of data files share.
 *
 * A data file may be damaged in any way: every byte is asked for through a reader that knows where
 * it is, so that messages can name the offset, and no memory is taken for content that the file is
 * too small to hold. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include "tardigrad/data.h"

/* Every row, so that its definition is checked against one declaration. */
#define TG_DATASET(name) extern const tg_dataset_source tg_dataset_##name;
#include "data/datasets.def"
#undef TG_DATASET

/* One file, plain or gzip (told apart by content), read front to back. */
typedef struct tg_reader tg_reader;

/* tg_reader_open - TG_ENOINPUT if the file cannot be opened or is no regular file. */
TG_CHECKED tg_status tg_reader_open(const char *path, tg_reader **out);
void tg_reader_close(tg_reader *reader); /* NULL is fine */
const char *tg_reader_path(const tg_reader *reader);
/* Bytes of content read so far: of the uncompressed content, where the file is gzip. */
uint64_t tg_reader_offset(const tg_reader *reader);

/* tg_reader_read - exactly `bytes` bytes; `what` names them in messages.
 * Errors: TG_EDATA with path and offset when the file ends before or its compression is corrupt. */
TG_CHECKED tg_status tg_reader_read(tg_reader *reader, size_t bytes, const char *what, void *to);
/* tg_reader_expect - fails as tg_reader_read would if the file is too small to hold `bytes` more
 * bytes (gzip shrinks by 1032 at most): to be asked before memory is taken. */
TG_CHECKED tg_status tg_reader_expect(tg_reader *reader, uint64_t bytes, const char *what);
/* tg_reader_end - TG_EDATA unless the content ends here; checks gzip's own check sum. */
TG_CHECKED tg_status tg_reader_end(tg_reader *reader);

/* tg_file_exists - whether <folder>/<name><suffix> is there. */
bool tg_file_exists(const char *folder, const char *name, const char *suffix);

/* IDX (MNIST's format): load and present of rows whose four files have MNIST's names. As for every
 * load, *pixels and *labels are NULL before, and freed by the caller after a failure too. */
TG_CHECKED tg_status tg_idx_load(const tg_dataset_source *self, const tg_data_options *options,
                                 const char *folder, tg_split split, uint32_t *count,
                                 uint8_t **pixels, int32_t **labels);
bool tg_idx_present(const char *folder);

#endif
