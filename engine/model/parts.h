// The parts of a transformer block, in the order of the paper. One file each.
#pragma once

#include "engine/model/pass.h"

namespace fathom::engine {

// attention.cpp: x -> y of one layer; leaves the batch's rows and slots in the caches.
void attention(Pass& pass, const BlockWeights& weights, int layer);

// compressor.cpp: stores the rows of windows that a sequence completes, then keeps the projections
// that unfinished windows need. `values` and `gates` [rows, slots.width] are x · wkvᵀ and x ·
// wgateᵀ.
struct Compression {
  const CompressorWeights& weights;
  int layer;
  bool index_keys;  // the indexer's compressor: keys get a Hadamard rotation
  ConstMatrix values, gates;
};
void compress(Pass& pass, const Compression& compression);

// indexer.cpp: chooses each query's compressed rows into space.chosen.
Selection choose_rows(Pass& pass, int layer);
// Whether the last query of any sequence sees more rows than it may keep; if not, every row is
// chosen whatever the scores are.
bool must_choose(const Pass& pass) noexcept;

// hyper_connection.cpp: streams -> x (normalised); and back with a part's output y.
void enter_part(Pass& pass, const HyperWeights& weights, std::span<const float> norm);
void leave_part(Pass& pass);
// streams of the given rows -> x in front of the head.
void collapse_streams(Pass& pass, const HcHead& weights, std::span<const float> norm,
                      ConstMatrix streams, Matrix x);

// router.cpp: x -> routes [rows, num_experts_per_tok].
void choose_experts(Pass& pass, const BlockWeights& weights, std::span<Route> routes);
// ahead.cpp: has experts read that the pass will want, and that the layers behind `weights` seem to
// want by x, the input of its experts.
void expect_hashed(Pass& pass, const ModelWeights& weights, std::span<const Token> tokens);
void expect_next(Pass& pass, const BlockWeights& weights);
// experts.cpp: x -> y. False if pass.keep_waiting ended it.
bool mixture_of_experts(Pass& pass, const BlockWeights& weights);

// forward.cpp
void fill_angles(Pass& pass);
void remember_rows(Pass& pass);  // the caches' lengths: those of all tokens
// One block: {"layer", 3} of the trunk, or {"MTP block", 0}. Throws Error that says where, if a
// result is not finite or a file of `weights` is not what it was.
struct BlockName {
  const char* kind;
  int layer;  // of the caches
};
// False as mixture_of_experts().
bool run_block(Pass& pass, const ModelWeights& weights, const BlockWeights& block,
               const BlockName& name);

}  // namespace fathom::engine
