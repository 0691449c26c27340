/* nccl_shared.cc - the segment of shared memory, and its barrier. */
#include "nccl_shared.h"
#include "emulator.h"

#include <cstdio>
#include <ctime>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tg_emulator {
namespace {

size_t bytes_of(int ranks) {
  return sizeof(meeting) + 2 * size_t(ranks) * CHUNK;
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

int latest(meeting *m, int ranks, uint64_t barrier) {
  for (int r = 0; r < ranks; r++)
    if (m->rank[r].arrived.load(std::memory_order_acquire) < barrier) return r;
  return -1;
}

void pause(unsigned turn) {
  timespec short_while = {0, 20000};
  if (turn < 200)
    sched_yield();
  else
    nanosleep(&short_while, nullptr);
}

} // namespace

ncclResult_t meeting_open(const char *name, int ranks, meeting **out) {
  int file = shm_open(name, O_RDWR | O_CREAT, 0600);
  if (file < 0) return ncclSystemError;
  /* Every rank sets the same size, and what is there already stays. */
  void *memory = MAP_FAILED;
  if (ftruncate(file, off_t(bytes_of(ranks))) == 0)
    memory = mmap(nullptr, bytes_of(ranks), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  *out = static_cast<meeting *>(memory);
  return ncclSuccess;
}

void meeting_close(meeting *m, int ranks) {
  munmap(m, bytes_of(ranks));
}

ncclResult_t meeting_barrier(meeting *m, int ranks, int rank, const std::atomic<bool> &aborted) {
  uint64_t barrier = m->rank[rank].arrived.fetch_add(1, std::memory_order_acq_rel) + 1;
  double seconds = double(environment("TARDIGRAD_EMULATOR_TIMEOUT", 60));
  double end = now() + seconds;
  for (unsigned turn = 0;; turn++) {
    int missing = latest(m, ranks, barrier);
    if (missing < 0) return ncclSuccess;
    if (aborted.load()) return ncclInternalError;
    if (turn % 64 == 63 && now() > end) {
      std::fprintf(stderr, "NCCL emulator: rank %d waited %g s for rank %d\n", rank, seconds,
                   missing);
      return ncclSystemError;
    }
    pause(turn);
  }
}

} // namespace tg_emulator
