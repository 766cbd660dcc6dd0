// Numbers are eight bytes, texts are their length and their bytes, lists their count and items.
#include "sandbox/linux/plan.h"

#include <cstring>

namespace fathom::sandbox {
namespace {

// One more with every change of the layout: agent and helper may come from different builds.
constexpr std::int64_t kVersion = 2;

// Both ends run the same list of fields, so they cannot disagree about the order.
template <typename Wire, typename AnyPlan>
void each_field(Wire& wire, AnyPlan& plan) {
  wire.texts(plan.argv);
  wire.texts(plan.environment);
  wire.text(plan.directory);
  wire.text(plan.workspace);
  wire.text(plan.home);
  wire.texts(plan.read_roots);
  wire.texts(plan.write_roots);
  wire.texts(plan.toolchains);
  wire.texts(plan.masked);
  wire.guards(plan.guards);
  wire.text(plan.git_settings);
  wire.number(plan.limits.memory_bytes);
  wire.number(plan.limits.processes);
  wire.number(plan.limits.file_bytes);
  wire.number(plan.limits.disk_bytes);
  wire.number(plan.limits.output_bytes);
  wire.number(plan.limits.open_files);
  wire.number(plan.limits.seconds);
  wire.number(plan.writable);
  wire.number(plan.merge_streams);
}

class Writer {
 public:
  template <typename Number>
  void number(Number value) {
    std::int64_t bits = 0;
    if constexpr (std::is_same_v<Number, double>) {
      std::memcpy(&bits, &value, sizeof bits);
    } else {
      bits = static_cast<std::int64_t>(value);
    }
    bytes_.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  void text(const std::string& value) {
    number(value.size());
    bytes_ += value;
  }
  void texts(const std::vector<std::string>& values) {
    number(values.size());
    for (const std::string& value : values) text(value);
  }
  void guards(const std::vector<Guard>& values) {
    number(values.size());
    for (const Guard& guard : values) {
      text(guard.root);
      text(guard.path);
      number(guard.read_only);
      number(guard.socket);
    }
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename Number>
  void number(Number& value) {
    std::int64_t bits = 0;
    if (rest_.size() < sizeof bits) {
      whole_ = false;
      return;
    }
    std::memcpy(&bits, rest_.data(), sizeof bits);
    rest_.remove_prefix(sizeof bits);
    if constexpr (std::is_same_v<Number, double>) {
      std::memcpy(&value, &bits, sizeof bits);
    } else {
      value = static_cast<Number>(bits);
    }
  }
  void text(std::string& value) {
    std::size_t size = 0;
    number(size);
    whole_ = whole_ && size <= rest_.size();
    if (!whole_) return;
    value = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }
  void texts(std::vector<std::string>& values) {
    std::size_t count = 0;
    number(count);
    for (; whole_ && count > 0; --count) text(values.emplace_back());
  }
  void guards(std::vector<Guard>& values) {
    std::size_t count = 0;
    number(count);
    for (; whole_ && count > 0; --count) {
      Guard& guard = values.emplace_back();
      text(guard.root);
      text(guard.path);
      number(guard.read_only);
      number(guard.socket);
    }
  }
  bool done() const { return whole_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool whole_ = true;
};

}  // namespace

std::string encode(const Plan& plan) {
  Writer writer;
  writer.number(kVersion);
  each_field(writer, plan);
  return writer.take();
}

std::optional<Plan> decode(std::string_view bytes) {
  Reader reader(bytes);
  std::int64_t version = 0;
  reader.number(version);
  if (version != kVersion) return std::nullopt;
  Plan plan;
  each_field(reader, plan);
  if (!reader.done() || plan.argv.empty()) return std::nullopt;
  return plan;
}

}  // namespace fathom::sandbox
