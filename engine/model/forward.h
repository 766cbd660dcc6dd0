// The forward pass: a batch of tokens through all layers, and logits of chosen rows.
#pragma once

#include "engine/model/pass.h"

namespace fathom::engine {

// One after another: begin_pass(), run_block() of parts.h for every layer, end_pass(). Then the
// batch's streams [rows, hc_mult · hidden_size] lie in space.streams and its rows in the sequences'
// caches, whose lengths are those of all tokens. A sequence may leave between layers: the fixed
// part of its cache is then to be restored from a snapshot. Caches must have been reserved. Throws
// Error that names the model, and the layer or the file, if a result is not finite or the weights
// could not be read or were written to; the caches are of no use then.
void begin_pass(Pass& pass, const ModelWeights& weights);
void end_pass(Pass& pass, const ModelWeights& weights);

// Logits [streams.rows ≤ Workspace::kLogitRows, vocab_size] of rows of a pass, in space.logits.
Matrix head(Pass& pass, const ModelWeights& weights, ConstMatrix streams);

// The MTP block over a batch (oracle: mtp_extend). `streams` are the trunk's of the positions from
// each sequence's cache length on; pass.tokens are those that follow each. The caches are the
// block's own. Leaves the block's streams in space.streams.
void mtp_forward(Pass& pass, const ModelWeights& weights, const MtpWeights& block,
                 ConstMatrix streams);
Matrix mtp_head(Pass& pass, const ModelWeights& weights, const MtpWeights& block,
                ConstMatrix streams);

}  // namespace fathom::engine
