#include "data/files.h"

#include "data/normalise.h"
#include "tardigrad/log.h"
#include "tardigrad/registry.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const tg_dataset_source *const tg_dataset_sources[] = {
#define TG_DATASET(name) &tg_dataset_##name,
#include "data/datasets.def"
#undef TG_DATASET
};
const size_t tg_dataset_source_count = sizeof tg_dataset_sources / sizeof *tg_dataset_sources;

tg_status tg_dataset_find(const char *name, const tg_dataset_source **out) {
  const char *nearest;
  *out = tg_registry_find(name, (const void *const *)tg_dataset_sources, tg_dataset_source_count,
                          &nearest);
  if (*out) return TG_OK;
  if (nearest)
    TG_FAIL(TG_ECONFIG, "data.name: there is no data set '%s' (nearest: %s)", name, nearest);
  TG_FAIL(TG_ECONFIG, "data.name: there is no data set '%s'; see tardigrad list datasets", name);
}

const char *tg_split_name(tg_split split) {
  static const char *const name[] = {"train", "test", "validation"};
  return name[split];
}

/* ---- where the files are ---- */

typedef struct search {
  const tg_dataset_source *source;
  char folder[PATH_MAX]; /* the last place tried */
  char tried[700];       /* every place tried, for the message */
} search;

static bool try_folder(search *s, const char *folder) {
  size_t used = strlen(s->tried);
  snprintf(s->tried + used, sizeof s->tried - used, "%s%s", used ? ", " : "", folder);
  int length = snprintf(s->folder, sizeof s->folder, "%s", folder);
  return length < (int)sizeof s->folder && s->source->present(s->folder);
}

/* <base>/<name>, spelled with _ and with -. */
static bool try_below(search *s, const char *base) {
  char folder[PATH_MAX];
  int length = snprintf(folder, sizeof folder, "%s/%s", base, s->source->name);
  if (length >= (int)sizeof folder) return false;
  if (try_folder(s, folder)) return true;
  char *name = folder + length - strlen(s->source->name);
  if (!strchr(name, '_')) return false;
  for (char *c = name; *c; c++)
    if (*c == '_') *c = '-';
  return try_folder(s, folder);
}

static bool try_packages(search *s) {
  char folder[PATH_MAX];
  for (const char *place = s->source->folders; *place;) {
    size_t length = strcspn(place, ":");
    snprintf(folder, sizeof folder, "%.*s", (int)length, place);
    if (try_folder(s, folder)) return true;
    place += length + (place[length] == ':');
  }
  return false;
}

static bool try_environment(search *s) {
  const char *base = getenv("TARDIGRAD_DATA");
  return base && *base && (try_below(s, base) || try_folder(s, base));
}

static tg_status find_folder(const tg_data_options *options, search *s) {
  bool named = options->path && *options->path;
  bool found = named ? try_folder(s, options->path) || try_below(s, options->path)
                     : try_packages(s) || try_environment(s) || try_below(s, "data");
  if (found) return TG_OK;
  const char *base = getenv("TARDIGRAD_DATA");
  TG_FAIL(TG_ENOINPUT, "data set %s is in none of these places: %s%s; it is: %s", s->source->name,
          s->tried, named || (base && *base) ? "" : " (data.path and $TARDIGRAD_DATA name others)",
          s->source->help);
}

/* ---- opening ---- */

/* The last samples of the training set are the validation split, and no longer its own. */
static tg_status hold_out(const tg_data_options *options, tg_split split, tg_dataset *d,
                          uint8_t *pixels, int32_t *labels) {
  uint32_t held = options->validation, left = d->count - held;
  if (split == TG_TEST || (split == TG_TRAIN && held == 0)) return TG_OK;
  if (held >= d->count)
    TG_FAIL(TG_ECONFIG,
            "data.validation: %" PRIu32 " leaves nothing of the %" PRIu32 " training samples of %s",
            held, d->count, d->name);
  d->count = left;
  if (split == TG_TRAIN) return TG_OK;
  size_t image = (size_t)(d->channels * d->height * d->width);
  memmove(pixels, pixels + left * image, held * image);
  memmove(labels, labels + left, held * sizeof *labels);
  d->count = held;
  return TG_OK;
}

static tg_status apply_limit(const tg_data_options *options, tg_split split, tg_dataset *d) {
  if (split == TG_VALIDATION) return TG_OK;
  uint32_t limit = split == TG_TRAIN ? options->train_limit : options->test_limit;
  const char *key = split == TG_TRAIN ? "train_limit" : "test_limit";
  if (limit > d->count)
    TG_FAIL(TG_ECONFIG, "data.%s: %" PRIu32 " is beyond the %" PRIu32 " samples of %s", key, limit,
            d->count, d->name);
  if (limit > 0) d->count = limit;
  return TG_OK;
}

/* Other sets' files may have the same names and sizes, as those of MNIST and Fashion-MNIST do. */
static void warn_if_other(const tg_dataset_source *source, const tg_dataset *d,
                          const char *folder) {
  size_t plane = (size_t)(d->height * d->width);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < d->count; i++) {
    const uint8_t *p = d->pixels + i * plane * (size_t)d->channels;
    for (size_t j = 0; j < plane; j++) sum += p[j];
  }
  double mean = (double)sum / (255.0 * (double)plane * d->count);
  if (fabs(mean - source->mean[0]) > 0.02)
    tg_warn("%s: the mean of channel 0 is %.4f, that of %s %.4f: are these its files?", folder,
            mean, source->name, source->mean[0]);
}

static tg_status load(const tg_dataset_source *source, const tg_data_options *options,
                      const char *folder, tg_split split, tg_dataset *d) {
  uint8_t *pixels = NULL;
  int32_t *labels = NULL;
  bool of_test = split == TG_TEST;
  tg_data_options whole = *options;
  if (!of_test && options->validation > 0) whole.train_limit = 0;
  tg_status status = source->load(source, &whole, folder, of_test ? TG_TEST : TG_TRAIN, &d->count,
                                  &pixels, &labels);
  d->pixels = pixels;
  d->labels = labels;
  TG_TRY(status);
  if (split == TG_TRAIN && source->present) warn_if_other(source, d, folder);
  TG_TRY(hold_out(options, split, d, pixels, labels));
  TG_TRY(apply_limit(options, split, d));
  size_t image = (size_t)(d->channels * d->height * d->width);
  /* A limit gives memory back; should that fail, what is there still serves. */
  uint8_t *fewer = realloc(pixels, d->count * image);
  if (fewer) d->pixels = fewer;
  d->bytes = d->count * (image + sizeof *d->labels);
  return TG_OK;
}

tg_status tg_dataset_open(const tg_data_options *options, tg_split split, tg_dataset **out) {
  tg_status status = TG_OK;
  search s = {.folder = ""};
  *out = NULL;
  TG_TRY(tg_dataset_find(options->name, &s.source));
  if (split == TG_VALIDATION && options->validation == 0)
    TG_FAIL(TG_ECONFIG, "data.validation is 0: no samples of %s are held out to validate on",
            s.source->name);
  if (s.source->present) TG_TRY(find_folder(options, &s));
  tg_dataset *d = calloc(1, sizeof *d);
  if (!d) TG_FAIL(TG_ERUNTIME, "no memory for data set %s", s.source->name);
  d->name = s.source->name;
  d->channels = s.source->channels;
  d->height = s.source->height;
  d->width = s.source->width;
  d->classes = s.source->classes;
  memcpy(d->mean, s.source->mean, sizeof d->mean);
  memcpy(d->std, s.source->std, sizeof d->std);
  TG_DO(load(s.source, options, s.folder, split, d));
  *out = d;
done:
  if (status != TG_OK) tg_dataset_close(d);
  return status;
}

void tg_dataset_close(tg_dataset *dataset) {
  if (!dataset) return;
  free((void *)dataset->pixels);
  free((void *)dataset->labels);
  free(dataset);
}

void tg_dataset_fill(const tg_dataset *dataset, uint32_t first, uint32_t count, float *x,
                     int32_t *y) {
  size_t image = (size_t)(dataset->channels * dataset->height * dataset->width);
  tg_pixel_table table;
  tg_pixel_table_make(dataset, table);
  uint32_t there = first < dataset->count ? dataset->count - first : 0;
  if (there > count) there = count;
  for (uint32_t i = 0; i < there; i++) {
    tg_normalise_image(dataset, table, dataset->pixels + ((size_t)first + i) * image,
                       x + i * image);
    y[i] = dataset->labels[first + i];
  }
  memset(x + there * image, 0, (count - there) * image * sizeof *x);
  for (uint32_t i = there; i < count; i++) y[i] = -1;
}

tg_status tg_dataset_on(const tg_dataset *dataset, tg_device *device, void **out) {
  tg_pixel_table table;
  tg_pixel_table_make(dataset, table);
  const tg_images images = {.count = dataset->count,
                            .channels = dataset->channels,
                            .height = dataset->height,
                            .width = dataset->width,
                            .pixels = dataset->pixels,
                            .labels = dataset->labels,
                            .table = table[0]};
  return device->backend->images_open(device, &images, out);
}
