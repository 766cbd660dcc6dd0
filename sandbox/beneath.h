// Opens paths that cannot leave a folder, and says in words why one could not be opened.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/descriptor.h"
#include "sandbox/workspace.h"

namespace fathom::sandbox {

// openat2(folder, path, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS); "" is the folder itself.
// Always close-on-exec. Returns an invalid descriptor and sets errno on failure.
Descriptor open_beneath(int folder, const std::string& path, int flags) noexcept;

// What errno means for `path`, as a sentence.
Refusal refusal(int error, std::string_view path);

// Shorthand for returning a refusal of one kind with its text.
tl::unexpected<Refusal> refuse(Refusal::Kind kind, std::string text);

}  // namespace fathom::sandbox
