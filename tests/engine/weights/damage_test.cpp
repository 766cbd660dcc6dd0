// Files that lie: whatever a header says, loading ends with a sentence or with a whole model.
#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kFirstShard = "model-00001-of-00002.safetensors";
constexpr const char* kSecondShard = "model-00002-of-00002.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// What loading says after a change to the header of the first shard of gb.
std::string header_error(const std::function<void(json&)>& change) {
  ModelCopy model("gb/hf");
  model.edit_header(kFirstShard, change);
  return load_error(model.path());
}

template <typename T>
std::string bytes_of_number(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::int64_t position_of(const std::filesystem::path& file, const std::string& text) {
  const auto bytes = read_bytes(file);
  const auto found = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
  EXPECT_NE(found, bytes.end()) << text;
  return found - bytes.begin();
}

// Where a tensor's header begins in a GGUF file, after its name.
std::int64_t after_name(const std::filesystem::path& file, const std::string& name) {
  const std::string stored = bytes_of_number(std::uint64_t{name.size()}) + name;
  return position_of(file, stored) + std::ssize(stored);
}

TEST(Damage, SafetensorsHeadersAreNotTrusted) {
  const std::string name = "layers.0.attn.wq_a.weight";  // F8_E4M3 [96, 128]
  const auto set = [&](const char* field, const json& value) {
    return header_error([&](json& header) { header[name][field] = value; });
  };
  EXPECT_THAT(set("shape", {96, 127}), HasSubstr("span other than the 12192 bytes"));
  EXPECT_THAT(set("shape", {128, 96}), HasSubstr("has shape [128, 96], expected [96, 128]"));
  EXPECT_THAT(set("shape", {-96, -128}), HasSubstr("expected integers from 0"));
  EXPECT_THAT(set("shape", {0, 128}), HasSubstr("expected positive extents"));
  EXPECT_THAT(set("shape", {1LL << 32, 1LL << 32}), HasSubstr("less than 2^63 bytes"));
  EXPECT_THAT(set("shape", "96 x 128"), HasSubstr("has no array shape"));
  EXPECT_THAT(set("dtype", "U16"), HasSubstr("is stored as U16, expected F32"));
  EXPECT_THAT(set("dtype", "F32"), HasSubstr("span other than"));
  EXPECT_THAT(set("data_offsets", {1LL << 40, (1LL << 40) + 12288}),
              HasSubstr("expected them inside the file"));
  EXPECT_THAT(set("data_offsets", {INT64_MAX - 12288, INT64_MAX}), HasSubstr("inside the file"));
  EXPECT_THAT(set("data_offsets", {12288, 0}), HasSubstr("span other than"));
  EXPECT_THAT(set("data_offsets", {0, 12288}), HasSubstr("share bytes"));
  EXPECT_THAT(set("data_offsets", {0}), HasSubstr("span other than"));
}

TEST(Damage, SentencesNameFileTensorFoundAndExpected) {
  const std::string error =
      header_error([](json& header) { header.erase("layers.0.attn.wkv.scale"); });
  EXPECT_THAT(error, AllOf(HasSubstr(kIndex), HasSubstr("layers.0.attn.wkv.scale")));

  const std::string type =
      header_error([](json& header) { header["layers.0.attn.wkv.scale"]["dtype"] = "I8"; });
  EXPECT_THAT(type, AllOf(HasSubstr(kFirstShard), HasSubstr("layers.0.attn.wkv.scale")));
}

TEST(Damage, ShardsAndIndexMustAgree) {
  ModelCopy missing("ga/hf");
  std::filesystem::remove(missing.path() / kSecondShard);
  EXPECT_THAT(load_error(missing.path()),
              AllOf(HasSubstr(kIndex), HasSubstr(kSecondShard), HasSubstr("not in the folder")));

  ModelCopy moved("ga/hf");
  moved.edit_json(kIndex, [](json& index) { index["weight_map"]["norm.weight"] = kFirstShard; });
  EXPECT_THAT(load_error(moved.path()), HasSubstr("places tensor norm.weight in"));

  ModelCopy outside("ga/hf");
  outside.edit_json(kIndex, [](json& index) { index["weight_map"]["norm.weight"] = "../x"; });
  EXPECT_THAT(load_error(outside.path()), HasSubstr("expected the name of a file"));

  ModelCopy twice("ga/hf");
  twice.edit_json(kIndex, [](json& index) { index["weight_map"]["twice"] = "copy.safetensors"; });
  std::filesystem::copy(twice.path() / kFirstShard, twice.path() / "copy.safetensors");
  EXPECT_THAT(load_error(twice.path()), HasSubstr("is also in copy.safetensors"));
}

TEST(Damage, MissingTensorsAreNamed) {
  ModelCopy model("ga/hf");
  model.edit_header(kSecondShard, [](json& header) { header.erase("norm.weight"); });
  model.edit_json(kIndex, [](json& index) { index["weight_map"].erase("norm.weight"); });
  EXPECT_THAT(load_error(model.path()),
              HasSubstr("tensor norm.weight is missing, expected shape [64]"));
}

TEST(Damage, MalformedJsonIsRefused) {
  const auto error_of = [](const std::string& text) {
    const ModelCopy model("ga/hf");
    write_bytes(model.path() / "config.json", {text.begin(), text.end()});
    return load_error(model.path());
  };
  EXPECT_THAT(error_of("{"), HasSubstr("malformed JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_of(R"({"a": 1, "a": 2})"), HasSubstr("key a occurs twice"));
  EXPECT_THAT(error_of(R"({"a": )" + std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{\"vocab_size\": 1e999}"), HasSubstr("malformed JSON"));
}

TEST(Damage, GgufHeadersAreNotTrusted) {
  // After a tensor's name: u32 dimensions, u64 extents, u32 type, u64 offset.
  const std::string name = "blk.0.attn_q_a.weight";
  const auto error_of = [&](std::int64_t offset, const std::string& bytes) {
    const ModelCopy model("ga/ga.f32.gguf");
    patch(model.path(), after_name(model.path(), name) + offset, bytes);
    return load_error(model.path());
  };
  EXPECT_THAT(error_of(0, bytes_of_number(std::uint32_t{9})), HasSubstr("has 9 dimensions"));
  EXPECT_THAT(error_of(4, bytes_of_number(std::uint64_t{0})), HasSubstr("positive extents"));
  EXPECT_THAT(error_of(4, bytes_of_number(~std::uint64_t{0})), HasSubstr("positive extents"));
  EXPECT_THAT(error_of(4, bytes_of_number(std::uint64_t{1} << 62)), HasSubstr("2^63 bytes"));
  EXPECT_THAT(error_of(4, bytes_of_number(std::uint64_t{32})),
              HasSubstr("has shape [48, 32], expected [48, 64]"));
  EXPECT_THAT(error_of(20, bytes_of_number(std::uint32_t{9})), HasSubstr("GGML type 9"));
  EXPECT_THAT(error_of(24, bytes_of_number(std::uint64_t{1} << 40)), HasSubstr("inside the file"));
  EXPECT_THAT(error_of(24, bytes_of_number(~std::uint64_t{31})), HasSubstr("inside the file"));
  EXPECT_THAT(error_of(24, bytes_of_number(std::uint64_t{33})), HasSubstr("a multiple of 32"));
  EXPECT_THAT(error_of(24, bytes_of_number(std::uint64_t{0})), HasSubstr("share bytes"));
}

TEST(Damage, GgufMetadataIsNotTrusted) {
  const auto error_of = [](std::int64_t offset, const std::string& bytes) {
    const ModelCopy model("ga/ga.f32.gguf");
    patch(model.path(), offset, bytes);
    return load_error(model.path());
  };
  EXPECT_THAT(error_of(0, "GGML"), HasSubstr("is no GGUF file"));
  EXPECT_THAT(error_of(4, bytes_of_number(std::uint32_t{2})), HasSubstr("version 2, expected 3"));
  EXPECT_THAT(error_of(8, bytes_of_number(~std::uint64_t{0})), HasSubstr("number of tensors"));
  EXPECT_THAT(error_of(16, bytes_of_number(std::uint64_t{1} << 40)), HasSubstr("metadata keys"));
  EXPECT_THAT(error_of(24, bytes_of_number(std::uint64_t{1} << 40)), HasSubstr("metadata key"));
}

// A GGUF file may end with so many bytes of padding that nobody misses.
constexpr std::int64_t kAlignment = 32;

// Lengths a download can break off at.
void expect_sentence_when_truncated(const std::string& name, const std::string& file) {
  const ModelCopy model(name);
  const auto path = file.empty() ? model.path() : model.path() / file;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path));
  std::mt19937_64 random(3);
  for (std::int64_t length = size - kAlignment; length > 0;
       length -= 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size / 60))) {
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(length));
    EXPECT_NE(load_error(model.path()), "") << length;
  }
  std::filesystem::resize_file(path, 0);
  EXPECT_THAT(load_error(model.path()), HasSubstr("the file is empty"));
}

TEST(Damage, TruncatedSafetensorsAreRefused) {
  expect_sentence_when_truncated("ga/hf", kFirstShard);
}

TEST(Damage, TruncatedGgufIsRefused) {
  expect_sentence_when_truncated("ga/ga.f32.gguf", "");
}

// Loading a damaged header must end in a sentence or a model; the test is that it ends at all.
void flip_bytes_of_header(const std::string& name, const std::string& file, std::int64_t header) {
  const ModelCopy model(name);
  const auto path = file.empty() ? model.path() : model.path() / file;
  const auto bytes = read_bytes(path);
  std::mt19937_64 random(11);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    const auto at = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(header));
    const char original = bytes[static_cast<std::size_t>(at)];
    const char flipped = static_cast<char>(original ^ static_cast<char>(1U << random() % 8));
    patch(path, at, std::string(1, flipped));
    refused += load_error(model.path()).empty() ? 0 : 1;
    patch(path, at, std::string(1, original));
  }
  EXPECT_GT(refused, 100);
  EXPECT_EQ(load_error(model.path()), "");
}

TEST(Damage, FlippedBitsInSafetensorsHeadersEndInASentence) {
  std::uint64_t length = 0;
  const auto bytes = read_bytes(golden("ga/hf") / kFirstShard);
  std::memcpy(&length, bytes.data(), sizeof length);
  flip_bytes_of_header("ga/hf", kFirstShard, 8 + static_cast<std::int64_t>(length));
}

TEST(Damage, FlippedBitsInGgufHeadersEndInASentence) {
  const auto file = golden("ga/ga.f32.gguf");
  flip_bytes_of_header("ga/ga.f32.gguf", "", after_name(file, "output_hc_scale.weight"));
}

TEST(Damage, FlippedBitsInConfigurationsEndInASentence) {
  const auto size = std::filesystem::file_size(golden("ga/hf/config.json"));
  flip_bytes_of_header("ga/hf", "config.json", static_cast<std::int64_t>(size));
}

}  // namespace
}  // namespace fathom::engine
