// `fathom model convert` as a user calls it, killed and starved.
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const std::string kFathom = FATHOM_BUILD "/fathom";
const std::string kFolder = FATHOM_SHARED "/golden/gb/hf";

constexpr std::int64_t kRank = 16'384;
constexpr std::int64_t kScaleBlock = 128;

// The shape of a tensor of the folder when its queries pass through kRank columns.
json widened(const std::string& name, const json& shape) {
  const bool is_scale = name.ends_with(".scale");
  const std::int64_t rank = is_scale ? kRank / kScaleBlock : kRank;
  if (name.find(".q_norm.") != std::string::npos) return json({rank});
  if (name.find(".wq_a.") != std::string::npos) return json({rank, shape[1]});
  if (name.find("wq_b.") != std::string::npos) return json({shape[0], rank});
  return shape;
}

std::int64_t bytes_of(const json& tensor) {
  std::int64_t bytes = 1;
  for (const std::int64_t size : tensor["shape"]) bytes *= size;
  const std::string type = tensor["dtype"];
  return type == "I64" ? 8 * bytes : type == "F32" ? 4 * bytes : type == "BF16" ? 2 * bytes : bytes;
}

// A folder like kFolder with wide matrices of zeros, which take no room on disk. Returns the bytes
// of its tensors.
std::int64_t write_wide_folder(const fs::path& folder) {
  std::int64_t total = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kFolder)) {
    const fs::path target = folder / entry.path().filename();
    if (entry.path().extension() != ".safetensors") {
      fs::copy_file(entry.path(), target);
      continue;
    }
    std::ifstream in(entry.path(), std::ios::binary);
    std::uint64_t size = 0;
    in.read(reinterpret_cast<char*>(&size), sizeof size);
    std::string text(size, ' ');
    in.read(text.data(), static_cast<std::streamsize>(size));
    json header = json::parse(text);
    std::int64_t end = 0;
    for (auto& [name, tensor] : header.items()) {
      if (name == "__metadata__") continue;
      tensor["shape"] = widened(name, tensor["shape"]);
      tensor["data_offsets"] = {end, end + bytes_of(tensor)};
      end += bytes_of(tensor);
    }
    text = header.dump();
    size = text.size();
    std::ofstream out(target, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), sizeof size);
    out << text;
    out.close();
    fs::resize_file(target, sizeof size + text.size() + static_cast<std::uintmax_t>(end));
    total += end;
  }
  fs::permissions(folder / "config.json", fs::perms::owner_write, fs::perm_options::add);
  json config = json::parse(std::ifstream(folder / "config.json"));
  config["q_lora_rank"] = kRank;
  std::ofstream(folder / "config.json") << config;
  return total;
}

class ConvertTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kFolder)) GTEST_SKIP() << "golden files missing";
  }

  // The call, after words that start it in some other way.
  Finished convert(const std::string& output, std::vector<std::string> before = {},
                   const std::vector<std::string>& flags = {}) {
    before.insert(before.end(), {kFathom, "model", "convert", kFolder, output, "--threads", "1"});
    before.insert(before.end(), flags.begin(), flags.end());
    return run_process({.argv = before, .folder = folder_.path()});
  }

  TempDir folder_;
};

TEST_F(ConvertTest, WritesFilesThatInfoAndCheckUnderstand) {
  const Finished converted = convert("out.gguf", {}, {"--type", "Q5_0", "--json"});
  ASSERT_EQ(converted.exit, 0) << converted.error;
  EXPECT_EQ(json::parse(converted.output)["files"], json({"out.mtp.gguf", "out.gguf"}));

  const Finished info = run_process(
      {.argv = {kFathom, "model", "info", "out.gguf", "--json"}, .folder = folder_.path()});
  EXPECT_TRUE(json::parse(info.output)["formats"].contains("Q5_0"));
  const Finished check =
      run_process({.argv = {kFathom, "model", "check", "out.gguf"}, .folder = folder_.path()});
  EXPECT_EQ(check.output, "ok\n");
}

// Whatever a killed call left, no file is wrong under its name, and further calls finish the work.
TEST_F(ConvertTest, SurvivesBeingKilledAtAnyMoment) {
  ASSERT_EQ(convert("whole.gguf").exit, 0);
  const std::string whole = folder_.read("whole.gguf"), mtp = folder_.read("whole.mtp.gguf");
  const fs::path output = folder_.path() / "out.gguf";
  for (const char* seconds : {"0.005", "0.01", "0.02", "0.03", "0.04", "0.05", "0.06", "0.08"}) {
    const Finished killed = convert("out.gguf", {"/usr/bin/timeout", "-s", "KILL", seconds});
    EXPECT_NE(killed.exit, 127) << killed.error;  // timeout is there
    EXPECT_TRUE(!fs::exists(output) || folder_.read("out.gguf") == whole);
    EXPECT_TRUE(!fs::exists(folder_.path() / "out.mtp.gguf") ||
                folder_.read("out.mtp.gguf") == mtp);
  }
  const bool finished = fs::exists(output);
  EXPECT_EQ(convert("out.gguf").exit, finished ? 9 : 0);
  EXPECT_EQ(folder_.read("out.gguf"), whole);
  EXPECT_EQ(folder_.read("out.mtp.gguf"), mtp);
}

TEST_F(ConvertTest, SaysThatTheDiskIsFullAndGoesOnWhenItIsNot) {
  ASSERT_EQ(convert("whole.gguf").exit, 0);
  // A limit on the size of files ends writes as a full disk does; in blocks of 512 bytes.
  const Finished full =
      convert("out.gguf", {"/bin/sh", "-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh"});
  EXPECT_EQ(full.exit, 9);
  EXPECT_THAT(full.error, AllOf(HasSubstr("out.gguf.part: the disk is full after"),
                                HasSubstr("the same call goes on")));
  EXPECT_FALSE(fs::exists(folder_.path() / "out.gguf"));

  const Finished more = convert("out.gguf");
  EXPECT_THAT(more.output, HasSubstr("went on after"));
  EXPECT_EQ(folder_.read("out.gguf"), folder_.read("whole.gguf"));
}

TEST_F(ConvertTest, NeedsMemoryForOneTensorOnly) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep memory beside every byte";
#endif
  fs::create_directory(folder_.path() / "wide");
  const std::int64_t total = write_wide_folder(folder_.path() / "wide");
  ASSERT_GT(total, 180'000'000);

  const Finished converted = run_process(
      {.argv = {kFathom, "model", "convert", "wide", "out.gguf"}, .folder = folder_.path()});

  ASSERT_EQ(converted.exit, 0) << converted.error;
  rusage children{};
  ::getrusage(RUSAGE_CHILDREN, &children);
  const std::int64_t one_tensor = 2048 * kRank;  // queries of an indexer, the largest
  EXPECT_LT(children.ru_maxrss * 1024, one_tensor + (32 << 20));  // and the program
}

TEST_F(ConvertTest, RefusesToOverwriteAndUnknownTypes) {
  folder_.write("out.gguf", "precious");
  const Finished refused = convert("out.gguf");
  EXPECT_EQ(refused.exit, 9);
  EXPECT_THAT(refused.error, HasSubstr("out.gguf: exists already"));
  EXPECT_EQ(folder_.read("out.gguf"), "precious");
  EXPECT_EQ(convert("out.gguf", {}, {"--force"}).exit, 0);
  EXPECT_EQ(convert("out.gguf", {}, {"--force", "--type", "q9_k"}).exit, 2);
}

}  // namespace
}  // namespace fathom::tests
