/* memory.cc - device and pinned memory with guard zones, and copies that know which is which. */
#include "emulator.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

namespace tg_emulator {
namespace {

enum memory_kind { DEVICE, PINNED, REGISTERED, SYMBOL };

struct allocation {
  memory_kind kind;
  size_t size;
  int device;
};

/* AddressSanitizer has its own zones around every allocation, and they are better. */
#ifdef __SANITIZE_ADDRESS__
constexpr size_t GUARD = 0;
#else
constexpr size_t GUARD = 256;
#endif
constexpr size_t ALIGNMENT = 256;
constexpr unsigned char GUARD_BYTE = 0xa5;

/* By address. Never destroyed: memory may be freed while the program ends. */
std::map<uintptr_t, allocation> &allocations() {
  static auto *all = new std::map<uintptr_t, allocation>;
  return *all;
}

/* The allocation in which p lies; its end belongs to it. */
const allocation *find(const void *p, uintptr_t *base) {
  auto next = allocations().upper_bound(uintptr_t(p));
  if (next == allocations().begin()) return nullptr;
  --next;
  if (uintptr_t(p) > next->first + next->second.size) return nullptr;
  *base = next->first;
  return &next->second;
}

void check_guard(uintptr_t base, const allocation &a, const char *when) {
  const auto *p = reinterpret_cast<const unsigned char *>(base);
  for (size_t i = 0; i < GUARD; i++) {
    bool before = p[-1 - ptrdiff_t(i)] != GUARD_BYTE;
    if (!before && p[a.size + i] == GUARD_BYTE) continue;
    die("%s: a write %zu bytes %s an allocation of %zu bytes (%s memory)", when, i + before,
        before ? "before" : "behind the end of", a.size, a.kind == DEVICE ? "device" : "pinned");
  }
}

bool guarded(const allocation &a) {
  return a.kind == DEVICE || a.kind == PINNED;
}

cudaError_t allocate(void **out, size_t size, memory_kind kind) {
  if (!out) return cudaErrorInvalidValue;
  *out = nullptr;
  if (device_count() == 0) return cudaErrorNoDevice;
  if (capture_forbids()) return cudaErrorStreamCaptureUnsupported;
  if (size == 0) return cudaSuccess;
  locked lock(state_lock());
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  void *block = nullptr;
  if (kind == DEVICE && size > free) return cudaErrorMemoryAllocation;
  if (posix_memalign(&block, ALIGNMENT, size + 2 * GUARD) != 0) return cudaErrorMemoryAllocation;
  char *p = static_cast<char *>(block) + GUARD;
  std::memset(block, GUARD_BYTE, GUARD);
  std::memset(p, 0xff, size);
  std::memset(p + size, GUARD_BYTE, GUARD);
  allocations()[uintptr_t(p)] = allocation{kind, size, current_device()};
  *out = p;
  return cudaSuccess;
}

cudaError_t release(void *p, memory_kind kind, const char *when) {
  if (!p) return cudaSuccess;
  if (capture_forbids()) return cudaErrorStreamCaptureUnsupported;
  streams_run(true); /* what is freed may still be in use */
  locked lock(state_lock());
  auto at = allocations().find(uintptr_t(p));
  if (at == allocations().end() || at->second.kind != kind) return cudaErrorInvalidValue;
  check_guard(at->first, at->second, when);
  std::memset(p, 0xff, at->second.size);
  allocations().erase(at);
  std::free(static_cast<char *>(p) - GUARD);
  return cudaSuccess;
}

enum place { HOST, ON_DEVICE, NOWHERE };

/* Where [p, p + size) lies. NOWHERE: it leaves its allocation. */
place place_of(const void *p, size_t size) {
  locked lock(state_lock());
  uintptr_t base;
  const allocation *a = find(p, &base);
  if (!a || (size > 0 && uintptr_t(p) == base + a->size)) return HOST;
  if (uintptr_t(p) + size > base + a->size) return a->kind == REGISTERED ? HOST : NOWHERE;
  return a->kind == DEVICE || a->kind == SYMBOL ? ON_DEVICE : HOST;
}

cudaError_t check_copy(const void *dst, const void *src, size_t size, cudaMemcpyKind kind) {
  if (device_count() == 0) return cudaErrorNoDevice;
  if (size == 0) return cudaSuccess;
  if (!dst || !src || kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
    return kind > cudaMemcpyDefault ? cudaErrorInvalidMemcpyDirection : cudaErrorInvalidValue;
  place to = place_of(dst, size), from = place_of(src, size);
  if (to == NOWHERE || from == NOWHERE) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  place to_named =
      kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice ? ON_DEVICE : HOST;
  place from_named =
      kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ? ON_DEVICE : HOST;
  if (to != to_named || from != from_named) return cudaErrorInvalidValue;
  uintptr_t d = uintptr_t(dst), s = uintptr_t(src);
  return d < s + size && s < d + size ? cudaErrorInvalidValue : cudaSuccess;
}

/* Memory that is not pinned is copied to the driver's own before the call returns, and copies to it
 * are waited for. */
cudaError_t copy_pageable_later(void *dst, const void *src, size_t size, cudaStream_t stream) {
  if (place_of(src, size) == HOST && !device_can_use(src, size)) {
    const char *bytes = static_cast<const char *>(src);
    auto kept = std::make_shared<std::vector<char>>(bytes, bytes + size);
    return enqueue(stream, [=] { std::memcpy(dst, kept->data(), size); });
  }
  cudaError_t error = enqueue(stream, [=] { std::memcpy(dst, src, size); });
  if (error == cudaSuccess && place_of(dst, size) == HOST && !device_can_use(dst, size))
    error = cudaStreamSynchronize(stream);
  return error;
}

cudaError_t copy(void *dst, const void *src, size_t size, cudaMemcpyKind kind,
                 cudaStream_t stream) {
  cudaError_t error = check_copy(dst, src, size, kind);
  if (error != cudaSuccess) return error;
  if (size && stream_defers(stream)) return copy_pageable_later(dst, src, size, stream);
  return enqueue(stream, [=] {
    if (size) std::memcpy(dst, src, size);
  });
}

cudaError_t fill(void *p, int value, size_t size, cudaStream_t stream) {
  if (device_count() == 0) return cudaErrorNoDevice;
  if (size && (!p || place_of(p, size) != ON_DEVICE)) return cudaErrorInvalidValue;
  return enqueue(stream, [=] {
    if (size) std::memset(p, value, size);
  });
}

} // namespace

size_t device_memory_used(int device) {
  locked lock(state_lock());
  size_t used = 0;
  for (const auto &[base, a] : allocations())
    if (a.kind == DEVICE && a.device == device) used += a.size;
  return used;
}

bool device_can_use(const void *p, size_t size) {
  locked lock(state_lock());
  uintptr_t base;
  const allocation *a = find(p, &base);
  return a && uintptr_t(p) + size <= base + a->size;
}

void check_guards(const char *when) {
  locked lock(state_lock());
  for (const auto &[base, a] : allocations())
    if (guarded(a)) check_guard(base, a, when);
}

cudaError_t symbol_register(const void *symbol, size_t size) {
  locked lock(state_lock());
  allocations()[uintptr_t(symbol)] = allocation{SYMBOL, size, current_device()};
  return cudaSuccess;
}

} // namespace tg_emulator

using namespace tg_emulator;

cudaError_t cudaMalloc(void **devPtr, size_t size) {
  return record(allocate(devPtr, size, DEVICE));
}
cudaError_t cudaFree(void *devPtr) {
  return record(release(devPtr, DEVICE, "cudaFree"));
}
cudaError_t cudaMallocHost(void **ptr, size_t size) {
  return record(allocate(ptr, size, PINNED));
}
cudaError_t cudaFreeHost(void *ptr) {
  return record(release(ptr, PINNED, "cudaFreeHost"));
}

cudaError_t cudaHostAlloc(void **pHost, size_t size, unsigned int flags) {
  return record(flags > 7 ? cudaErrorInvalidValue : allocate(pHost, size, PINNED));
}

cudaError_t cudaHostRegister(void *ptr, size_t size, unsigned int flags) {
  if (!ptr || size == 0 || flags > 15) return record(cudaErrorInvalidValue);
  if (device_count() == 0) return record(cudaErrorNoDevice);
  if (capture_forbids()) return record(cudaErrorStreamCaptureUnsupported);
  locked lock(state_lock());
  for (const auto &[base, a] : allocations())
    if (uintptr_t(ptr) < base + a.size && base < uintptr_t(ptr) + size)
      return record(cudaErrorHostMemoryAlreadyRegistered);
  allocations()[uintptr_t(ptr)] = allocation{REGISTERED, size, current_device()};
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *ptr) {
  if (capture_forbids()) return record(cudaErrorStreamCaptureUnsupported);
  locked lock(state_lock());
  auto at = allocations().find(uintptr_t(ptr));
  if (at == allocations().end() || at->second.kind != REGISTERED)
    return record(cudaErrorHostMemoryNotRegistered);
  allocations().erase(at);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  if (!free || !total) return record(cudaErrorInvalidValue);
  cudaDeviceProp prop;
  cudaError_t error = cudaGetDeviceProperties(&prop, current_device());
  if (error != cudaSuccess) return error;
  size_t used = device_memory_used(current_device());
  *total = prop.totalGlobalMem;
  *free = used < *total ? *total - used : 0;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *ptr) {
  if (!attributes) return record(cudaErrorInvalidValue);
  locked lock(state_lock());
  uintptr_t base;
  const allocation *a = find(ptr, &base);
  bool on_device = a && (a->kind == DEVICE || a->kind == SYMBOL);
  attributes->type = !a          ? cudaMemoryTypeUnregistered
                     : on_device ? cudaMemoryTypeDevice
                                 : cudaMemoryTypeHost;
  attributes->device = a ? a->device : -2;
  attributes->devicePointer = a ? const_cast<void *>(ptr) : nullptr;
  attributes->hostPointer = on_device ? nullptr : const_cast<void *>(ptr);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t count, cudaMemcpyKind kind) {
  if (capture_forbids()) return record(cudaErrorStreamCaptureUnsupported);
  return record(copy(dst, src, count, kind, nullptr));
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return record(copy(dst, src, count, kind, stream));
}

cudaError_t cudaMemset(void *devPtr, int value, size_t count) {
  if (capture_forbids()) return record(cudaErrorStreamCaptureUnsupported);
  return record(fill(devPtr, value, count, nullptr));
}

cudaError_t cudaMemsetAsync(void *devPtr, int value, size_t count, cudaStream_t stream) {
  return record(fill(devPtr, value, count, stream));
}
