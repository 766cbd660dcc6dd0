// Regex: a compiled regular expression over UTF-8 that always ends (PCRE2 with JIT).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace fathom::tools {

// Why a pattern is none: what PCRE2 says, and the byte where it noticed.
struct RegexFault {
  std::string reason;
  std::size_t offset = 0;
};

class Regex {
 public:
  // gave_up: the limit on backtracking was reached before an answer.
  enum class Found { no, yes, gave_up };

  static tl::expected<Regex, RegexFault> compile(std::string_view pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Whether it occurs anywhere in `subject`. Bytes that are not UTF-8 match nothing. One thread at
  // a time.
  Found search(std::string_view subject) const noexcept;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled) noexcept;

  std::unique_ptr<Compiled> compiled_;
};

}  // namespace fathom::tools
