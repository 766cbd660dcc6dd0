// What outlives a conversation: its events, its tokens and the outcomes of its calls, in SQLite.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::memory {

struct NewConversation {
  std::string workspace;    // absolute path
  std::string model;        // the name shown to people
  std::string fingerprint;  // weights, rounding and kernels that computed it
  std::string vocabulary;   // which meaning the token ids have; resuming needs an equal one
  std::string cause = {};   // the id of the command that makes it, which makes no other; or empty
};

struct ConversationRecord {
  std::string id;     // ULID: 26 characters, later ones sort later
  std::string title;  // first line of the first message; empty before it
  std::string workspace;
  std::string model;
  std::string fingerprint;
  std::string vocabulary;
  std::string status;  // of the last turn that ended (answered, budget, …); empty: none has
  std::int64_t created_ms = 0;  // Unix time
  std::int64_t updated_ms = 0;
  std::int64_t events = 0;  // stored; the next one has this n
  int turns = 0;
  int steps = 0;
};

// One stored event: the whole line, as every stream shows it.
struct EventRecord {
  std::int64_t n = 0;  // contiguous from 0
  std::int64_t t = 0;  // milliseconds since the start of the run that wrote it
  std::string type;
  std::string json;  // {"v":1,"n":…,…}
};

// A piece of the timeline of tokens. All pieces of a conversation in order are its prompt; a later
// piece of step 0.0 replaces the first one, for all that follows it.
struct TokensRecord {
  enum class Source { rendered, sampled };
  int turn = 0;
  int step = 0;  // 0: the system text
  Source source = Source::rendered;
  std::vector<std::int32_t> tokens;
  int calls = 0;  // that a sampled piece makes: as many outcomes must follow
};

struct OutcomeRecord {
  int turn = 0;
  int step = 0;
  int call = 0;
  std::string text;  // as the model sees it
  std::string full;  // everything, where `text` leaves something out; else empty
};

// One reply of the model, by its turn and its step inside it; {0, 0} is what lies before the first
// message.
struct StepId {
  int turn = 0;
  int step = 0;
};

// What becomes durable together: an event and what it tells of.
struct Entry {
  EventRecord event;
  std::optional<TokensRecord> tokens;
  std::optional<OutcomeRecord> outcome;
  std::string title;   // when not empty: the conversation's new title
  std::string status;  // when not empty: the turn ended so
};

// One database. Any number of processes may use the same file; one Store is safe to use from
// several threads. Every function throws Error if SQLite fails.
class Store {
 public:
  // $XDG_DATA_HOME/fathom/memory.sqlite, else ~/.local/share/fathom/memory.sqlite.
  static std::filesystem::path default_path();

  // Opens or creates `file` (0600, its folder 0700). Throws Error that names it if it is damaged,
  // is not a database of ours, or was written by a newer version; such a file is left as it is.
  explicit Store(const std::filesystem::path& file);
  static Store in_memory();  // gone with the object

  // Opens an existing file for the const functions, also on a disk or in a folder where nothing can
  // be written; the others may throw Error. Throws Error as above, and if the file is missing.
  static Store reader(const std::filesystem::path& file);

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  std::string create(const NewConversation& conversation);  // returns its id

  // Makes the entry durable: when this returns, kill -9 cannot undo it. Throws Error, and changes
  // nothing, unless entry.event.n is the number of events stored so far (another process may have
  // continued the conversation).
  void append(std::string_view id, const Entry& entry);

  void rename(std::string_view id, std::string_view title);

  // A new conversation that begins with this one, all of it or up to a step and its outcomes.
  // Returns its id. Throws Error if there is no such conversation or step.
  std::string fork(std::string_view id, std::optional<StepId> at = std::nullopt);

  // Goes back to what was after a step and its outcomes: only that is resumed. Events stay; all
  // that was there is kept as a conversation of its own, whose id is returned.
  std::string rewind(std::string_view id, StepId at);

  // Latest first; at most `limit`. `workspace`: only those of that folder, empty: all.
  std::vector<ConversationRecord> list(int limit, std::string_view workspace = {}) const;
  std::optional<ConversationRecord> conversation(std::string_view id) const;

  // The id of the conversation that a command made, if it made one.
  std::optional<std::string> made_by(std::string_view cause) const;

  // The id that begins with `beginning` (case does not count). Throws Error if none or several do.
  std::string find(std::string_view beginning) const;

  // As find(), or the conversation of `workspace` that last had a message with these words in it
  // (case of ASCII letters does not count). Throws Error if there is none either.
  std::string find_or_search(std::string_view words, std::string_view workspace) const;

  std::vector<EventRecord> events(std::string_view id, std::int64_t from_n = 0,
                                  int limit = -1) const;
  std::vector<TokensRecord> tokens(std::string_view id) const;
  std::vector<OutcomeRecord> outcomes(std::string_view id) const;

 private:
  struct Parts;
  explicit Store(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace fathom::memory
