// Gives sandbox::Error its one home for the virtual table.
#include "sandbox/error.h"

namespace fathom::sandbox {

Error::~Error() = default;

}  // namespace fathom::sandbox
