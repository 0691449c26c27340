/* cuda_beside.h - rows of the plugin for what goes on beside the kernels: see backend.h. */
#ifndef BACKEND_CUDA_BESIDE_H
#define BACKEND_CUDA_BESIDE_H

#include "backend/cuda_device.h"

TG_CHECKED tg_status tg_cuda_beside_open(tg_cuda_device *c);
void tg_cuda_beside_close(tg_cuda_device *c);

TG_CHECKED tg_status tg_cuda_join(tg_device *d);
TG_CHECKED tg_status tg_cuda_pin(tg_device *d, void *host, size_t bytes);
void tg_cuda_unpin(tg_device *d, void *host);
TG_CHECKED tg_status tg_cuda_to_host_beside(tg_device *d, void *host, const void *src,
                                            size_t bytes);
TG_CHECKED tg_status tg_cuda_to_device_beside(tg_device *d, void *dst, const void *host,
                                              size_t bytes);

TG_CHECKED tg_status tg_cuda_group_id(tg_device *d, tg_group_id *out);
TG_CHECKED tg_status tg_cuda_group_join(tg_device *d, const tg_group_id *id, int member,
                                        int members, double timeout_s);
TG_CHECKED tg_status tg_cuda_group_sum(tg_device *d, size_t n, const float *x, float *sum);
/* tg_cuda_sync_group - waits for the stream while watching over the other members. */
TG_CHECKED tg_status tg_cuda_sync_group(tg_cuda_device *c);

#endif
