#include "data/files.h"

/* Xiao, Rasul and Vollgraf, arXiv:1708.07747. */
const tg_dataset_source tg_dataset_fashion_mnist = {
    .name = "fashion_mnist",
    .help = "grey images of clothes, 28x28, 10 classes (Debian package dataset-fashion-mnist)",
    .channels = 1,
    .height = 28,
    .width = 28,
    .classes = 10,
    .mean = {0.286040597f},
    .std = {0.353024245f},
    .train_count = 60000,
    .test_count = 10000,
    .folders = "/usr/share/datasets/fashion-mnist",
    .load = tg_idx_load,
    .present = tg_idx_present,
};
