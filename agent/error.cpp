// Gives agent::Error its one home for the virtual table.
#include "agent/error.h"

namespace fathom::agent {

Error::~Error() = default;

}  // namespace fathom::agent
