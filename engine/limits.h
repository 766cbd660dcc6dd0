// What the operations of a backend have room for: beyond it a model's configuration is refused.
#pragma once

namespace fathom::engine {

// All of them more than V4-Pro needs: 16 groups, 6 experts, keys of 128.
inline constexpr int kOutputGroupsMax = 32;     // o_groups
inline constexpr int kExpertsPerTokenMax = 63;  // num_experts_per_tok
inline constexpr int kIndexHeadDimMax = 1024;   // index_head_dim

}  // namespace fathom::engine
