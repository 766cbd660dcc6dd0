// Counts, reads and moves what is dense; builds the cache of what is not.
#include "engine/offload/offload.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/offload/available_memory.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

constexpr int kReaders = 4;                    // as ExpertCacheOptions::readers
constexpr std::int64_t kPieceBytes = 4 << 20;  // in order, so larger ones than the cache's
constexpr std::int64_t kBesides = std::int64_t{128} << 20;  // left for a first session

template <class T>
std::int64_t bytes_in(const std::vector<T>& values) noexcept {
  return static_cast<std::int64_t>(values.size() * sizeof(T));
}

std::int64_t bytes_in(const HyperWeights& hyper) noexcept {
  return bytes_in(hyper.fn) + bytes_in(hyper.base);
}

std::int64_t bytes_in(const CompressorWeights& compressor) noexcept {
  return bytes_in(compressor.ape) + bytes_in(compressor.norm);
}

std::int64_t vector_bytes(ModelWeights& weights) {
  std::int64_t sum = bytes_in(weights.norm) + bytes_in(weights.hc_head.fn);
  for (const BlockWeights* block : blocks_of(weights)) {
    for (const auto* values : {&block->attn_norm, &block->ffn_norm, &block->q_norm, &block->kv_norm,
                               &block->attn_sink, &block->gate_bias}) {
      sum += bytes_in(*values);
    }
    sum += bytes_in(block->hc_attn) + bytes_in(block->hc_ffn);
    if (block->compressor) sum += bytes_in(*block->compressor);
    if (block->indexer) sum += bytes_in(block->indexer->compressor);
  }
  for (const MtpWeights& mtp : weights.mtp) {
    sum +=
        bytes_in(mtp.enorm) + bytes_in(mtp.hnorm) + bytes_in(mtp.norm) + bytes_in(mtp.hc_head.fn);
  }
  return sum;
}

// The dense matrices that lie in files; copies of misaligned ones are in memory already.
struct Dense {
  std::vector<Tensor*> matrices;
  Layout layout;
};

Dense dense_in_files(ModelWeights& weights) {
  Dense dense;
  for (Tensor* matrix : dense_matrices(weights)) {
    if (lay_out(std::array<const Tensor*, 1>{matrix}, weights.files)) {
      dense.matrices.push_back(matrix);
    }
  }
  const std::vector<const Tensor*> matrices(dense.matrices.begin(), dense.matrices.end());
  dense.layout = lay_out(matrices, weights.files).value_or(Layout());
  return dense;
}

// Reads the extents of a layout into memory, several pieces at a time.
class Loading {
 public:
  Loading(const Layout& layout, const std::vector<std::unique_ptr<WeightFile>>& files,
          const PageMemory& memory)
      : files_(files), memory_(memory) {
    for (const Extent& extent : layout.extents) {
      for (std::int64_t done = 0; done < extent.bytes; done += kPieceBytes) {
        pieces_.push_back({.file = extent.file,
                           .offset = extent.offset + done,
                           .bytes = std::min(kPieceBytes, extent.bytes - done),
                           .place = extent.place + done});
      }
    }
  }

  // Throws Error if a piece cannot be read.
  void run() {
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < kReaders; ++i) threads.emplace_back([this] { read_pieces(); });
    }
    if (failure_ == 0) return;
    throw Error(files_[static_cast<std::size_t>(failed_.file)]->sentence(failure_, failed_.offset));
  }

 private:
  void read_pieces() noexcept {
    for (std::size_t i = next_++; i < pieces_.size(); i = next_++) {
      const Extent& piece = pieces_[i];
      const int failure = files_[static_cast<std::size_t>(piece.file)]->read(
          memory_.part(piece.place, piece.bytes), piece.offset);
      if (failure == 0) continue;
      const std::lock_guard lock(mutex_);
      failure_ = failure;
      failed_ = piece;
      next_ = pieces_.size();
    }
  }

  const std::vector<std::unique_ptr<WeightFile>>& files_;
  const PageMemory& memory_;
  std::vector<Extent> pieces_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  int failure_ = 0;  // guarded by mutex_ while threads run
  Extent failed_;    // likewise
};

void move_dense(ModelWeights& weights, const Dense& dense,
                const std::vector<std::unique_ptr<WeightFile>>& files) {
  const auto memory = std::make_shared<const PageMemory>(dense.layout.bytes);
  Loading(dense.layout, files, *memory).run();
  for (std::size_t i = 0; i < dense.matrices.size(); ++i) {
    *dense.matrices[i] = placed(*dense.matrices[i], dense.layout.places[i], memory->bytes().data());
  }
  // Shares the ownership of all of it.
  weights.copies.emplace_back(std::shared_ptr<const std::byte[]>(memory, memory->bytes().data()));
}

std::vector<std::unique_ptr<WeightFile>> open_files(const ModelWeights& weights) {
  std::vector<std::unique_ptr<WeightFile>> files;
  for (const auto& file : weights.files) {
    files.push_back(open_weight_file(file->path(), file->size()));
  }
  return files;
}

// Experts whose bytes come from the cache keep their shapes alone.
void forget_experts(ModelWeights& weights) {
  for (BlockWeights* block : blocks_of(weights)) {
    for (ExpertWeights& expert : block->experts) {
      for (Tensor* matrix : {&expert.w1, &expert.w3, &expert.w2}) {
        matrix->data = nullptr;
        matrix->scales = nullptr;
      }
    }
  }
}

// Throws Error if `bytes`, or what the system has left, is too little.
int frames_for(const OffloadNeeds& needs, std::int64_t bytes, const std::string& model) {
  if (bytes < needs.least()) {
    throw Error(fmt::format(
        "{}: {} bytes are too little for its weights, expected at least {}: {} "
        "that every token needs and {} experts of {}",
        model, bytes, needs.least(), needs.dense_bytes, needs.frames_least, needs.frame_bytes));
  }
  const std::int64_t left = available_memory() - kBesides;
  if (left < needs.least()) {
    throw Error(
        fmt::format("{}: the system has {} bytes left for its weights, expected at least "
                    "{}: end other programs or raise the limit of the control group",
                    model, std::max<std::int64_t>(left, 0), needs.least()));
  }
  return needs.frames(std::min(bytes, left));
}

}  // namespace

OffloadNeeds offload_needs(ModelWeights& weights) {
  OffloadNeeds needs;
  needs.dense_bytes = vector_bytes(weights) + dense_in_files(weights).layout.bytes;
  for (const BlockWeights* block : blocks_of(weights)) {
    for (const ExpertWeights& expert : block->experts) {
      const std::array<const Tensor*, 3> matrices = {&expert.w1, &expert.w3, &expert.w2};
      const auto layout = lay_out(matrices, weights.files);
      if (!layout) continue;
      ++needs.experts;
      needs.frame_bytes = std::max(needs.frame_bytes, layout->bytes);
    }
  }
  needs.frames_least = std::min(needs.experts, 2 * weights.config.num_experts_per_tok);
  return needs;
}

std::unique_ptr<ExpertCache> offload_experts(ModelWeights& weights, std::int64_t bytes) {
  const std::string model = weights.files.front()->path().string();
  const OffloadNeeds needs = offload_needs(weights);
  const int frames = frames_for(needs, bytes, model);
  auto files = open_files(weights);
  move_dense(weights, dense_in_files(weights), files);
  const auto blocks = blocks_of(weights);
  auto cache = std::make_unique<ExpertCache>(
      std::vector<const BlockWeights*>(blocks.begin(), blocks.end()), weights.files,
      std::move(files),
      ExpertCacheOptions{.frames = frames,
                         .trunk_blocks = static_cast<int>(weights.layers.size()),
                         .experts_per_token = weights.config.num_experts_per_tok,
                         .left = [] { return available_memory(); },
                         .frames_least = needs.frames_least});
  forget_experts(weights);
  return cache;
}

}  // namespace fathom::engine
