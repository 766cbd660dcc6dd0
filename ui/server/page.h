// The page's files, compressed when the program was built.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fathom::ui {

struct PageFile {
  std::string_view type;  // media type
  std::string_view gzip;  // lives as long as the program
  std::string etag;       // with its quotes
};

// The file that `path` names; "/" and "/c/…" are the document itself.
std::optional<PageFile> page_file(std::string_view path);

// Differs between two builds whose pages differ.
std::string page_build();

}  // namespace fathom::ui
