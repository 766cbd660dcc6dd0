// Ends a pass whose results are no numbers, before they spread to everything computed from them.
//
// Damaged weights and sums that overflow end in NaN or infinity. Every operation hands them on, so
// the end of a part shows them; only then it is looked up where they began.
#pragma once

#include "engine/model/pass.h"

namespace fathom::engine {

// After attention and after the experts of a layer: throws Error that names the operation by its
// weights and the position, if a result of the part holds NaN or infinity.
void expect_sound_attention(const Pass& pass, const BlockWeights& weights);
void expect_sound_experts(const Pass& pass);
// The indexer's, before they are rounded: FP4 has no NaN.
void expect_sound_index_queries(const Pass& pass, ConstMatrix queries);

}  // namespace fathom::engine
