// The schema of the database and how older ones become it.
#pragma once

#include <string_view>

namespace fathom::memory {

class Database;

// The text of schema.sql.
std::string_view schema() noexcept;

// Brings an opened database to the version of this program: creates the schema in an empty one,
// runs the missing migrations in an older one, in one transaction. Throws Error, and changes
// nothing, if the file belongs to another program or was written by a newer version.
void migrate(Database& database);

// Throws Error unless the database is one that migrate() made, perhaps an older or newer program's.
void check_made(Database& database);

}  // namespace fathom::memory
