// The model as a list of steps (spec architecture 2; oracle: extend).
#include "engine/model/forward.h"

#include <cassert>
#include <filesystem>

#include <fmt/format.h>

#include "engine/cache/lost_rows.h"
#include "engine/error.h"
#include "engine/model/parts.h"
#include "engine/model/soundness.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

// The file, or the folder of several, for messages.
std::filesystem::path place_of(const ModelWeights& weights) {
  const std::filesystem::path& first = weights.files.front()->path();
  return weights.files.size() == 1 ? first : first.parent_path();
}

void expect_rows(const Pass& pass) {
  for (const Sequence& sequence : pass.sequences) {
    if (sequence.cache->has_lost_rows()) throw LostRows();
  }
}

bool run_parts(Pass& pass, const BlockWeights& weights, int layer) {
  enter_part(pass, weights.hc_attn, weights.attn_norm);
  attention(pass, weights, layer);
  expect_sound_attention(pass, weights);
  leave_part(pass);
  enter_part(pass, weights.hc_ffn, weights.ffn_norm);
  if (!mixture_of_experts(pass, weights)) return false;
  expect_sound_experts(pass);
  leave_part(pass);
  return true;
}

}  // namespace

void fill_angles(Pass& pass) {
  const int rope = pass.config.qk_rope_head_dim;
  for (const Sequence& sequence : pass.sequences) {
    for (int t = 0; t < sequence.rows; ++t) {
      const std::int64_t row = static_cast<std::int64_t>(sequence.first_row + t) * rope;
      pass.plain_rope.fill(sequence.first_position() + t, pass.space.plain_angles.data() + row);
      pass.long_rope.fill(sequence.first_position() + t, pass.space.long_angles.data() + row);
    }
  }
}

void remember_rows(Pass& pass) {
  for (const Sequence& sequence : pass.sequences) {
    sequence.cache->set_length(sequence.end_position());
  }
}

// A file that could not be read is the better reason for what was computed from it.
bool run_block(Pass& pass, const ModelWeights& weights, const BlockWeights& block,
               const BlockName& name) {
  try {
    if (!run_parts(pass, block, name.layer)) return false;
  } catch (const Error& failed) {
    for (const auto& file : weights.files) file->expect_unchanged();
    expect_rows(pass);
    throw Error(fmt::format("{}: {} {}: {}", place_of(weights).string(), name.kind, name.layer,
                            failed.what()));
  }
  for (const auto& file : weights.files) {
    if (file->lost()) file->expect_unchanged();
  }
  expect_rows(pass);
  return true;
}

void begin_pass(Pass& pass, const ModelWeights& weights) {
  if (pass.experts != nullptr) expect_hashed(pass, weights, pass.tokens);
  fill_angles(pass);
  pass.backend.embed(
      pass.tokens, weights.embed,
      pass.matrix(pass.space.streams, pass.config.hc_mult * pass.config.hidden_size));
}

void end_pass(Pass& pass, const ModelWeights& weights) {
  for (const auto& file : weights.files) file->expect_unchanged();
  remember_rows(pass);
}

Matrix head(Pass& pass, const ModelWeights& weights, ConstMatrix streams) {
  assert(streams.rows <= Workspace::kLogitRows);
  const Matrix x = pass.space.matrix(pass.space.x, streams.rows, pass.config.hidden_size);
  const Matrix logits = pass.space.matrix(pass.space.logits, streams.rows, pass.config.vocab_size);
  collapse_streams(pass, weights.hc_head, weights.norm, streams, x);
  const Product product{.weights = &weights.head, .x = x, .y = logits};
  pass.backend.multiply({&product, 1});
  return logits;
}

}  // namespace fathom::engine
