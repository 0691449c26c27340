#include "data/normalise.h"

void tg_pixel_table_make(const tg_dataset *dataset, tg_pixel_table table) {
  for (int c = 0; c < dataset->channels; c++)
    for (int p = 0; p < 256; p++)
      table[c][p] = (float)((p / 255.0 - (double)dataset->mean[c]) / (double)dataset->std[c]);
}

void tg_normalise_image(const tg_dataset *dataset, const tg_pixel_table table,
                        const uint8_t *pixels, float *x) {
  size_t plane = (size_t)(dataset->height * dataset->width);
  for (int c = 0; c < dataset->channels; c++)
    for (size_t i = 0; i < plane; i++) *x++ = table[c][*pixels++];
}

static int at_least(int value, int least) {
  return value < least ? least : value;
}

static int at_most(int value, int most) {
  return value > most ? most : value;
}

/* One row x[width]: columns shift .. shift+width-1 of `pixels`, black where there are none. */
static void cut_row(const float *table, const uint8_t *pixels, int width, int shift, float *x) {
  int begin = at_most(at_least(-shift, 0), width),
      end = at_least(at_most(width - shift, width), begin);
  for (int i = 0; i < begin; i++) x[i] = table[0];
  for (int i = begin; i < end; i++) x[i] = table[pixels[i + shift]];
  for (int i = end; i < width; i++) x[i] = table[0];
}

static void reverse(float *x, int n) {
  for (int i = 0, j = n - 1; i < j; i++, j--) {
    float t = x[i];
    x[i] = x[j];
    x[j] = t;
  }
}

void tg_normalise_cut(const tg_dataset *dataset, const tg_pixel_table table, tg_cut cut,
                      const uint8_t *pixels, float *x) {
  int height = dataset->height, width = dataset->width;
  for (int c = 0; c < dataset->channels; c++, pixels += height * width)
    for (int y = 0; y < height; y++, x += width) {
      int from = y + cut.top - TG_CROP_PAD;
      if (from < 0 || from >= height)
        for (int i = 0; i < width; i++) x[i] = table[c][0];
      else
        cut_row(table[c], pixels + from * width, width, cut.left - TG_CROP_PAD, x);
      if (cut.flip) reverse(x, width);
    }
}
