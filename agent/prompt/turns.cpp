// The preparation steps of the chat encoding, 5.1 and 6.
#include "agent/prompt/turns.h"

#include <algorithm>
#include <map>

namespace fathom::agent::prompt {
namespace {

bool carries_tools(const Message& message) {
  return message.role == Role::system || message.role == Role::developer;
}

// What the request says about tools and format belongs to the first message of the conversation;
// an empty system message is put in front when that is none that could carry it.
void attach(const Request& request, std::vector<Message>& context, std::vector<Message>& messages) {
  if (request.tools.empty() && !request.response_format) return;
  std::vector<Message>& first = context.empty() ? messages : context;
  if (first.empty() || !carries_tools(first.front())) {
    first.insert(first.begin(), Message{.role = Role::system});
  }
  if (!request.tools.empty()) first.front().tools = request.tools;
  if (request.response_format) first.front().response_format = request.response_format;
}

bool is_user_turn(const Turn& turn) {
  return turn.message.role == Role::user;
}

// There is no tool role in the prompt: user and tool messages in a row are one user turn.
std::vector<Turn> merged(std::vector<Message> messages, bool in_context) {
  std::vector<Turn> turns;
  for (Message& message : messages) {
    const bool result = message.role == Role::tool;
    if (!result && message.role != Role::user) {
      turns.push_back({.message = std::move(message), .parts = {}, .in_context = in_context});
      continue;
    }
    const bool joins = !turns.empty() && is_user_turn(turns.back()) &&
                       (result || turns.back().message.task == Task::none);
    if (!joins) {
      Message user{.role = Role::user};
      user.task = result ? Task::none : message.task;
      turns.push_back({.message = std::move(user), .parts = {}, .in_context = in_context});
    }
    const auto kind = result ? Block::Kind::result : Block::Kind::text;
    turns.back().parts.push_back(
        {{kind, std::move(message.content)}, std::move(message.tool_call_id)});
  }
  return turns;
}

using Order = std::map<std::string, int>;  // call id to index

Order order_of(const std::vector<PastCall>& calls) {
  Order order;
  int index = 0;
  for (const PastCall& call : calls) {
    if (!call.id.empty()) order[call.id] = index;
    ++index;
  }
  return order;
}

// Permutes the results among their own places; text stays where it is. Unknown ids sort as the
// first call's do.
void sort_results(std::vector<Turn::Part>& parts, const Order& order) {
  std::vector<Turn::Part> results;
  for (const Turn::Part& part : parts) {
    if (part.block.kind == Block::Kind::result) results.push_back(part);
  }
  std::ranges::stable_sort(results, {}, [&](const Turn::Part& part) {
    const auto found = order.find(part.call_id);
    return found == order.end() ? 0 : found->second;
  });
  auto next = results.begin();
  for (Turn::Part& part : parts) {
    if (part.block.kind == Block::Kind::result) part = std::move(*next++);
  }
}

void sort_all_results(std::vector<Turn>& turns) {
  Order order;
  for (Turn& turn : turns) {
    if (!turn.message.tool_calls.empty()) order = order_of(turn.message.tool_calls);
    if (is_user_turn(turn) && !order.empty()) sort_results(turn.parts, order);
  }
}

int last_question(const std::vector<Turn>& turns) {
  const auto last =
      std::find_if(turns.rbegin(), turns.rend(), [](const Turn& t) { return t.asks(); });
  return static_cast<int>(turns.rend() - last) - 1;
}

// Before the last question: reasoning goes, and so do whole developer turns.
void drop_reasoning(std::vector<Turn>& turns) {
  const auto last = turns.begin() + std::max(last_question(turns), 0);
  for (auto turn = turns.begin(); turn != last; ++turn) turn->message.reasoning_content.clear();
  const auto is_developer = [](const Turn& t) { return t.message.role == Role::developer; };
  turns.erase(std::remove_if(turns.begin(), last, is_developer), last);
}

}  // namespace

bool Turn::asks() const noexcept {
  return message.role == Role::user || message.role == Role::developer;
}

Turns prepare(const Request& request) {
  std::vector<Message> context = request.context, messages = request.messages;
  attach(request, context, messages);

  Turns turns;
  turns.all = merged(std::move(context), /*in_context=*/true);
  std::ranges::move(merged(std::move(messages), /*in_context=*/false),
                    std::back_inserter(turns.all));
  sort_all_results(turns.all);

  const bool has_tools =
      std::ranges::any_of(turns.all, [](const Turn& t) { return !t.message.tools.empty(); });
  turns.keeps_reasoning = has_tools || !request.drop_thinking;
  if (request.mode == Mode::thinking && !turns.keeps_reasoning) drop_reasoning(turns.all);
  turns.last_question = last_question(turns.all);
  return turns;
}

}  // namespace fathom::agent::prompt
