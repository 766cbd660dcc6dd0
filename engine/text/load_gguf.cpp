// Reads a tokenizer from the metadata of a GGUF file.
#include <string>
#include <vector>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/text/loaders.h"
#include "engine/text/utf8.h"
#include "engine/weights/gguf.h"
#include "engine/weights/gguf_parts.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

// tokenizer.ggml.token_type.
constexpr std::int64_t kControl = 3, kUserDefined = 4, kUnused = 5;

// The names under which files carry the three splits of splitter.h.
bool has_our_splits(std::string_view pre) {
  return pre == "deepseek-v3" || pre == "joyai-llm";
}

class Loader {
 public:
  explicit Loader(const std::filesystem::path& path)
      : name_(path.string()), file_(first_part(path)) {}

  std::unique_ptr<const TokenizerTables> load() {
    expect("tokenizer.ggml.model", file_.text("tokenizer.ggml.model"), "gpt2 (byte-level BPE)",
           [](std::string_view model) { return model == "gpt2"; });
    expect("tokenizer.ggml.pre", file_.text("tokenizer.ggml.pre"), "deepseek-v3 or joyai-llm",
           has_our_splits);
    const auto tokens = texts("tokenizer.ggml.tokens");
    const auto merges = texts("tokenizer.ggml.merges");
    const auto types = file_.integers("tokenizer.ggml.token_type");
    if (types && types->size() != tokens.size()) {
      throw Error(fmt::format("{}: {} entries in tokenizer.ggml.token_type, expected {}", name_,
                              types->size(), tokens.size()));
    }
    TokenizerBuilder builder(name_, tokens.size());
    for (std::size_t id = 0; id < tokens.size(); ++id) {
      add(builder, static_cast<std::int64_t>(id), tokens[id], types ? (*types)[id] : 1);
    }
    for (const std::string_view merge : merges) builder.add_merge(merge);
    file_.file()->expect_unchanged();
    return builder.finish();
  }

 private:
  template <typename Check>
  void expect(std::string_view key, std::optional<std::string_view> found,
              std::string_view expected, Check holds) const {
    if (found && holds(*found)) return;
    throw Error(
        fmt::format("{}: {} is {}, expected {}", name_, key, found.value_or("missing"), expected));
  }

  std::vector<std::string_view> texts(std::string_view key) const {
    auto found = file_.texts(key);
    if (!found) throw Error(fmt::format("{}: {} is missing", name_, key));
    for (const std::string_view text : *found) {
      if (valid_utf8_prefix(text) == text.size()) continue;
      throw Error(fmt::format("{}: {} holds a text that is not UTF-8", name_, key));
    }
    return *std::move(found);
  }

  void add(TokenizerBuilder& builder, std::int64_t id, std::string_view text, std::int64_t type) {
    if (text.empty()) return;
    if (type == kControl || type == kUserDefined) {
      builder.add_added_token(id, text, is_special(id));
    } else if (type != kUnused) {  // fillers of the format: reserved ids have no text
      builder.add_token(id, text);
    }
  }

  // The format's "control" says less than the flag of a tokenizer.json: role tokens have it too.
  // What decoding drops are the ids that stand at the ends of a text.
  bool is_special(std::int64_t id) const {
    for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                            "tokenizer.ggml.padding_token_id"}) {
      if (file_.integer(key) == id) return true;
    }
    return false;
  }

  std::string name_;
  Gguf file_;
};

}  // namespace

std::unique_ptr<const TokenizerTables> load_tokenizer_gguf(const std::filesystem::path& path) {
  return Loader(path).load();
}

}  // namespace fathom::engine
