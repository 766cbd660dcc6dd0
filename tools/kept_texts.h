// KeptTexts: outcomes too long for the model, readable later as out/1.txt, out/2.txt, …
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace fathom::tools {

// The names are virtual: they stand for files of a private folder, and read_file looks there when
// the workspace has no such file. Safe to use from several threads.
class KeptTexts {
 public:
  // `folder` is created if missing; empty: a temporary one, removed at the end. Numbers go on
  // behind those it has. Throws Error if it cannot be made.
  explicit KeptTexts(std::filesystem::path folder);
  ~KeptTexts();
  KeptTexts(const KeptTexts&) = delete;
  KeptTexts& operator=(const KeptTexts&) = delete;

  // Keeps a text and returns its name. `is_taken` says which names mean something else already:
  // they are passed over. Only the newest 200 texts stay. Throws Error if the disk refuses.
  std::string keep(std::string_view text, const std::function<bool(const std::string&)>& is_taken);

  // The text kept under "out/N.txt", or nothing.
  std::optional<std::string> find(std::string_view name) const;

 private:
  std::filesystem::path file(int number) const;

  bool temporary_ = false;        // constant after construction
  std::filesystem::path folder_;  // constant after construction
  mutable std::mutex mutex_;
  int newest_ = 0;  // guarded by mutex_
};

}  // namespace fathom::tools
