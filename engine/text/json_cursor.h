// Walks once over a JSON text without building it: a tokenizer file has 250,000 strings, and most
// of the program's start would go into keeping them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::engine {

// Every read function throws Error, naming `name` and the offset, where it finds something else.
// Text is taken to be UTF-8 and is not checked for it.
class JsonCursor {
 public:
  // `text` must outlive the cursor and what it returns.
  JsonCursor(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {}

  // Objects: `for (cursor.open_object(); cursor.next_member(key);) { read the value }`.
  void open_object();
  bool next_member(std::string& name);

  // Arrays: `for (cursor.open_array(); cursor.next_item();) { read the item }`.
  void open_array();
  bool next_item();

  // A string without escapes is a view of the text; another is put into `buffer`.
  std::string_view read_string(std::string& buffer);
  std::int64_t read_integer();
  bool read_boolean();
  void skip_value();

  // First character of the next value.
  char peek();

  // To come back to a value that was skipped: only between values of the same nesting.
  std::size_t position() const noexcept { return at_; }
  void seek(std::size_t position) noexcept;

  [[noreturn]] void fail(std::string_view expected) const;

 private:
  void skip_blanks() noexcept;
  void expect(char c);
  void append_escape(std::string& buffer);
  std::uint32_t read_hex4();
  bool literal(std::string_view word) noexcept;

  std::string_view text_;
  std::string name_;
  std::size_t at_ = 0;
  bool first_ = false;  // no comma stands before the next member or item
};

}  // namespace fathom::engine
