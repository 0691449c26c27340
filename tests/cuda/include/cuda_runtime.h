/* cuda_runtime.h - an emulator of the part of CUDA that TardiGrad uses, for tests without a GPU.
 *
 * What it is: the headers of this folder declare CUDA's runtime, cuBLAS, cuDNN and NCCL as far as
 * the plugin uses them; the .cc files of tests/cuda (all but test_*.cc) implement them on the host.
 * The kernels, compiled by g++ with -DTG_EMULATED, and the host side of the plugin run unchanged:
 * indices, barriers, shuffles, launch shapes, streams, graphs and error paths are the real ones.
 * Blocks run one after the other, the threads of a block as fibers that switch only at barriers and
 * warp operations. Work runs at the call that gives it to a stream, unless the stream captures.
 *
 * What it is not: no model of time, caches, occupancy, registers, or of memory between threads that
 * run at once, and no bit-for-bit arithmetic of a GPU (approximate intrinsics are libm's; sums of
 * cuBLAS and cuDNN are exact up to one rounding). Shared memory starts with what the block before
 * left in it. A race shows only where an order of threads shows it: run under several seeds.
 *
 * What it checks: device memory starts as NaN and lies between guard zones (under AddressSanitizer:
 * in its heap); a value shuffled from a lane that has none is NaN; pointers given to kernels,
 * copies and libraries must be device memory; workspaces are overwritten; a barrier that cannot be
 * reached, an illegal launch and a call that a capture forbids are found.
 *
 * Environment (TARDIGRAD_EMULATOR_...; the default in brackets):
 *   SEED=N     shuffles the order of blocks, of the threads of a block, and of the nodes of a graph
 *              that do not depend on each other, and lets warps run ahead [0: natural orders]
 *   LAZY=1     runs the work of a stream as late as CUDA allows, when somebody waits for it: finds
 *              host code that does not wait [0: at once]
 *   DEVICES=N  how many devices there are [1]
 *   MEMORY=N   bytes of memory of a device [8 GiB]
 *   TIMEOUT=N  seconds that NCCL waits for the other ranks [60] */
#ifndef TESTS_CUDA_CUDA_RUNTIME_H
#define TESTS_CUDA_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"

#ifdef __cplusplus
#include "emulator_device.h"
#include "emulator_math.h"
#endif

#endif
