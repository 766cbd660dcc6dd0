// SeenLines: which lines of which files the model has been shown, and with what content.
//
// An edit by line numbers is only right if the numbers mean what the model believes. So every line
// is remembered by number with a hash of its content, exactly as it was shown. Whatever moves or
// changes it, our own edits included, makes the hashes disagree, and the edit is refused with the
// lines as they are now.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

// Lines are counted from 1. Safe to use from several threads.
class SeenLines {
 public:
  // Lines first … last of the file with these lines have been shown. `as_a_whole`: as part of
  // reading it, which entitles to replace the file.
  void show(const std::string& path, const std::vector<std::string_view>& lines, int first,
            int last, bool as_a_whole);

  // One line has been shown, as a search hit.
  void show_line(const std::string& path, int number, std::string_view line);

  // The model itself wrote the whole file.
  void wrote(const std::string& path, const std::vector<std::string_view>& lines);

  // An edit that the model asked for turned `before` into `after`, of which lines first … last were
  // shown. A file that was known as a whole still is.
  void edited(const std::string& path, const std::vector<std::string_view>& before,
              const std::vector<std::string_view>& after, int first, int last);

  enum class Answer { unchanged, changed, not_shown };
  struct Check {
    Answer answer = Answer::unchanged;
    int first = 0;  // of the lines not shown, or the first that changed; 0: not known which
    int last = 0;
  };

  // Whether the model knows lines first … last as they are now.
  Check check_lines(const std::string& path, const std::vector<std::string_view>& lines, int first,
                    int last) const;

  // Whether the model has read the file and nothing in it has changed since.
  Check check_file(const std::string& path, const std::vector<std::string_view>& lines) const;

 private:
  using Hash = std::uint64_t;
  struct File {
    std::map<int, Hash> shown;
    std::optional<std::vector<Hash>> whole;  // of all lines when it was last read or written
  };

  mutable std::mutex mutex_;
  std::map<std::string, File> files_;  // guarded by mutex_
};

}  // namespace fathom::tools
