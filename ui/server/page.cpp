// Finds embedded files by path.
#include "ui/server/page.h"

#include <cstdint>

#include <fmt/format.h>

// The names come from page_files.S, which is made with the page.
extern "C" {
extern const char fathom_page_index_begin[];
extern const char fathom_page_index_end[];
extern const char fathom_page_style_begin[];
extern const char fathom_page_style_end[];
extern const char fathom_page_script_begin[];
extern const char fathom_page_script_end[];
}

namespace fathom::ui {

namespace {

// FNV-1a: tells builds apart, guards nothing.
std::string hash_of(std::string_view bytes) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  return fmt::format("{:016x}", hash);
}

PageFile file(std::string_view type, const char* begin, const char* end) {
  const std::string_view bytes(begin, static_cast<std::size_t>(end - begin));
  return {.type = type, .gzip = bytes, .etag = "\"" + hash_of(bytes) + "\""};
}

std::string_view script() {
  return {fathom_page_script_begin,
          static_cast<std::size_t>(fathom_page_script_end - fathom_page_script_begin)};
}

}  // namespace

std::string page_build() {
  return hash_of(script());
}

std::optional<PageFile> page_file(std::string_view path) {
  if (path == "/" || path.starts_with("/c/")) {
    return file("text/html; charset=utf-8", fathom_page_index_begin, fathom_page_index_end);
  }
  if (path == "/ui.css") {
    return file("text/css; charset=utf-8", fathom_page_style_begin, fathom_page_style_end);
  }
  if (path == "/ui.js") {
    return file("text/javascript; charset=utf-8", fathom_page_script_begin, fathom_page_script_end);
  }
  return std::nullopt;
}

}  // namespace fathom::ui
