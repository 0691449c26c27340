/* test_emulator_nccl.cc - all-reduce between processes. */
#include "test_emulator.h"

#include <nccl.h>

#include <thread>

#include <sys/wait.h>
#include <unistd.h>

namespace {

/* Runs run(rank) in as many processes; true when all return 0. `fails`: what they say on stderr is
 * meant to be. */
bool all_ranks(int ranks, bool fails, const std::function<int(int)> &run) {
  std::fflush(stderr);
  for (int r = 0; r < ranks; r++) {
    pid_t child = fork();
    if (child != 0) continue;
    alarm(60);
    if (fails && !std::freopen("/dev/null", "w", stderr)) _exit(99);
    _exit(run(r));
  }
  bool good = true;
  int status = 0;
  while (wait(&status) > 0) good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return good;
}

float part(int rank, size_t i) {
  return float(rank + 1) * 0.1f + float(i % 7);
}

/* The sum in the order of the ranks, as the emulator promises. */
bool summed(const std::vector<float> &got, int ranks, float times) {
  for (size_t i = 0; i < got.size(); i++) {
    float sum = part(0, i) * times;
    for (int r = 1; r < ranks; r++) sum += part(r, i) * times;
    if (got[i] != sum) return false;
  }
  return true;
}

std::vector<float> parts(int rank, size_t n) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; i++) out[i] = part(rank, i);
  return out;
}

int sum_eagerly(ncclComm_t comm, int ranks, int rank) {
  for (size_t n : {1, 1000, 200001}) { /* the last in several chunks */
    on_device<float> x(parts(rank, n)), y(n);
    if (ncclAllReduce(x.get(), y.get(), n, ncclFloat32, ncclSum, comm, 0) != ncclSuccess) return 2;
    if (!summed(y.values(), ranks, 1) || x.values() != parts(rank, n)) return 3;
    ncclGroupStart();
    ncclAllReduce(x.get(), x.get(), n, ncclFloat, ncclSum, comm, 0); /* in place */
    if (x.values() != parts(rank, n)) return 4;
    if (ncclGroupEnd() != ncclSuccess || !summed(x.values(), ranks, 1)) return 5;
  }
  return 0;
}

int sum_in_graph(ncclComm_t comm, int ranks, int rank) {
  cudaStream_t s = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  on_device<float> x(parts(rank, 10)), y(10);
  cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  if (ncclAllReduce(x.get(), y.get(), 10, ncclFloat, ncclSum, comm, s) != ncclSuccess) return 6;
  if (cudaStreamEndCapture(s, &graph) || cudaGraphInstantiate(&exec, graph, 0)) return 7;
  for (int i = 0; i < 3; i++)
    if (cudaGraphLaunch(exec, s) || cudaStreamSynchronize(s) || !summed(y.values(), ranks, 1))
      return 8;
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(s);
  return 0;
}

int sums(const ncclUniqueId &id, int ranks, int rank) {
  ncclComm_t comm = nullptr;
  ncclResult_t state = ncclSystemError;
  int count = 0;
  cudaSetDevice(rank);
  if (ncclCommInitRank(&comm, ranks, id, rank) != ncclSuccess) return 1;
  int result = sum_eagerly(comm, ranks, rank);
  if (result == 0) result = sum_in_graph(comm, ranks, rank);
  if (ncclCommGetAsyncError(comm, &state) != ncclSuccess || state != ncclSuccess) result = 9;
  if (ncclCommCount(comm, &count) != ncclSuccess || count != ranks) result = 10;
  if (ncclCommDestroy(comm) != ncclSuccess || failures) result = 11;
  return result;
}

int one_is_late(const ncclUniqueId &id, int rank) {
  ncclComm_t comm = nullptr;
  ncclResult_t state = ncclSuccess;
  on_device<float> x(4);
  cudaSetDevice(rank);
  if (ncclCommInitRank(&comm, 2, id, rank) != ncclSuccess) return 1;
  if (rank == 1) return 0; /* it never comes to the sum */
  setenv("TARDIGRAD_EMULATOR_TIMEOUT", "1", 1);
  if (ncclAllReduce(x.get(), x.get(), 4, ncclFloat, ncclSum, comm, 0) != ncclSystemError) return 2;
  if (ncclCommGetAsyncError(comm, &state) != ncclSuccess || state != ncclSystemError) return 3;
  return ncclCommAbort(comm) != ncclSuccess;
}

int aborted_while_waiting(const ncclUniqueId &id, int rank) {
  ncclComm_t comm = nullptr;
  on_device<float> x(4);
  cudaSetDevice(rank);
  if (ncclCommInitRank(&comm, 2, id, rank) != ncclSuccess) return 1;
  if (rank == 1) return 0;
  ncclResult_t result = ncclSuccess;
  std::thread waiting(
      [&] { result = ncclAllReduce(x.get(), x.get(), 4, ncclFloat, ncclSum, comm, 0); });
  usleep(200000);
  ncclCommAbort(comm);
  waiting.join();
  return result == ncclSuccess;
}

/* One of two ranks on device 0. */
int init_gives(const ncclUniqueId &id, int rank, ncclResult_t expected) {
  ncclComm_t comm = nullptr;
  return ncclCommInitRank(&comm, 2, id, rank) != expected || comm;
}

int counts_differ(const ncclUniqueId &id, int rank) {
  ncclComm_t comm = nullptr;
  on_device<float> x(4);
  cudaSetDevice(rank);
  if (ncclCommInitRank(&comm, 2, id, rank) != ncclSuccess) return 1;
  size_t n = size_t(rank) + 1;
  return ncclAllReduce(x.get(), x.get(), n, ncclFloat, ncclSum, comm, 0) != ncclInvalidUsage;
}

} // namespace

void test_nccl() {
  ncclUniqueId id;
  auto fresh = [&] { CHECK(ncclGetUniqueId(&id) == ncclSuccess); };
  setenv("TARDIGRAD_EMULATOR_DEVICES", "3", 1);
  fresh();
  CHECK(all_ranks(1, false, [&](int r) { return sums(id, 1, r); }));
  fresh();
  CHECK(all_ranks(3, false, [&](int r) { return sums(id, 3, r); }));
  fresh(); /* both on device 0 */
  CHECK(all_ranks(2, true, [&](int r) { return init_gives(id, r, ncclInvalidUsage); }));
  fresh();
  CHECK(all_ranks(2, true, [&](int r) { return one_is_late(id, r); }));
  fresh();
  CHECK(all_ranks(2, true, [&](int r) { return aborted_while_waiting(id, r); }));
  fresh();
  CHECK(all_ranks(2, true, [&](int r) { return counts_differ(id, r); }));
  fresh(); /* nobody else comes */
  setenv("TARDIGRAD_EMULATOR_TIMEOUT", "1", 1);
  CHECK(all_ranks(1, true, [&](int r) { return init_gives(id, r, ncclSystemError); }));
  unsetenv("TARDIGRAD_EMULATOR_TIMEOUT");
  ncclComm_t comm = nullptr;
  CHECK(ncclCommInitRank(&comm, 2, id, 2) == ncclInvalidArgument);
  unsetenv("TARDIGRAD_EMULATOR_DEVICES");
}
