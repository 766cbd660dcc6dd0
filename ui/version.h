// Which build this is.
#pragma once

#include <string_view>

namespace fathom::ui {

// The release, as in `fathom 0.1.0`.
std::string_view version() noexcept;

}  // namespace fathom::ui
