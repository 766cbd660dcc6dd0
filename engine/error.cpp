// Gives engine::Error its one home for the virtual table.
#include "engine/error.h"

namespace fathom::engine {

Error::~Error() = default;

}  // namespace fathom::engine
