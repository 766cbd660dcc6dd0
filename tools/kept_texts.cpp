// Keeps long outcomes in numbered files.
#include "tools/kept_texts.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <system_error>

#include <fmt/format.h>

#include "tools/error.h"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

// At 16 MiB each, the most a command may print, that is 3.2 GB at the very worst.
constexpr int kTextsMax = 200;

// The number of "17.txt", or 0.
int number_of(std::string_view file_name) {
  if (!file_name.ends_with(".txt")) return 0;
  file_name.remove_suffix(4);
  int number = 0;
  const auto [end, error] =
      std::from_chars(file_name.data(), file_name.data() + file_name.size(), number);
  const bool canonical = error == std::errc() && end == file_name.data() + file_name.size();
  return canonical && std::to_string(number) == file_name ? number : 0;
}

fs::path make_temporary() {
  std::string pattern = fs::temp_directory_path() / "fathom-out-XXXXXX";
  if (!::mkdtemp(pattern.data())) {
    throw Error(fmt::format("{}: cannot make a temporary folder for long outcomes", pattern));
  }
  return pattern;
}

}  // namespace

KeptTexts::KeptTexts(fs::path folder)
    : temporary_(folder.empty()), folder_(temporary_ ? make_temporary() : std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw Error(fmt::format("{}: {}", folder_.string(), error.message()));
  // Outcomes may hold what the workspace hides from others.
  fs::permissions(folder_, fs::perms::owner_all, error);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    newest_ = std::max(newest_, number_of(entry.path().filename().string()));
  }
}

KeptTexts::~KeptTexts() {
  std::error_code ignored;
  if (temporary_) fs::remove_all(folder_, ignored);
}

fs::path KeptTexts::file(int number) const {
  return folder_ / fmt::format("{}.txt", number);
}

std::string KeptTexts::keep(std::string_view text,
                            const std::function<bool(const std::string&)>& is_taken) {
  const std::lock_guard lock(mutex_);
  std::string name;
  do {
    name = fmt::format("out/{}.txt", ++newest_);
  } while (is_taken(name));
  std::ofstream stream(file(newest_), std::ios::binary);
  stream << text << std::flush;
  if (!stream) throw Error(fmt::format("{}: cannot be written", file(newest_).string()));
  std::error_code ignored;
  if (newest_ > kTextsMax) fs::remove(file(newest_ - kTextsMax), ignored);
  return name;
}

std::optional<std::string> KeptTexts::find(std::string_view name) const {
  constexpr std::string_view kFolder = "out/";
  if (!name.starts_with(kFolder)) return std::nullopt;
  const int number = number_of(name.substr(kFolder.size()));
  if (number == 0) return std::nullopt;
  const std::ifstream stream(file(number), std::ios::binary);
  if (!stream) return std::nullopt;
  std::ostringstream text;
  text << stream.rdbuf();
  return std::move(text).str();
}

}  // namespace fathom::tools
