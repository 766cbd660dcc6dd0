// Renders what stands before the first message and finds its parts by their bytes.
#include "agent/opening.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "agent/error.h"
#include "agent/prompt/render.h"

namespace fathom::agent {
namespace {

constexpr std::array<std::pair<prompt::Effort, std::string_view>, 4> kEfforts = {
    {{prompt::Effort::none, "none"},
     {prompt::Effort::low, "low"},
     {prompt::Effort::high, "high"},
     {prompt::Effort::max, "max"}}};

std::vector<prompt::Segment> segments_of(prompt::Effort effort, const std::string& system,
                                         const std::vector<std::string>& schemas,
                                         engine::Family family) {
  prompt::Message message;
  message.role = prompt::Role::system;
  message.content = system;
  // In chat mode no effort text is written.
  const auto mode = effort == prompt::Effort::none ? prompt::Mode::chat : prompt::Mode::thinking;
  auto segments = prompt::render({.messages = {std::move(message)},
                                  .mode = mode,
                                  .effort = effort,
                                  .family = family,
                                  .tools = schemas});
  if (!segments) {
    throw Error(
        fmt::format("the system text cannot be rendered: {}", prompt::code(segments.error())));
  }
  return *std::move(segments);
}

}  // namespace

std::string Opening::text() const {
  return instructions.empty() ? system : system + "\n\n" + instructions;
}

RenderedOpening render(const Opening& opening, const std::vector<std::string>& schemas,
                       engine::Family family, const engine::Tokenizer& tokenizer) {
  using Part = RenderedOpening::Part;
  const auto bytes_with = [&](prompt::Effort effort, const std::string& system) {
    return prompt::text_of(segments_of(effort, system, {}, family)).size();
  };
  // Bytes at which each part ends; a token that crosses an end belongs to the part before it.
  const std::array<std::pair<Part, std::size_t>, 4> ends = {
      {{Part::effort, bytes_with(opening.effort, "")},
       {Part::system, bytes_with(opening.effort, opening.system)},
       {Part::instructions, bytes_with(opening.effort, opening.text())},
       {Part::tools, std::string::npos}}};
  const bool has_effort = ends[0].second > bytes_with(prompt::Effort::none, "");

  RenderedOpening rendered;
  rendered.tokens =
      prompt::encode(segments_of(opening.effort, opening.text(), schemas, family), tokenizer);
  rendered.parts.push_back({.part = has_effort ? Part::effort : Part::system});
  std::size_t bytes = 0;
  std::size_t part = has_effort ? 0 : 1;
  for (int position = 0; const engine::Token token : rendered.tokens) {
    bool next = false;
    for (; bytes >= ends[part].second; next = true) ++part;
    if (next) rendered.parts.push_back({.part = ends[part].first, .position = position});
    bytes += tokenizer.bytes(token).size();
    ++position;
  }
  return rendered;
}

std::string changes(const Opening& from, const Opening& to) {
  std::vector<std::string_view> parts;
  if (from.effort != to.effort) parts.emplace_back("the effort text");
  if (from.text() != to.text()) parts.emplace_back("the system text");
  if (from.tools != to.tools) parts.emplace_back("the tools");
  return fmt::format("{}", fmt::join(parts, " and "));
}

std::string_view name(prompt::Effort effort) noexcept {
  for (const auto& [known, word] : kEfforts) {
    if (known == effort) return word;
  }
  return "none";
}

prompt::Effort effort_by_name(std::string_view name) noexcept {
  for (const auto& [effort, word] : kEfforts) {
    if (word == name) return effort;
  }
  return prompt::Effort::none;
}

}  // namespace fathom::agent
