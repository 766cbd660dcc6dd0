// Fuzz target: config.json, and the memory plans that rest on its numbers.
#include <cstddef>
#include <cstdint>

#include "engine/model_files.h"
#include "engine/weights/read_config.h"
#include "tests/fuzz/input_file.h"

using namespace fathom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::InputFile kFile("config.json", 0);
  kFile.write({bytes, size});
  fuzz::expect_an_answer([] {
    const engine::ModelConfig config = engine::read_config_json(kFile.path());
    const std::int64_t context = config.max_position_embeddings;
    engine::kv_bytes(config, engine::Rounding::exact, context);
    if (engine::supports_official(config)) {
      engine::kv_bytes(config, engine::Rounding::official, context);
    }
  });
  return 0;
}
