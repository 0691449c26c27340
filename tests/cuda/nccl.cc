/* nccl.cc - communicators and all-reduce of the emulator. */
#include <nccl.h>

#include "emulator.h"
#include "nccl_shared.h"

#include <cstdio>
#include <cstring>

#include <sys/mman.h>
#include <sys/random.h>

namespace tg_emulator {

/* Lives until the last of its queued calls is gone, though it be destroyed or aborted before. */
struct communicator {
  meeting *shared = nullptr;
  int rank = 0, ranks = 0, device = 0;
  uint64_t chunks = 0, calls = 0;
  std::atomic<bool> aborted{false};
  std::atomic<int> error{ncclSuccess};
  ~communicator() {
    if (shared) meeting_close(shared, ranks);
  }
};

namespace {

constexpr char MAGIC[] = "/tg-nccl-";
using held = std::shared_ptr<communicator>;

struct all_reduce {
  held comm;
  const float *from;
  float *to;
  size_t count;
  cudaStream_t stream;
};

thread_local int group_depth;
std::vector<all_reduce> &group_calls() {
  thread_local std::vector<all_reduce> calls;
  return calls;
}

/* One chunk: write mine, meet, add all up in the order of the ranks. */
ncclResult_t reduce_chunk(communicator &c, const float *from, float *to, size_t n) {
  uint64_t turn = c.chunks++;
  std::memcpy(meeting_chunk(c.shared, c.ranks, turn, c.rank), from, n * sizeof *from);
  ncclResult_t result = meeting_barrier(c.shared, c.ranks, c.rank, c.aborted);
  if (result != ncclSuccess) return result;
  for (size_t i = 0; i < n; i++) to[i] = 0;
  for (int r = 0; r < c.ranks; r++) {
    const auto *part = reinterpret_cast<const float *>(meeting_chunk(c.shared, c.ranks, turn, r));
    for (size_t i = 0; i < n; i++) to[i] = r ? to[i] + part[i] : part[i];
  }
  return ncclSuccess;
}

/* All ranks must be at the same call with the same count: NCCL would hang or give nonsense. */
ncclResult_t agree(communicator &c, size_t count) {
  auto &own = c.shared->rank[c.rank];
  own.count.store(count);
  own.number.store(++c.calls);
  ncclResult_t result = meeting_barrier(c.shared, c.ranks, c.rank, c.aborted);
  if (result != ncclSuccess) return result;
  for (int r = 0; r < c.ranks; r++) {
    uint64_t theirs = c.shared->rank[r].count.load();
    if (theirs == count) continue;
    std::fprintf(stderr, "NCCL emulator: call %llu sums %zu elements on rank %d, %zu on rank %d\n",
                 (unsigned long long)c.calls, count, c.rank, size_t(theirs), r);
    result = ncclInvalidUsage;
  }
  ncclResult_t met = meeting_barrier(c.shared, c.ranks, c.rank, c.aborted);
  return result != ncclSuccess ? result : met;
}

void run(const all_reduce &call) {
  communicator &c = *call.comm;
  if (c.error.load() != ncclSuccess) return;
  ncclResult_t result = c.aborted.load() ? ncclInternalError : agree(c, call.count);
  constexpr size_t STEP = CHUNK / sizeof(float);
  for (size_t i = 0; i < call.count && result == ncclSuccess; i += STEP) {
    size_t n = call.count - i < STEP ? call.count - i : STEP;
    result = reduce_chunk(c, call.from + i, call.to + i, n);
  }
  c.error.store(result);
  check_guards("NCCL");
}

ncclResult_t queue(const all_reduce &call) {
  if (call.comm->aborted.load()) return ncclInvalidUsage;
  cudaError_t error = enqueue(call.stream, [call] { run(call); });
  return error != cudaSuccess ? ncclUnhandledCudaError : ncclResult_t(call.comm->error.load());
}

/* Devices are told apart by their place on the bus, as two ranks on one GPU are refused. */
ncclResult_t refuse_shared_devices(communicator &c) {
  c.shared->rank[c.rank].pci.store(uint64_t(c.device) + 1);
  ncclResult_t result = meeting_barrier(c.shared, c.ranks, c.rank, c.aborted);
  if (result != ncclSuccess) return result;
  for (int a = 0; a < c.ranks; a++)
    for (int b = 0; b < a; b++)
      if (c.shared->rank[a].pci.load() == c.shared->rank[b].pci.load()) {
        std::fprintf(stderr,
                     "NCCL emulator: duplicate GPU: ranks %d and %d are both on device %d\n", b, a,
                     int(c.shared->rank[a].pci.load()) - 1);
        return ncclInvalidUsage;
      }
  return ncclSuccess;
}

ncclResult_t join(communicator &c, const char *name) {
  ncclResult_t result = meeting_open(name, c.ranks, &c.shared);
  if (result != ncclSuccess) return result;
  uint32_t expected = 0;
  c.shared->ranks.compare_exchange_strong(expected, uint32_t(c.ranks));
  bool agreed = expected == 0 || expected == uint32_t(c.ranks);
  if (!agreed) return ncclInvalidArgument;
  /* The name goes when all have the segment open, or when somebody gives up. */
  if (c.shared->joined.fetch_add(1) + 1 == uint32_t(c.ranks)) shm_unlink(name);
  result = refuse_shared_devices(c);
  if (result == ncclSystemError) shm_unlink(name);
  return result;
}

} // namespace
} // namespace tg_emulator

struct ncclComm {
  tg_emulator::held state;
};

using namespace tg_emulator;

ncclResult_t ncclGetVersion(int *version) {
  if (!version) return ncclInvalidArgument;
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *uniqueId) {
  if (!uniqueId) return ncclInvalidArgument;
  unsigned char random[16];
  if (getrandom(random, sizeof random, 0) != ssize_t(sizeof random)) return ncclSystemError;
  *uniqueId = ncclUniqueId{};
  char *name = uniqueId->internal;
  size_t at = size_t(std::snprintf(name, NCCL_UNIQUE_ID_BYTES, "%s", MAGIC));
  for (unsigned char byte : random)
    at += size_t(std::snprintf(name + at, NCCL_UNIQUE_ID_BYTES - at, "%02x", byte));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank) {
  if (!comm || nranks < 1 || nranks > MAX_RANKS || rank < 0 || rank >= nranks ||
      std::strncmp(commId.internal, MAGIC, sizeof MAGIC - 1) != 0 ||
      std::memchr(commId.internal, 0, sizeof commId.internal) == nullptr)
    return ncclInvalidArgument;
  *comm = nullptr;
  if (device_count() == 0) return ncclUnhandledCudaError;
  if (capture_forbids()) return ncclUnhandledCudaError;
  auto state = std::make_shared<communicator>();
  state->rank = rank;
  state->ranks = nranks;
  state->device = current_device();
  ncclResult_t result = join(*state, commId.internal);
  if (result == ncclSuccess) *comm = new ncclComm{state};
  return result;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm; /* none is fine */
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  comm->state->aborted.store(true);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *asyncError) {
  if (!comm || !asyncError) return ncclInvalidArgument;
  *asyncError = ncclResult_t(comm->state->error.load());
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  if (!comm || !count) return ncclInvalidArgument;
  *count = comm->state->ranks;
  return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
  if (!comm || !device) return ncclInvalidArgument;
  *device = comm->state->device;
  return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  if (!comm || !rank) return ncclInvalidArgument;
  *rank = comm->state->rank;
  return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
  static const char *const texts[] = {"no error",
                                      "unhandled cuda error",
                                      "unhandled system error",
                                      "internal error",
                                      "invalid argument",
                                      "invalid usage",
                                      "remote process exited or there was a network error",
                                      "NCCL operation in progress"};
  return result >= ncclSuccess && result < ncclNumResults ? texts[result] : "unknown result code";
}
const char *ncclGetLastError(ncclComm_t) {
  return "";
}

ncclResult_t ncclAllReduce(const void *sendbuff, void *recvbuff, size_t count,
                           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  if (!comm || datatype != ncclFloat32 || op != ncclSum) return ncclInvalidArgument;
  size_t bytes = count * sizeof(float);
  if (count && (!device_can_use(sendbuff, bytes) || !device_can_use(recvbuff, bytes)))
    return ncclInvalidArgument;
  all_reduce call = {comm->state, static_cast<const float *>(sendbuff),
                     static_cast<float *>(recvbuff), count, stream};
  if (group_depth == 0) return queue(call);
  group_calls().push_back(call);
  return ncclSuccess;
}

ncclResult_t ncclGroupStart(void) {
  group_depth++;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
  if (group_depth == 0) return ncclInvalidUsage;
  if (--group_depth > 0) return ncclSuccess;
  std::vector<all_reduce> calls;
  calls.swap(group_calls());
  for (const all_reduce &call : calls) {
    ncclResult_t result = queue(call);
    if (result != ncclSuccess) return result;
  }
  return ncclSuccess;
}
