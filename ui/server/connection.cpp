// The protocol of one connection.
#include "ui/server/connection.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "ui/hub.h"
#include "ui/server/page.h"
#include "ui/version.h"

namespace fathom::ui {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kCutEvery{33};
constexpr seconds kBeatAfter{5};
constexpr seconds kHelloWithin{5};
constexpr seconds kRateWindow{10};
constexpr std::size_t kCommandsPerWindow = 60;

// Answers nobody reads: whoever sends this many frames without reading is no page of ours.
constexpr std::size_t kFramesMax = 256;

std::int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Refusal closing(CloseCode code, std::string message) {
  return {.close = code, .code = "closed", .message = std::move(message), .id = ""};
}

Refusal answer(std::string code, std::string message) {
  return {.close = std::nullopt, .code = std::move(code), .message = std::move(message), .id = ""};
}

bool same(const Ack& a, const Ack& b) {
  return a.status == b.status && a.n == b.n && a.conversation == b.conversation;
}

}  // namespace

Connection::Connection(Hub& hub, Role role, std::string epoch, Clock::time_point now)
    : hub_(hub), role_(role), epoch_(std::move(epoch)), opened_(now), last_frame_(now) {
  frames_.push_back(fmt::format(
      R"({{"f":"hello","v":[{}],"server":{{"version":{},"build":"{}"}},"epoch":{},"role":"{}",)"
      R"("now_ms":{},"limits":{{"frame_bytes":{},"prompt_bytes":{},"subscriptions":{}}},)"
      R"("engine":{}}})",
      kProtocolVersion, json_string(version()), page_build(), json_string(epoch_),
      role == Role::control ? "control" : "view", now_ms(), kClientFrameBytesMax, kPromptBytesMax,
      kSubscriptionsMax, hub.engine_json()));
  hub_.list_frame(list_version_);
  hub_.engine_frame(engine_version_);
}

std::optional<Refusal> Connection::receive(std::string_view text, Clock::time_point now) {
  const auto frame = parse_client_frame(text);
  std::optional<Refusal> refusal;
  if (!frame) {
    refusal = frame.error();
  } else if (!greeted_ && !std::holds_alternative<ClientHello>(*frame)) {
    refusal = closing(CloseCode::not_understood, "The first frame is hello.");
  } else if (const auto* hello = std::get_if<ClientHello>(&*frame)) {
    take(*hello);
  } else if (const auto* subscribe = std::get_if<Subscribe>(&*frame)) {
    refusal = take(subscribe->subscription);
  } else if (const auto* unsubscribe = std::get_if<Unsubscribe>(&*frame)) {
    followed_.erase(unsubscribe->conversation);
  } else if (const auto* change = std::get_if<ChangeWant>(&*frame)) {
    const auto followed = followed_.find(change->conversation);
    if (followed != followed_.end()) followed->second.cursor.want = change->want;
  } else if (const auto* command = std::get_if<Command>(&*frame)) {
    take(*command, now);
  } else if (const auto* unknown = std::get_if<UnknownFrame>(&*frame)) {
    refusal = answer("frame.unknown", "This server knows no frame \"" + unknown->f + "\".");
  }
  if (refusal && !refusal->close) {
    frames_.push_back(error_frame(*refusal));
    refusal.reset();
  }
  if (!refusal && frames_.size() > kFramesMax) {
    return closing(CloseCode::too_many, "Too many frames without reading the answers.");
  }
  return refusal;
}

void Connection::take(const ClientHello& hello) {
  greeted_ = true;
  for (const Subscription& subscription : hello.resume) {
    if (const auto refusal = take(subscription)) frames_.push_back(error_frame(*refusal));
  }
}

std::optional<Refusal> Connection::take(const Subscription& subscription) {
  if (!followed_.contains(subscription.conversation) && followed_.size() >= kSubscriptionsMax) {
    return answer("sub.too_many", "At most 8 conversations can be followed at once.");
  }
  try {
    auto conversation = hub_.open(subscription.conversation);
    if (!conversation) {
      return answer("sub.unknown", "There is no conversation " + subscription.conversation + ".");
    }
    Cursor cursor = conversation->cursor_for(subscription);
    followed_[subscription.conversation] = {.conversation = std::move(conversation),
                                            .cursor = std::move(cursor)};
  } catch (const std::exception& error) {
    return answer("store.damaged", error.what());
  }
  return std::nullopt;
}

void Connection::take(const Command& command, Clock::time_point now) {
  Ack ack;
  ack.id = command.id;
  ack.status = Ack::Status::refused;
  if (role_ != Role::control) {
    ack.code = "forbidden";
    ack.message = "This address may only watch.";
  } else if (!within_rate(now)) {
    ack.code = "rate";
    ack.message = "More than 60 commands in 10 seconds.";
  } else {
    try {
      ack = hub_.command(command);
    } catch (const std::exception& error) {
      ack.code = "store.failed";  // full, locked or damaged: nothing was begun
      ack.message = error.what();
    }
    const bool open_ended = command.action == "turn" && ack.status != Ack::Status::refused;
    if (open_ended && !ack.n) waiting_.insert_or_assign(ack.id, ack);
  }
  frames_.push_back(ack_frame(ack));
}

bool Connection::within_rate(Clock::time_point now) {
  while (!commands_.empty() && now - commands_.front() > kRateWindow) commands_.pop_front();
  if (commands_.size() >= kCommandsPerWindow) return false;
  commands_.push_back(now);
  return true;
}

std::optional<std::string> Connection::next_frame(Clock::time_point now) {
  if (frames_.empty() && greeted_ && now - last_cut_ >= kCutEvery) cut(now);
  if (frames_.empty() && greeted_ && now - last_frame_ >= kBeatAfter) {
    std::string heads;
    for (const auto& [id, followed] : followed_) {
      heads += fmt::format("{}{}:{}", heads.empty() ? "" : ",", json_string(id),
                           followed.conversation->head());
    }
    frames_.push_back(fmt::format(R"({{"f":"beat","now_ms":{},"heads":{{{}}}}})", now_ms(), heads));
  }
  if (frames_.empty()) return std::nullopt;
  std::string frame = std::move(frames_.front());
  frames_.pop_front();
  last_frame_ = now;
  return frame;
}

void Connection::cut(Clock::time_point now) {
  add_answers();
  if (std::string list = hub_.list_frame(list_version_); !list.empty()) frames_.push_back(list);
  if (std::string engine = hub_.engine_frame(engine_version_); !engine.empty()) {
    frames_.push_back(engine);
  }
  // One conversation per cut, in turns: memory stays one conversation's share of frames.
  auto at = followed_.upper_bound(last_followed_);
  for (std::size_t count = 0; count < followed_.size(); ++count, ++at) {
    if (at == followed_.end()) at = followed_.begin();
    std::vector<std::string> cuts = at->second.conversation->cut(at->second.cursor, now);
    if (cuts.empty()) continue;
    std::ranges::move(cuts, std::back_inserter(frames_));
    last_followed_ = at->first;
    break;
  }
  if (!frames_.empty()) last_cut_ = now;
}

// A queued turn got its conversation, its first event, or was taken back.
void Connection::add_answers() {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const auto ack = hub_.answer(at->first);
    if (ack && !same(*ack, at->second)) {
      frames_.push_back(ack_frame(*ack));
      at->second = *ack;
    }
    const bool settled = !ack || ack->n || ack->status == Ack::Status::refused;
    at = settled ? waiting_.erase(at) : std::next(at);
  }
}

Clock::time_point Connection::due(Clock::time_point now) const {
  if (!frames_.empty()) return now;
  if (!greeted_) return opened_ + kHelloWithin;
  if (now - last_cut_ < kCutEvery) return last_cut_ + kCutEvery;  // something may wait for it
  Clock::time_point due = last_frame_ + kBeatAfter;
  for (const auto& [id, followed] : followed_) {
    if (const auto at = followed.conversation->due(followed.cursor)) due = std::min(due, *at);
  }
  return std::max(due, now);
}

std::optional<Refusal> Connection::overdue(Clock::time_point now) const {
  if (greeted_ || now - opened_ < kHelloWithin) return std::nullopt;
  return closing(CloseCode::silent, "No hello within 5 seconds.");
}

}  // namespace fathom::ui
