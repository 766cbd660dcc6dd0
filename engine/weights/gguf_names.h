// Where a GGUF file keeps the tensor that a checkpoint calls otherwise (spec architecture 9.2).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fathom::engine {

// Most are whole tensors. Routed experts are stacked in one, expert by expert; e_proj and h_proj
// are the left and right half of one matrix.
struct GgufPlace {
  enum class Part { whole, expert, left, right };

  std::string name;
  Part part = Part::whole;
  int expert = 0;  // Part::expert only
};

// `name` as in safetensors; blocks of `mtp.i.` follow the `layers` layers of the trunk. Nothing if
// the format has no name for it.
std::optional<GgufPlace> gguf_place(std::string_view name, int layers);

}  // namespace fathom::engine
