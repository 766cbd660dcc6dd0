// What each event looks like as finished rows of a terminal.
#pragma once

#include <vector>

#include "agent/events.h"
#include "ui/screen.h"

namespace fathom::ui {

struct RowContext {
  int columns = 80;
  bool live = true;      // false: nothing can be unfolded later, so thinking is shown
  bool verbose = false;  // also the last lines of calls that succeed
  bool answer = true;    // false: leave out the answer's text
};

// Rows that `event` adds to the scrollback; often none. `call` holds the fields of the `call` event
// that an outcome answers.
std::vector<Row> rows_of(const agent::Event& event, const nlohmann::ordered_json& call,
                         const RowContext& context);

// "run    python3 test.py": the tool's short name and what it is about.
std::string call_title(const nlohmann::ordered_json& call);

// The last row of the live region: phase or prefill progress, rate, context; fields that do not
// fit `columns` are left out from the right.
Row status_row(const agent::Live& live, int columns);

}  // namespace fathom::ui
