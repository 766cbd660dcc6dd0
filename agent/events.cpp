// Event as the line that every stream shows.
#include "agent/events.h"

namespace fathom::agent {

nlohmann::ordered_json Event::json() const {
  nlohmann::ordered_json line = {{"v", 1}, {"n", n}, {"t", t}, {"type", type}};
  for (const auto& [name, value] : fields.items()) line[name] = value;
  return line;
}

}  // namespace fathom::agent
