// Answers the system calls that the filter refuses by name, and reports what was tried.
#pragma once

#include "sandbox/descriptor.h"

namespace fathom::sandbox {

class Listener {
 public:
  void start(Descriptor descriptor) noexcept { descriptor_ = std::move(descriptor); }
  int descriptor() const noexcept { return descriptor_.get(); }  // -1: none

  // Takes one call, answers EPERM, writes a status line. The call's arguments are never looked at
  // again: what is refused stays refused, so nothing can change after a check.
  void answer();

 private:
  Descriptor descriptor_;
  int answered_ = 0;
};

}  // namespace fathom::sandbox
