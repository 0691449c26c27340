/* device.cc - the emulator's devices, its errors, and its environment. */
#include "emulator.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace tg_emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device_of_thread = 0;
uint64_t shuffles; /* how many orders were made: each is another one */

uint64_t mix(uint64_t x) { /* splitmix64 */
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void fill(cudaDeviceProp *p, int device) {
  *p = cudaDeviceProp{};
  std::snprintf(p->name, sizeof p->name, "emulated");
  p->totalGlobalMem = size_t(environment("TARDIGRAD_EMULATOR_MEMORY", 8ull << 30));
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = 227 << 10;
  p->sharedMemPerMultiprocessor = 228 << 10;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 64 << 10;
  p->major = 9;
  p->multiProcessorCount = 2;
  p->concurrentKernels = p->unifiedAddressing = p->streamPrioritiesSupported = 1;
  p->pciBusID = device + 1;
  p->asyncEngineCount = 2;
  p->memoryBusWidth = 512;
  p->l2CacheSize = 4 << 20;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
}

cudaError_t check_device(int device) {
  if (device_count() == 0) return cudaErrorNoDevice;
  return device < 0 || device >= device_count() ? cudaErrorInvalidDevice : cudaSuccess;
}

bool attribute(const cudaDeviceProp &p, cudaDeviceAttr attr, int *value) {
  switch (attr) {
  case cudaDevAttrMaxThreadsPerBlock:
    return *value = p.maxThreadsPerBlock, true;
  case cudaDevAttrMaxBlockDimX:
    return *value = p.maxThreadsDim[0], true;
  case cudaDevAttrMaxBlockDimY:
    return *value = p.maxThreadsDim[1], true;
  case cudaDevAttrMaxBlockDimZ:
    return *value = p.maxThreadsDim[2], true;
  case cudaDevAttrMaxGridDimX:
    return *value = p.maxGridSize[0], true;
  case cudaDevAttrMaxGridDimY:
    return *value = p.maxGridSize[1], true;
  case cudaDevAttrMaxGridDimZ:
    return *value = p.maxGridSize[2], true;
  case cudaDevAttrMaxSharedMemoryPerBlock:
    return *value = int(p.sharedMemPerBlock), true;
  case cudaDevAttrWarpSize:
    return *value = p.warpSize, true;
  case cudaDevAttrClockRate:
    return *value = 1000000, true; /* kHz */
  case cudaDevAttrMemoryClockRate:
    return *value = 1000000, true; /* kHz */
  case cudaDevAttrMultiProcessorCount:
    return *value = p.multiProcessorCount, true;
  case cudaDevAttrPciBusId:
    return *value = p.pciBusID, true;
  case cudaDevAttrPciDeviceId:
    return *value = p.pciDeviceID, true;
  case cudaDevAttrPciDomainId:
    return *value = p.pciDomainID, true;
  case cudaDevAttrGlobalMemoryBusWidth:
    return *value = p.memoryBusWidth, true;
  case cudaDevAttrL2CacheSize:
    return *value = p.l2CacheSize, true;
  case cudaDevAttrMaxThreadsPerMultiProcessor:
    return *value = p.maxThreadsPerMultiProcessor, true;
  case cudaDevAttrComputeCapabilityMajor:
    return *value = p.major, true;
  case cudaDevAttrComputeCapabilityMinor:
    return *value = p.minor, true;
  }
  return false;
}

} // namespace

cudaError_t record(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fputs("CUDA emulator: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
  std::fflush(stderr);
  std::abort();
}

unsigned long long environment(const char *name, unsigned long long otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

int device_count() {
  unsigned long long n = environment("TARDIGRAD_EMULATOR_DEVICES", 1);
  return int(n < MAX_DEVICES ? n : MAX_DEVICES);
}

int current_device() {
  return device_of_thread;
}

std::recursive_mutex &state_lock() {
  /* Never destroyed: CUDA may be called while the program ends. */
  static auto *lock = new std::recursive_mutex;
  return *lock;
}

shuffler::shuffler() {
  uint64_t seed = environment("TARDIGRAD_EMULATOR_SEED", 0);
  natural_ = seed == 0;
  state_ = natural_ ? 0 : mix(seed) ^ mix(++shuffles);
}

uint64_t shuffler::below(uint64_t n) {
  return mix(state_++) % n;
}

void shuffler::shuffle(std::vector<int> &order) {
  if (natural_) return;
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[below(i)]);
}

} // namespace tg_emulator

using namespace tg_emulator;

cudaError_t cudaGetDeviceCount(int *count) {
  if (!count) return record(cudaErrorInvalidValue);
  *count = device_count();
  return record(*count ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  cudaError_t error = check_device(device);
  if (error == cudaSuccess) device_of_thread = device;
  return record(error);
}

cudaError_t cudaGetDevice(int *device) {
  if (!device) return record(cudaErrorInvalidValue);
  *device = device_of_thread;
  return record(check_device(*device));
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
  cudaError_t error = prop ? check_device(device) : cudaErrorInvalidValue;
  if (error == cudaSuccess) fill(prop, device);
  return record(error);
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device) {
  cudaError_t error = value ? check_device(device) : cudaErrorInvalidValue;
  if (error != cudaSuccess) return record(error);
  cudaDeviceProp prop;
  fill(&prop, device);
  return record(attribute(prop, attr, value) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetPCIBusId(char *pciBusId, int len, int device) {
  cudaError_t error = pciBusId && len > 12 ? check_device(device) : cudaErrorInvalidValue;
  if (error == cudaSuccess) std::snprintf(pciBusId, size_t(len), "0000:%02X:00.0", device + 1);
  return record(error);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *leastPriority, int *greatestPriority) {
  if (leastPriority) *leastPriority = 0;
  if (greatestPriority) *greatestPriority = -5;
  return record(check_device(device_of_thread));
}

cudaError_t cudaDeviceSynchronize(void) {
  if (capture_forbids_waiting()) return record(cudaErrorStreamCaptureUnsupported);
  streams_run(true);
  check_guards("cudaDeviceSynchronize");
  return record(check_device(device_of_thread));
}

cudaError_t cudaGetLastError(void) {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

const char *cudaGetErrorName(cudaError_t error) {
#define TG_EMULATED_NAME(name, number, text)                                                       \
  if (int(error) == number) return #name;
  TG_EMULATED_CUDA_ERRORS(TG_EMULATED_NAME)
  return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error) {
#define TG_EMULATED_STRING(name, number, text)                                                     \
  if (int(error) == number) return text;
  TG_EMULATED_CUDA_ERRORS(TG_EMULATED_STRING)
  return "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int *driverVersion) {
  if (!driverVersion) return record(cudaErrorInvalidValue);
  *driverVersion = device_count() ? CUDART_VERSION : 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *runtimeVersion) {
  if (!runtimeVersion) return record(cudaErrorInvalidValue);
  *runtimeVersion = CUDART_VERSION;
  return cudaSuccess;
}
