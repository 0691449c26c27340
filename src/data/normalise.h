/* normalise.h - from bytes to what a network is given. */
#ifndef DATA_NORMALISE_H
#define DATA_NORMALISE_H

#include "tardigrad/data.h"

/* (p/255 - mean) / std of every pixel value p, per channel: no division per pixel. */
typedef float tg_pixel_table[3][256];

void tg_pixel_table_make(const tg_dataset *dataset, tg_pixel_table table);

/* tg_normalise_image - one image [C,H,W] as it is. */
void tg_normalise_image(const tg_dataset *dataset, const tg_pixel_table table,
                        const uint8_t *pixels, float *x);

/* Where an augmented image is cut from the image padded with TG_CROP_PAD black pixels all around,
 * and whether left and right change places afterwards. */
enum { TG_CROP_PAD = 4 };
typedef struct tg_crop {
  int top, left; /* 0 .. 2*TG_CROP_PAD */
  bool flip;
} tg_crop;

/* tg_normalise_crop - one image [C,H,W], augmented. */
void tg_normalise_crop(const tg_dataset *dataset, const tg_pixel_table table, tg_crop crop,
                       const uint8_t *pixels, float *x);

#endif
