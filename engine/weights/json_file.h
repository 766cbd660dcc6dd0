// Reads the JSON files and headers of a checkpoint, which may be malformed on purpose.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace fathom::engine {

// `name` says in errors what was read. Throws Error if the text is no JSON, is nested deeper than
// any checkpoint's files are, repeats a key or is not an object.
nlohmann::json parse_object(std::span<const std::byte> text, const std::string& name);

// The whole file. Throws Error also if it is missing or larger than 64 MiB.
nlohmann::json read_object(const std::filesystem::path& path);

}  // namespace fathom::engine
