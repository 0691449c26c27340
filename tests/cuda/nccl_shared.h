/* nccl_shared.h - the meeting place of the ranks of a communicator: a segment of shared memory. */
#ifndef TESTS_CUDA_NCCL_SHARED_H
#define TESTS_CUDA_NCCL_SHARED_H

#include <nccl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tg_emulator {

constexpr int MAX_RANKS = 64;
constexpr size_t CHUNK = size_t(256) << 10; /* bytes of a rank that are exchanged at a time */

/* Zero at first, as new shared memory is. */
struct meeting {
  std::atomic<uint32_t> joined;
  std::atomic<uint32_t> ranks; /* that the first to come expects */
  struct {
    std::atomic<uint64_t> arrived;       /* how many barriers this rank has come to */
    std::atomic<uint64_t> pci;           /* of its device, plus one */
    std::atomic<uint64_t> count, number; /* of its present call: elements, which call */
  } rank[MAX_RANKS];
  /* Two chunks of every rank, used in turn, so that one barrier a chunk is enough. */
  alignas(64) unsigned char data[1]; /* [2][ranks][CHUNK] */
};

/* Opens the segment of that name, or makes it. ncclSystemError: it cannot be had. */
ncclResult_t meeting_open(const char *name, int ranks, meeting **out);
void meeting_close(meeting *m, int ranks);
inline unsigned char *meeting_chunk(meeting *m, int ranks, uint64_t turn, int rank) {
  return m->data + (size_t(turn % 2) * size_t(ranks) + size_t(rank)) * CHUNK;
}
/* Comes to the next barrier and waits for all. ncclSystemError: some did not come in time, whom a
 * line on stderr names. ncclInternalError: *aborted became true meanwhile. */
ncclResult_t meeting_barrier(meeting *m, int ranks, int rank, const std::atomic<bool> &aborted);

} // namespace tg_emulator

#endif
