// Reads a tokenizer.json of the Hugging Face format, as far as DeepSeek's files use it.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/text/json_cursor.h"
#include "engine/text/loaders.h"
#include "engine/text/splitter.h"
#include "engine/text/utf8.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

std::string_view text_of(const MappedFile& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  const std::size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return text;
  throw Error(fmt::format("{}: not UTF-8 at byte {}", file.path().string(), valid));
}

// Of DeepSeek's file, its merges included: room is made for about as many tokens as there will be.
constexpr std::size_t kBytesPerToken = 48;

// Where the parts lie that must be read in an order of our own: tokens before merges.
struct Layout {
  std::optional<std::size_t> added_tokens, vocab, merges;
  bool pre_tokenizer = false;
};

class Loader {
 public:
  explicit Loader(const std::filesystem::path& path)
      : name_(path.string()), file_(path), text_(text_of(file_)), cursor_(text_, name_) {}

  std::unique_ptr<const TokenizerTables> load() {
    const Layout layout = survey();
    if (!layout.pre_tokenizer || !layout.vocab || !layout.merges) {
      unsupported("model.vocab, model.merges or pre_tokenizer is missing");
    }
    TokenizerBuilder builder(name_, text_.size() / kBytesPerToken);
    read_vocabulary(builder, *layout.vocab);
    if (layout.added_tokens) read_added_tokens(builder, *layout.added_tokens);
    read_merges(builder, *layout.merges);
    file_.expect_unchanged();
    return builder.finish();
  }

 private:
  [[noreturn]] void unsupported(std::string_view what) const {
    throw Error(
        fmt::format("{}: {}; expected byte-level BPE with DeepSeek's three splits", name_, what));
  }

  Layout survey() {
    Layout layout;
    std::string key;
    for (cursor_.open_object(); cursor_.next_member(key);) {
      if (key == "added_tokens") {
        layout.added_tokens = cursor_.position();
        cursor_.skip_value();
      } else if (key == "normalizer") {
        check_normalizer();
      } else if (key == "pre_tokenizer") {
        check_pre_tokenizer();
        layout.pre_tokenizer = true;
      } else if (key == "model") {
        survey_model(layout);
      } else {
        cursor_.skip_value();
      }
    }
    return layout;
  }

  void survey_model(Layout& layout) {
    std::string key;
    for (cursor_.open_object(); cursor_.next_member(key);) {
      if (key == "vocab") layout.vocab = cursor_.position();
      if (key == "merges") layout.merges = cursor_.position();
      if (key == "type" && text() != "BPE") unsupported("the model is not BPE");
      if (key == "ignore_merges" && cursor_.peek() == 't') unsupported("ignore_merges is set");
      if (key == "byte_fallback" && cursor_.peek() == 't') unsupported("byte_fallback is set");
      if (key != "type") cursor_.skip_value();
    }
  }

  // null, or a sequence of none.
  void check_normalizer() {
    if (cursor_.peek() == 'n') return cursor_.skip_value();
    std::string key;
    for (cursor_.open_object(); cursor_.next_member(key);) {
      if (key != "normalizers") {
        cursor_.skip_value();
        continue;
      }
      cursor_.open_array();
      if (cursor_.next_item()) unsupported("there is a normalizer");
    }
  }

  void check_pre_tokenizer() {
    std::vector<std::string> patterns;
    bool byte_level = false;
    std::string key;
    for (cursor_.open_object(); cursor_.next_member(key);) {
      if (key != "pretokenizers") {
        cursor_.skip_value();
        continue;
      }
      for (cursor_.open_array(); cursor_.next_item();) read_step(patterns, byte_level);
    }
    const bool known = patterns.size() == 3 && same_pattern(patterns[0], kFirstSplit) &&
                       same_pattern(patterns[1], kSecondSplit) &&
                       same_pattern(patterns[2], kThirdSplit);
    if (!known) unsupported("other split patterns");
    if (!byte_level) unsupported("no ByteLevel step");
  }

  void read_step(std::vector<std::string>& patterns, bool& byte_level) {
    std::string key, type, pattern, behavior;
    bool flag = false;  // invert, add_prefix_space, use_regex: all must be off
    for (cursor_.open_object(); cursor_.next_member(key);) {
      if (key == "type") {
        type = text();
      } else if (key == "behavior") {
        behavior = text();
      } else if (key == "pattern") {
        pattern = read_pattern();
      } else if (key == "invert" || key == "add_prefix_space" || key == "use_regex") {
        flag = cursor_.read_boolean() || flag;
      } else {
        cursor_.skip_value();
      }
    }
    const bool split = type == "Split" && behavior == "Isolated" && !byte_level;
    if (flag || (!split && type != "ByteLevel")) unsupported("another pre_tokenizer step: " + type);
    if (split) patterns.push_back(std::move(pattern));
    if (type == "ByteLevel") byte_level = true;
  }

  std::string read_pattern() {
    std::string key, pattern;
    for (cursor_.open_object(); cursor_.next_member(key);) pattern = text();
    return pattern;
  }

  void read_vocabulary(TokenizerBuilder& builder, std::size_t position) {
    cursor_.seek(position);
    std::string key;
    for (cursor_.open_object(); cursor_.next_member(key);) {
      builder.add_token(cursor_.read_integer(), key);
    }
  }

  void read_added_tokens(TokenizerBuilder& builder, std::size_t position) {
    cursor_.seek(position);
    for (cursor_.open_array(); cursor_.next_item();) {
      std::int64_t id = -1;
      std::string key, content;
      bool special = false, trims = false;
      for (cursor_.open_object(); cursor_.next_member(key);) {
        if (key == "id") {
          id = cursor_.read_integer();
        } else if (key == "content") {
          content = text();
        } else if (key == "special") {
          special = cursor_.read_boolean();
        } else if (key == "lstrip" || key == "rstrip" || key == "single_word") {
          trims = cursor_.read_boolean() || trims;
        } else {
          cursor_.skip_value();
        }
      }
      if (trims) unsupported("added token '" + content + "' takes its surroundings into account");
      builder.add_added_token(id, content, special);
    }
  }

  // "left right", or ["left","right"] as newer files have it.
  void read_merges(TokenizerBuilder& builder, std::size_t position) {
    cursor_.seek(position);
    std::string first, second;
    for (cursor_.open_array(); cursor_.next_item();) {
      if (cursor_.peek() == '"') {
        builder.add_merge(cursor_.read_string(first));
        continue;
      }
      cursor_.open_array();
      std::vector<std::string> pair;
      while (cursor_.next_item()) pair.push_back(text());
      if (pair.size() != 2) cursor_.fail("two texts in a merge before here");
      builder.add_merge(pair[0], pair[1]);
    }
  }

  std::string text() {
    std::string buffer;
    return std::string(cursor_.read_string(buffer));
  }

  std::string name_;
  MappedFile file_;
  std::string_view text_;
  JsonCursor cursor_;
};

}  // namespace

std::unique_ptr<const TokenizerTables> load_tokenizer_json(const std::filesystem::path& path) {
  return Loader(path).load();
}

}  // namespace fathom::engine
