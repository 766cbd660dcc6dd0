// One turn: from a message to its result.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/agent.h"
#include "agent/deadline.h"
#include "agent/generator.h"
#include "agent/journal.h"
#include "agent/past_calls.h"
#include "agent/prompt/reply_parser.h"
#include "agent/vocabulary.h"
#include "tools/snapshot.h"
#include "tools/toolbox.h"

namespace fathom::agent {

// What the turns of one conversation share.
struct Bench {
  std::unique_ptr<Model> model;
  std::shared_ptr<void> borrowed;
  std::unique_ptr<tools::Toolbox> toolbox;
  Profile profile;
  AgentOptions options;
  Conversation conversation;
  Journal journal;
  engine::Sampler sampler;
  std::vector<prompt::DeclaredTool> declared;
  std::optional<Vocabulary> vocabulary = {};  // known once the model has given logits
  bool started = false;                       // the start event is written
};

// How many outcomes a reply needs: one for each call, and one more that tells the model so if a
// call was lost because it was cut off.
int calls_of(const prompt::Reply& reply);
tools::Outcome cut_off();

// The outcome of a call that did not run.
tools::Outcome refused(tools::Status status, std::string text);

class Turn {
 public:
  // `bench` outlives it.
  Turn(Bench& bench, Mode mode, std::stop_token stop);

  TurnResult run(const Request& request);

 private:
  using Json = nlohmann::ordered_json;

  // What a turn has used so far.
  struct Tally {
    int steps = 0;
    int prefilled = 0;
    int reused = 0;
    int reused_disk = 0;
    int sampled = 0;
    int thinking = 0;
    engine::DraftCounts drafts;
  };

  // What one step used, for its event.
  struct Step {
    engine::Prefill prefill;
    Generated generated;
    engine::DraftCounts drafts;
    double tools_seconds = 0;
    bool thought = false;
    std::optional<engine::ExpertReads> reads_before = {};  // Model::expert_reads as it began
  };

  // Of one step: calls that have ended while it is not known yet how much of them may stay.
  struct HeldOutcomes {
    std::vector<int> sizes;               // in tokens, of every call that has ended
    std::deque<tools::Outcome> outcomes;  // of the last of them
  };

  void begin(const Request& request);
  Opening wanted_opening() const;
  prompt::Effort effort() const;  // of the conversation's opening
  bool asks_for_opening() const;
  void write_start(const Opening& wanted);
  void write_lowered(const ModelCard& card);
  void announce_costs(std::span<const engine::Token> prompt);
  TurnEnd loop();
  TurnEnd failure(std::string code, std::string message, TurnEnd end) noexcept;
  TurnResult finish() noexcept;

  std::optional<TurnEnd> end_before_step();
  std::optional<TurnEnd> end_after_step(const Generated& generated);
  TurnEnd stopped();
  TurnEnd over_budget(std::string_view which, std::string message);
  TurnEnd verified();

  bool prefill(Step& step);
  void generate(Step& step);
  void write_prefill(const Step& step, std::span<const engine::Token> prompt,
                     std::optional<memory::TokensRecord> piece);
  void write_trouble();
  void write_cache(std::string_view kind, std::string text, Json more = Json::object());
  void write_reply(const Step& step);
  void act(Step& step);
  tools::Outcome perform(const prompt::ReplyCall& call, int number, bool may_run);
  void write_outcomes(HeldOutcomes& held, int to_come);
  void write_outcome(tools::Outcome outcome, int number, int tokens, int tokens_max);
  void write_denied(const tools::Denial& denial, int number);
  void write_step(const Step& step);

  bool thinks_next() const;
  std::string_view mode_used(const Step& step) const;
  bool goes_in_circles();
  Live live(std::string phase) const;
  Json at_step() const;
  Json usage() const;
  Json result_fields(TurnEnd end, int exit) const;
  void add_patch(Json& fields) const noexcept;
  std::vector<engine::Token> user_turn(std::string_view text) const;
  const engine::Tokenizer& tokenizer() const { return bench_.model->tokenizer(); }

  Bench& bench_;
  const Mode mode_;
  Deadline deadline_;
  const int number_;
  const std::int64_t began_ms_;
  int step_ = 0;
  int call_ = 0;            // of the step
  int stored_tokens_ = 0;   // that were there when the turn began, with the opening as it is now
  bool opens_run_ = false;  // nothing was prefilled by this agent before
  std::string changes_;     // what this turn changes of the opening, in words
  Tally tally_;
  std::unique_ptr<tools::Snapshot> before_;
  std::string answer_;
  Json error_;
  Json verdict_;
  TurnEnd end_ = TurnEnd::failure;
  bool used_tokens_up_ = false;
  bool last_outcomes_ok_ = true;
  std::string last_calls_;  // of the step before: names, arguments, how they ended
  std::string calls_;
  PastCalls past_calls_;
  int repetitions_ = 0;
};

}  // namespace fathom::agent
