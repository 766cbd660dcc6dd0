// The exact texts of the chat encoding. The model was trained on these bytes: never reword them.
#pragma once

#include <string_view>

namespace fathom::agent::prompt {

// Special tokens. Ids come from the tokenizer (Tokenizer::added_token), never from here.
inline constexpr std::string_view kBeginOfSentence = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEndOfSentence = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kThinkOpen = "<think>";
inline constexpr std::string_view kThinkClose = "</think>";
inline constexpr std::string_view kDsml = "｜DSML｜";
inline constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
inline constexpr std::string_view kActionTask = "<｜action｜>";
inline constexpr std::string_view kQueryTask = "<｜query｜>";
inline constexpr std::string_view kAuthorityTask = "<｜authority｜>";
inline constexpr std::string_view kDomainTask = "<｜domain｜>";
inline constexpr std::string_view kTitleTask = "<｜title｜>";
inline constexpr std::string_view kReadUrlTask = "<｜read_url｜>";

// Between the parts of a user turn, and before the tools, the format and the calls.
inline constexpr std::string_view kBlankLine = "\n\n";
inline constexpr std::string_view kResultOpen = "<tool_result>";
inline constexpr std::string_view kResultClose = "</tool_result>";

// Written once, after BOS: preview writes A for max; 0731 writes A for high and B for max.
extern const std::string_view kEffortA;
extern const std::string_view kEffortB;

// Around the schemas, one per line. Inside it ｜DSML｜, <think> and </think> are special tokens.
extern const std::string_view kToolsHead;
extern const std::string_view kToolsTail;

extern const std::string_view kResponseFormatHead;

// What an empty outcome is replaced by (DeepSeek's own harness does the same).
inline constexpr std::string_view kNoOutput = "(no output)";

}  // namespace fathom::agent::prompt
