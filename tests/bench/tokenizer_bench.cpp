// Bytes per second of the tokenizer on one core, and how long loading takes. Needs the published
// tokenizer.json (./bootstrap test fetches it).
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include <benchmark/benchmark.h>

#include "engine/tokenizer.h"
#include "test_paths.h"

namespace {

using fathom::engine::AddedTokens;
using fathom::engine::Tokenizer;

constexpr std::size_t kBytes = 1 << 20;

std::filesystem::path path() {
  return std::filesystem::path(FATHOM_BUILD) / ".." / "data" / "tokenizer.json";
}

const Tokenizer& tokenizer() {
  static const auto kTokenizer = Tokenizer::load(path());
  return *kTokenizer;
}

// All files of a folder of the distribution whose names end so, in the order of their names: no
// text of this tree, and none twice.
std::string all_of(const std::filesystem::path& folder, const std::string& ending) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.is_symlink()) continue;
    if (entry.path().string().ends_with(ending)) files.insert(entry.path());
  }
  std::stringstream text;
  for (const auto& file : files) text << std::ifstream(file).rdbuf();
  return text.str();
}

std::string random_letters() {
  std::mt19937 random(1);
  std::string text(kBytes, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

std::string chinese() {
  const std::string words[] = {"模型", "在", "同一个", "进程", "里", "运行", "代码", "和", "工具"};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < kBytes) text += words[random() % std::size(words)];
  return text;
}

void encode(benchmark::State& state, const std::string& text) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer().encode(text, AddedTokens::plain));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

void load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::load(path()));
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(std::filesystem::file_size(path())));
}

}  // namespace

BENCHMARK_CAPTURE(encode, c, all_of("/usr/include/linux", ".h"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, english, all_of("/usr/share/common-licenses", ""))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, chinese_run, chinese())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, no_space, random_letters())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, newlines, std::string(kBytes, '\n'))->Unit(benchmark::kMillisecond);
BENCHMARK(load)->Unit(benchmark::kMillisecond);
BENCHMARK_MAIN();
