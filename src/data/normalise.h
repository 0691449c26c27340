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

/* tg_normalise_cut - one image [C,H,W], augmented; cut.sample is not looked at. */
void tg_normalise_cut(const tg_dataset *dataset, const tg_pixel_table table, tg_cut cut,
                      const uint8_t *pixels, float *x);

#endif
