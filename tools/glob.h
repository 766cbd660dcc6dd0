// Shell patterns over paths, and the ignore rules made of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

// Whether the whole path matches: `*` and `?` stay inside a name, `**` as a whole name spans
// folders, [a-z], [!a-z] and [[:alpha:]] are sets, a backslash takes the next character literally.
// A set that is never closed matches nothing.
bool glob_match(std::string_view pattern, std::string_view path);

// As search_files understands its `glob`: over the whole path if it has a "/", else over the file
// name alone.
bool glob_selects(std::string_view glob, std::string_view path);

// What .gitignore files say. Rules of a folder are added before its entries are asked about.
class IgnoreRules {
 public:
  // The text of the .gitignore in `folder` ("" or "a/b").
  void add(std::string folder, std::string_view text);

  // Whether the rules that reach `path` leave it out. The caller does not enter folders that are
  // left out, so nothing below them is asked about. The last rule that matches decides, and rules
  // of deeper folders come after those of the folders above.
  bool ignores(std::string_view path, bool is_folder) const;

 private:
  struct Rule {
    std::string pattern;
    bool negated = false;
    bool folders_only = false;
    bool anchored = false;  // counts from the rule's folder, else any name matches
  };
  struct Rules {
    std::string folder;
    std::vector<Rule> rules;
  };

  static bool matches(const Rule& rule, std::string_view path, bool is_folder);

  std::vector<Rules> files_;  // in the order in which they were added: parents first
};

}  // namespace fathom::tools
