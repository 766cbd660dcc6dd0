// Gives memory::Error its one home for the virtual table.
#include "memory/error.h"

namespace fathom::memory {

Error::~Error() = default;

}  // namespace fathom::memory
