// Fuzz target: safetensors headers, against the configuration of a tiny model.
#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "engine/model_files.h"
#include "tests/fuzz/input_file.h"

using namespace fathom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  // Room for the tensors of the corpus, 644 KB in F32.
  static const fuzz::InputFile kFile("model.safetensors", 1 << 20);
  static const bool kConfigured = std::filesystem::copy_file(
      FATHOM_SOURCE "/tests/fuzz/corpus/config/tiny.json", kFile.folder().path() / "config.json");
  if (!kConfigured) return -1;
  kFile.write({bytes, size});
  fuzz::expect_an_answer([] { engine::find_damage(kFile.folder().path(), {}); });
  return 0;
}
