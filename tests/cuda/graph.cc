/* graph.cc - stream capture and graphs. A capture is a list of nodes with what each comes after. */
#include "emulator.h"

#include <algorithm>

struct CUgraph_st {
  std::vector<tg_emulator::node> nodes;
};
struct CUgraphExec_st {
  std::vector<tg_emulator::node> nodes;
};

namespace tg_emulator {
namespace {

/* The captures under way with the streams that are in them. */
std::vector<std::shared_ptr<capture>> &captures() {
  static auto *all = new std::vector<std::shared_ptr<capture>>;
  auto over = [](const std::shared_ptr<capture> &c) { return !c->active; };
  all->erase(std::remove_if(all->begin(), all->end(), over), all->end());
  return *all;
}

cudaError_t begin(cudaStream_t handle, cudaStreamCaptureMode mode) {
  locked lock(state_lock());
  CUstream_st *stream = stream_find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
    return cudaErrorInvalidValue;
  if (stream->is_default) return cudaErrorStreamCaptureUnsupported;
  if (stream->capture) {
    stream->capture->valid = false;
    return cudaErrorIllegalState;
  }
  stream->capture = std::make_shared<capture>();
  stream->capture->mode = mode;
  stream->capture->owner = std::this_thread::get_id();
  stream->capture->origin = stream;
  stream->tail.clear();
  captures().push_back(stream->capture);
  return cudaSuccess;
}

/* Whether every node comes before the point where the origin stands. */
bool joined(const capture &c, const std::vector<int> &tail) {
  std::vector<bool> before(c.nodes.size());
  std::vector<int> open = tail;
  while (!open.empty()) {
    int n = open.back();
    open.pop_back();
    if (before[size_t(n)]) continue;
    before[size_t(n)] = true;
    open.insert(open.end(), c.nodes[size_t(n)].needs.begin(), c.nodes[size_t(n)].needs.end());
  }
  return std::all_of(before.begin(), before.end(), [](bool b) { return b; });
}

cudaError_t end(cudaStream_t handle, cudaGraph_t *graph) {
  locked lock(state_lock());
  CUstream_st *stream = stream_find(handle);
  if (!graph) return cudaErrorInvalidValue;
  *graph = nullptr;
  if (!stream || !stream->capture)
    return stream ? cudaErrorIllegalState : cudaErrorInvalidResourceHandle;
  std::shared_ptr<capture> c = stream->capture;
  if (c->origin != stream) {
    c->valid = false;
    return cudaErrorStreamCaptureUnmatched;
  }
  if (c->mode != cudaStreamCaptureModeRelaxed && c->owner != std::this_thread::get_id())
    return cudaErrorStreamCaptureWrongThread;
  std::vector<int> tail = stream->tail;
  c->active = false;
  streams_leave(c);
  if (!c->valid) return cudaErrorStreamCaptureInvalidated;
  if (!joined(*c, tail)) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{c->nodes};
  return cudaSuccess;
}

/* Any order that keeps what comes before what: where none is asked for, that of the capture. */
std::vector<int> order_of(const std::vector<node> &nodes, shuffler &random) {
  std::vector<int> order;
  std::vector<bool> done(nodes.size());
  while (order.size() < nodes.size()) {
    std::vector<int> ready;
    for (size_t i = 0; i < nodes.size(); i++) {
      const std::vector<int> &needs = nodes[i].needs;
      auto is_done = [&](int n) { return bool(done[size_t(n)]); };
      if (!done[i] && std::all_of(needs.begin(), needs.end(), is_done)) ready.push_back(int(i));
    }
    int next = ready[random.below(ready.size())];
    done[size_t(next)] = true;
    order.push_back(next);
  }
  return order;
}

} // namespace

void capture_add(CUstream_st *stream, work run) {
  std::vector<node> &nodes = stream->capture->nodes;
  nodes.push_back(node{std::move(run), stream->tail});
  stream->tail.assign(1, int(nodes.size()) - 1);
}

bool capture_forbids() {
  locked lock(state_lock());
  bool forbids = false;
  for (const std::shared_ptr<capture> &c : captures()) {
    bool own = c->owner == std::this_thread::get_id();
    if (c->mode == cudaStreamCaptureModeRelaxed) continue;
    if (c->mode == cudaStreamCaptureModeThreadLocal && !own) continue;
    c->valid = false;
    forbids = true;
  }
  return forbids;
}

bool capture_forbids_waiting() {
  locked lock(state_lock());
  for (const std::shared_ptr<capture> &c : captures()) c->valid = false;
  return !captures().empty();
}

void run_nodes(const std::vector<node> &nodes) {
  shuffler random;
  if (random.natural())
    for (const node &n : nodes) n.run();
  else
    for (int n : order_of(nodes, random)) nodes[size_t(n)].run();
}

} // namespace tg_emulator

using namespace tg_emulator;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return record(begin(stream, mode));
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *pGraph) {
  return record(end(stream, pGraph));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status) {
  locked lock(state_lock());
  CUstream_st *stream = stream_find(handle);
  if (!stream || !status) return record(cudaErrorInvalidValue);
  if (stream->is_default && capture_forbids_default_stream())
    return record(cudaErrorStreamCaptureImplicit);
  *status = !stream->capture          ? cudaStreamCaptureStatusNone
            : !stream->capture->valid ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *numNodes) {
  if (!graph || !numNodes || nodes) return record(cudaErrorInvalidValue); /* only their number */
  *numNodes = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *pGraphExec, cudaGraph_t graph,
                                 unsigned long long) {
  if (!pGraphExec || !graph) return record(cudaErrorInvalidValue);
  *pGraphExec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t graphExec, cudaStream_t stream) {
  if (!graphExec) return record(cudaErrorInvalidValue);
  locked lock(state_lock());
  return record(stream_find(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graphExec, cudaStream_t stream) {
  if (!graphExec) return record(cudaErrorInvalidValue);
  std::vector<node> nodes = graphExec->nodes; /* a capture may outlive the graph */
  return record(enqueue(stream, [nodes] { run_nodes(nodes); }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graphExec) {
  delete graphExec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
