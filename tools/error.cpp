// Gives tools::Error its one home for the virtual table.
#include "tools/error.h"

namespace fathom::tools {

Error::~Error() = default;

}  // namespace fathom::tools
