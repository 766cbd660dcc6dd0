// What a tokenizer consists of once its file is read, whatever the file's format.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/vocabulary.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

// What is known of an id beside its bytes.
struct TokenFlags {
  bool added = false;
  bool special = false;
};

struct TokenizerTables {
  Bpe bpe;
  AddedTokenSet added;
  std::vector<TokenFlags> flags;  // one per id
};

// Collects what a loader finds, first all tokens, then the merges. Its functions throw Error, which
// names the file, where the parts do not fit together.
class TokenizerBuilder {
 public:
  // `name`: the file. Makes room for about `tokens_expected`.
  TokenizerBuilder(std::string name, std::size_t tokens_expected);

  // A token of the vocabulary, its text in byte characters. One whose text is not (`<think>` in a
  // list that has the added tokens too) keeps its text, and no merge can yield it.
  void add_token(std::int64_t id, std::string_view text);

  // A token that is found in the text itself. Its id may be in the vocabulary as well.
  void add_added_token(std::int64_t id, std::string_view text, bool special);

  // The next best pair, texts in byte characters.
  void add_merge(std::string_view left, std::string_view right);

  // The pair as one text: a space between the two.
  void add_merge(std::string_view pair);

  std::unique_ptr<const TokenizerTables> finish();

 private:
  Token checked(std::int64_t id) const;
  Token merge_part(std::string_view bytes) const;

  std::string name_;
  Vocabulary vocabulary_;
  std::vector<TokenFlags> flags_;
  std::vector<AddedTokenSet::Entry> added_;
  std::vector<Merge> merges_;
};

}  // namespace fathom::engine
