// Continues a text with a DeepSeek-V4 model, token by token: the smallest use of the engine.
//
//   generate MODEL TEXT [TOKENS]
#include <cstdio>
#include <cstdlib>
#include <exception>

#include <fmt/format.h>

#include "engine/sampler.h"
#include "engine/session.h"

namespace engine = fathom::engine;

int main(int count, char** values) try {
  if (count < 3) {
    fmt::print(stderr, "usage: generate MODEL TEXT [TOKENS]\n");
    return 2;
  }
  const int tokens_max = count > 3 ? std::atoi(values[3]) : 64;
  const auto model = engine::Engine::load(values[1], {});
  const auto tokenizer = model->tokenizer();

  // The text is data: `<think>` in it stays five letters and two brackets.
  std::vector<engine::Token> prompt = {model->config().bos_token_id};
  for (const auto token : tokenizer->encode(values[2], engine::AddedTokens::plain)) {
    prompt.push_back(token);
  }
  engine::Session session(model);
  session.sync(prompt, {}, {});

  engine::Sampler sampler(/*seed=*/1);
  engine::TextStream text;
  for (int i = 0; i < tokens_max; ++i) {
    const auto next = sampler.sample(session.logits(), {.temperature = 0}).token;
    if (next == model->config().eos_token_id) break;
    fmt::print("{}", text.push(tokenizer->bytes(next)));
    std::fflush(stdout);
    session.append(next);
  }
  fmt::print("{}\n", text.flush());
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "generate: {}\n", error.what());
  return 1;
}
