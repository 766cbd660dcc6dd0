// Small parts of what the supervisor prepares.
#include "sandbox/linux/jail.h"

#include <algorithm>
#include <cstring>

namespace fathom::sandbox {

Missing::Missing(const char* comma_list) {
  while (comma_list != nullptr && *comma_list != '\0') {
    const std::size_t length = std::strcspn(comma_list, ",");
    layers_.emplace_back(comma_list, length);
    comma_list += length + (comma_list[length] == ',' ? 1 : 0);
  }
}

bool Missing::has(const char* layer) const noexcept {
  return std::ranges::any_of(layers_, [&](const std::string& name) { return name == layer; });
}

StringList::StringList(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (std::string& text : strings_) pointers_.push_back(text.data());
  pointers_.push_back(nullptr);
}

}  // namespace fathom::sandbox
