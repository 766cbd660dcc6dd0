// Fuzz target: tokenizer.json, and texts encoded and decoded with what could be loaded.
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "engine/tokenizer.h"
#include "tests/fuzz/input_file.h"

using namespace fathom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::InputFile kFile("tokenizer.json", 0);
  kFile.write({bytes, size});
  fuzz::expect_an_answer([&] {
    const auto tokenizer = engine::Tokenizer::load(kFile.path());
    const std::string_view own(reinterpret_cast<const char*>(bytes), size);
    for (const auto added : {engine::AddedTokens::recognised, engine::AddedTokens::plain}) {
      tokenizer->decode(tokenizer->encode(own, added));
      tokenizer->decode(tokenizer->encode("It's <think>  1234 你好、\r\n\xF0\x9F", added));
    }
    std::vector<engine::Token> all(static_cast<std::size_t>(tokenizer->vocab_size()) + 2);
    std::iota(all.begin(), all.end(), -1);
    tokenizer->decode(all);
  });
  return 0;
}
