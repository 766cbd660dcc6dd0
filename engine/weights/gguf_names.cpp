// The table of names, and the few rules beside it.
#include "engine/weights/gguf_names.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include <fmt/format.h>

namespace fathom::engine {
namespace {

struct Pair {
  std::string_view checkpoint;
  std::string_view gguf;
};

constexpr Pair kTop[] = {
    {"embed.weight", "token_embd.weight"},     {"head.weight", "output.weight"},
    {"norm.weight", "output_norm.weight"},     {"hc_head_fn", "output_hc_fn.weight"},
    {"hc_head_base", "output_hc_base.weight"}, {"hc_head_scale", "output_hc_scale.weight"},
};

// After `layers.N.` or `mtp.i.`, and after `blk.N.`.
constexpr Pair kBlock[] = {
    {"attn_norm.weight", "attn_norm.weight"},
    {"ffn_norm.weight", "ffn_norm.weight"},
    {"hc_attn_fn", "hc_attn_fn.weight"},
    {"hc_attn_base", "hc_attn_base.weight"},
    {"hc_attn_scale", "hc_attn_scale.weight"},
    {"hc_ffn_fn", "hc_ffn_fn.weight"},
    {"hc_ffn_base", "hc_ffn_base.weight"},
    {"hc_ffn_scale", "hc_ffn_scale.weight"},
    {"attn.attn_sink", "attn_sinks.weight"},
    {"attn.wq_a.weight", "attn_q_a.weight"},
    {"attn.q_norm.weight", "attn_q_a_norm.weight"},
    {"attn.wq_b.weight", "attn_q_b.weight"},
    {"attn.wkv.weight", "attn_kv.weight"},
    {"attn.kv_norm.weight", "attn_kv_a_norm.weight"},
    {"attn.wo_a.weight", "attn_output_a.weight"},
    {"attn.wo_b.weight", "attn_output_b.weight"},
    {"attn.compressor.wkv.weight", "attn_compressor_kv.weight"},
    {"attn.compressor.wgate.weight", "attn_compressor_gate.weight"},
    {"attn.compressor.ape", "attn_compressor_ape.weight"},
    {"attn.compressor.norm.weight", "attn_compressor_norm.weight"},
    {"attn.indexer.wq_b.weight", "indexer.attn_q_b.weight"},
    {"attn.indexer.weights_proj.weight", "indexer.proj.weight"},
    {"attn.indexer.compressor.wkv.weight", "indexer_compressor_kv.weight"},
    {"attn.indexer.compressor.wgate.weight", "indexer_compressor_gate.weight"},
    {"attn.indexer.compressor.ape", "indexer_compressor_ape.weight"},
    {"attn.indexer.compressor.norm.weight", "indexer_compressor_norm.weight"},
    {"ffn.gate.weight", "ffn_gate_inp.weight"},
    {"ffn.gate.bias", "exp_probs_b.bias"},
    {"ffn.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    {"ffn.shared_experts.w1.weight", "ffn_gate_shexp.weight"},
    {"ffn.shared_experts.w3.weight", "ffn_up_shexp.weight"},
    {"ffn.shared_experts.w2.weight", "ffn_down_shexp.weight"},
};

constexpr Pair kExpert[] = {
    {"w1.weight", "ffn_gate_exps.weight"},
    {"w3.weight", "ffn_up_exps.weight"},
    {"w2.weight", "ffn_down_exps.weight"},
};

constexpr Pair kMtp[] = {
    {"enorm.weight", "nextn.enorm.weight"},
    {"hnorm.weight", "nextn.hnorm.weight"},
    {"norm.weight", "nextn.shared_head_norm.weight"},
};

template <std::size_t N>
std::optional<std::string_view> find(const Pair (&pairs)[N], std::string_view name) {
  const auto* found = std::ranges::find(pairs, name, &Pair::checkpoint);
  if (found == std::end(pairs)) return std::nullopt;
  return found->gguf;
}

// Takes `word`, a number and a dot off the front of `name`.
std::optional<int> take_numbered(std::string_view& name, std::string_view word) {
  if (!name.starts_with(word)) return std::nullopt;
  int number = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + word.size(), end, number);
  if (error != std::errc() || stop == end || *stop != '.' || number < 0) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(stop - name.data()) + 1);
  return number;
}

std::optional<GgufPlace> block_place(std::string_view name, int block) {
  if (const auto expert = take_numbered(name, "ffn.experts.")) {
    const auto gguf = find(kExpert, name);
    if (!gguf) return std::nullopt;
    return GgufPlace{fmt::format("blk.{}.{}", block, *gguf), GgufPlace::Part::expert, *expert};
  }
  const auto gguf = find(kBlock, name);
  if (!gguf) return std::nullopt;
  return GgufPlace{fmt::format("blk.{}.{}", block, *gguf)};
}

}  // namespace

std::optional<GgufPlace> gguf_place(std::string_view name, int layers) {
  if (const auto layer = take_numbered(name, "layers.")) return block_place(name, *layer);
  const auto mtp = take_numbered(name, "mtp.");
  if (!mtp) {
    const auto gguf = find(kTop, name);
    if (!gguf) return std::nullopt;
    return GgufPlace{std::string(*gguf)};
  }

  const int block = layers + *mtp;
  if (name == "e_proj.weight" || name == "h_proj.weight") {
    return GgufPlace{fmt::format("blk.{}.nextn.eh_proj.weight", block),
                     name.front() == 'e' ? GgufPlace::Part::left : GgufPlace::Part::right};
  }
  if (const auto gguf = find(kMtp, name)) return GgufPlace{fmt::format("blk.{}.{}", block, *gguf)};
  // The block's own head: a file of MTP blocks keeps it under the trunk's name.
  if (name.starts_with("hc_head_")) return GgufPlace{std::string(find(kTop, name).value_or(""))};
  return block_place(name, block);
}

}  // namespace fathom::engine
