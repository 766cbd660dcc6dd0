// Fuzz target: GGUF headers, metadata, tensors and the vocabulary in them.
#include <cstddef>
#include <cstdint>

#include "engine/model_files.h"
#include "engine/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace fathom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  // Room for the tensors of the corpus, 521 KB in F32.
  static const fuzz::InputFile kFile("model.gguf", 1 << 20);
  kFile.write({bytes, size});
  fuzz::expect_an_answer([] { engine::find_damage(kFile.path(), {}); });
  fuzz::expect_an_answer([] {
    const auto tokenizer = engine::Tokenizer::load(kFile.path());
    tokenizer->decode(tokenizer->encode("<think> a 12", engine::AddedTokens::recognised));
  });
  return 0;
}
