// Models that GGUF keeps in several files.
#include "engine/weights/gguf_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/model_files.h"
#include "engine/tokenizer.h"
#include "engine/weights/model_weights.h"
#include "tests/engine/weights/gguf_file.h"
#include "tests/engine/weights/model_copy.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class GgufPartsTest : public testing::Test {
 protected:
  std::filesystem::path folder() const { return folder_.path(); }

  tests::TempDir folder_;
  GgufFile whole_ = read_gguf(golden("ga/ga.f32.gguf"));
  std::vector<std::filesystem::path> parts_ = write_parts(folder_.path(), whole_, 3);
};

TEST(PartName, IsReadFromTheFilesName) {
  EXPECT_FALSE(part_name("model.gguf"));
  EXPECT_FALSE(part_name("model-00001-of-3.gguf"));
  EXPECT_FALSE(part_name("model-00004-of-00003.gguf"));
  EXPECT_FALSE(part_name("model-00000-of-00003.gguf"));
  EXPECT_FALSE(part_name("-00001-of-00003.gguf"));
  const auto name = part_name("dir/a-00002-of-00003.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->number, 2);
  EXPECT_EQ(name->part(3), "dir/a-00003-of-00003.gguf");
  EXPECT_EQ(first_part("dir/a-00002-of-00003.gguf"), "dir/a-00001-of-00003.gguf");
  EXPECT_EQ(first_part("dir/a.gguf"), "dir/a.gguf");
}

TEST_F(GgufPartsTest, AnyPartAndTheFolderOpenTheModel) {
  const ModelSummary expected = summarize_model(golden("ga/ga.f32.gguf"));
  for (const std::filesystem::path& path : {parts_[0], parts_[1], parts_[2], folder()}) {
    const ModelSummary found = summarize_model(path);
    EXPECT_EQ(found.files, 3) << path;
    EXPECT_EQ(found.tensors, expected.tensors);
    EXPECT_EQ(found.parameters, expected.parameters);
    EXPECT_TRUE(found.has_tokenizer);
    EXPECT_THAT(found.extra_tensors, IsEmpty());
    EXPECT_THAT(find_damage(path, {}), IsEmpty());
    EXPECT_EQ(Tokenizer::load(path)->vocab_size(),
              Tokenizer::load(golden("ga/ga.f32.gguf"))->vocab_size());
  }
}

TEST_F(GgufPartsTest, FirstPartsMayHoldMetadataAlone) {
  GgufFile first = read_gguf(parts_[0]), second = read_gguf(parts_[1]);
  second.tensors.insert(second.tensors.end(), first.tensors.begin(), first.tensors.end());
  first.tensors.clear();
  write_gguf(parts_[0], first);
  write_gguf(parts_[1], second);
  EXPECT_EQ(load_error(parts_[0]), "");
}

TEST_F(GgufPartsTest, AMissingPartIsNamed) {
  for (const std::size_t missing : {0U, 1U, 2U}) {
    const auto hidden = folder() / "hidden";
    std::filesystem::rename(parts_[missing], hidden);
    const std::string expected = parts_[missing].filename().string() + ": is missing: part " +
                                 std::to_string(missing + 1) + " of the 3";
    EXPECT_THAT(load_error(parts_[missing == 0 ? 1 : 0]), HasSubstr(expected));
    EXPECT_THAT(load_error(folder()), HasSubstr(expected));
    std::filesystem::rename(hidden, parts_[missing]);
  }
}

TEST_F(GgufPartsTest, PartsThatDisagreeAreRefused) {
  std::filesystem::copy(parts_[2], parts_[1], std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(load_error(parts_[0]),
              AllOf(HasSubstr("00002-of-00003"), HasSubstr("split.no is 2, expected 1")));

  write_parts(folder(), whole_, 3);
  GgufFile twice = read_gguf(parts_[2]);
  twice.tensors.push_back(whole_.tensors.front());
  write_gguf(parts_[2], twice);
  EXPECT_THAT(load_error(parts_[0]), HasSubstr("is also in an earlier part"));

  write_parts(folder(), whole_, 3);
  GgufFile fewer = read_gguf(parts_[2]);
  fewer.tensors.pop_back();
  write_gguf(parts_[2], fewer);
  EXPECT_THAT(load_error(parts_[0]), HasSubstr("split.tensors.count is"));
}

TEST_F(GgufPartsTest, RenamedPartsCannotFindTheOthers) {
  const auto renamed = folder() / "first.gguf";
  std::filesystem::rename(parts_[0], renamed);
  EXPECT_THAT(load_error(renamed),
              AllOf(HasSubstr("is one of 3 parts"), HasSubstr("NAME-00001-of-00003.gguf")));

  const auto miscounted = folder() / "model-00001-of-00004.gguf";
  std::filesystem::rename(renamed, miscounted);
  EXPECT_THAT(load_error(miscounted), HasSubstr("split.count is 3, expected 4 as in its name"));
}

}  // namespace
}  // namespace fathom::engine
