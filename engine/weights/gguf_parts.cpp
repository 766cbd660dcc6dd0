// Finds the parts of a split model by their names and holds them against their metadata.
#include "engine/weights/gguf_parts.h"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <unordered_set>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".gguf";
constexpr int kDigits = 5;
constexpr int kPartsMax = 99'999;  // five digits

// Takes "MIDDLE12345" off the end of `name`; nothing if it does not end so.
std::optional<int> take_number(std::string& name, std::string_view middle) {
  const std::size_t length = middle.size() + kDigits;
  if (name.size() <= length) return std::nullopt;
  const std::string_view end = std::string_view(name).substr(name.size() - length);
  int number = 0;
  const auto [stop, error] =
      std::from_chars(end.data() + middle.size(), end.data() + end.size(), number);
  if (!end.starts_with(middle) || error != std::errc() || stop != end.data() + end.size() ||
      number < 1) {
    return std::nullopt;
  }
  name.resize(name.size() - length);
  return number;
}

// How many files a file says its model has.
std::int64_t announced_parts(const Gguf& gguf) {
  return gguf.integer("split.count").value_or(1);
}

void refuse_missing(const PartName& name, int number) {
  const fs::path part = name.part(number);
  std::error_code ignored;
  if (fs::exists(part, ignored)) return;
  throw Error(fmt::format("{}: is missing: part {} of the {} of this model", part.string(), number,
                          name.count));
}

void check_part(const Gguf& gguf, const PartName& name, int number) {
  const std::string path = gguf.file()->path().string();
  if (announced_parts(gguf) != name.count) {
    throw Error(fmt::format("{}: metadata key split.count is {}, expected {} as in its name", path,
                            announced_parts(gguf), name.count));
  }
  const auto found = gguf.integer("split.no");
  if (found == number - 1) return;
  throw Error(fmt::format("{}: metadata key split.no is {}, expected {}: it is another part", path,
                          found ? fmt::format("{}", *found) : "missing", number - 1));
}

void check_tensors(const std::vector<std::unique_ptr<const Gguf>>& parts) {
  std::unordered_set<std::string_view> names;
  std::int64_t count = 0;
  for (const auto& part : parts) {
    for (const StoredTensor& tensor : part->tensors()) {
      ++count;
      if (names.insert(tensor.name).second) continue;
      throw Error(fmt::format("{}: tensor {} is also in an earlier part",
                              part->file()->path().string(), tensor.name));
    }
  }
  const auto announced = parts.front()->integer("split.tensors.count");
  if (!announced || *announced == count) return;
  throw Error(
      fmt::format("{}: metadata key split.tensors.count is {}, expected {}, which is what "
                  "the {} parts hold",
                  parts.front()->file()->path().string(), *announced, count, parts.size()));
}

}  // namespace

fs::path PartName::part(int other) const {
  fs::path path = stem;
  return path += fmt::format("-{:05}-of-{:05}{}", other, count, kSuffix);
}

std::optional<PartName> part_name(const fs::path& path) {
  std::string name = path.string();
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.resize(name.size() - kSuffix.size());
  const auto count = take_number(name, "-of-");
  const auto number = count ? take_number(name, "-") : std::nullopt;
  if (!number || *number > *count) return std::nullopt;
  return PartName{.stem = name, .number = *number, .count = *count};
}

fs::path first_part(const fs::path& path) {
  const auto name = part_name(path);
  return name && name->count > 1 ? name->part(1) : path;
}

std::vector<std::unique_ptr<const Gguf>> open_gguf(const fs::path& path) {
  const auto name = part_name(path);
  if (name) refuse_missing(*name, name->number);
  std::vector<std::unique_ptr<const Gguf>> parts;
  parts.push_back(std::make_unique<const Gguf>(path));
  const std::int64_t count = announced_parts(*parts.front());
  if (count == 1) return parts;
  if (!name || name->count == 1 || count < 1 || count > kPartsMax) {
    throw Error(
        fmt::format("{}: is one of {} parts, expected a name like NAME-00001-of-{:05}.gguf, "
                    "by which the others can be found",
                    path.string(), count, std::max<std::int64_t>(count, 1)));
  }
  parts.clear();
  for (int number = 1; number <= name->count; ++number) {
    refuse_missing(*name, number);
    parts.push_back(std::make_unique<const Gguf>(name->part(number)));
    check_part(*parts.back(), *name, number);
  }
  check_tensors(parts);
  return parts;
}

fs::path find_gguf(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code failure;
  for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const fs::path& path = entry->path();
    if (path.extension() == kSuffix) found.push_back(first_part(path));
  }
  if (failure) throw Error(fmt::format("{}: {}", folder.string(), failure.message()));
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  if (found.size() == 1) return found.front();
  throw Error(
      fmt::format("{}: holds {} models in GGUF files and no model.safetensors.index.json or "
                  "model.safetensors, expected a Hugging Face folder or one GGUF model",
                  folder.string(), found.size()));
}

}  // namespace fathom::engine
