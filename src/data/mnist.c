#include "data/files.h"

/* LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/ */
const tg_dataset_source tg_dataset_mnist = {
    .name = "mnist",
    .help = "grey images of handwritten digits, 28x28, 10 classes (the four official IDX files)",
    .channels = 1,
    .height = 28,
    .width = 28,
    .classes = 10,
    .mean = {0.130660476f},
    .std = {0.308107804f},
    .train_count = 60000,
    .test_count = 10000,
    .folders = "/usr/share/datasets/mnist",
    .load = tg_idx_load,
    .present = tg_idx_present,
};
