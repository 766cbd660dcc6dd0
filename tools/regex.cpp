// Compiled regular expressions by PCRE2.
#include "tools/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <array>
#include <utility>

#include <pcre2.h>

namespace fathom::tools {
namespace {

// A line of source needs a few hundred steps. A million take some milliseconds, so that even a
// pattern built to explode costs little per line.
constexpr std::uint32_t kMatchLimit = 1'000'000;

// JIT's own stack is 32 KiB; a mebibyte lets honest patterns run over long lines.
constexpr std::size_t kJitStackBytes = std::size_t{1} << 20;

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* pointer) const noexcept {
    free_function(pointer);
  }
};

}  // namespace

struct Regex::Compiled {
  std::unique_ptr<pcre2_code, Free<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>> match;
  std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>> context;
  std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>> stack;
};

Regex::Regex(std::unique_ptr<Compiled> compiled) noexcept : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

tl::expected<Regex, RegexFault> Regex::compile(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_unique<Compiled>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error,
                                     &offset, nullptr));
  if (!compiled->code) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return tl::unexpected(RegexFault{reinterpret_cast<const char*>(message.data()), offset});
  }
  // Where JIT cannot be had (a hardened kernel), the interpreter gives the same answers.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  compiled->match.reset(pcre2_match_data_create_from_pattern(compiled->code.get(), nullptr));
  compiled->context.reset(pcre2_match_context_create(nullptr));
  compiled->stack.reset(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr));
  pcre2_set_match_limit(compiled->context.get(), kMatchLimit);
  pcre2_jit_stack_assign(compiled->context.get(), nullptr, compiled->stack.get());
  return Regex(std::move(compiled));
}

Regex::Found Regex::search(std::string_view subject) const noexcept {
  const int count =
      pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                  subject.size(), 0, 0, compiled_->match.get(), compiled_->context.get());
  if (count >= 0) return Found::yes;
  return count == PCRE2_ERROR_NOMATCH ? Found::no : Found::gave_up;
}

}  // namespace fathom::tools
