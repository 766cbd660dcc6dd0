// Checks of the values that options are given.
#include "ui/commands/option_values.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <fcntl.h>

#include <fmt/format.h>

#include "ui/commands/branches.h"

namespace fathom::ui {
namespace {

constexpr std::int64_t kBytesMax = std::numeric_limits<std::int64_t>::max();

// The whole of `text` as one number.
template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

// The power of 1024 that "k", "MB" or "GiB" stands for; an empty text for none.
std::optional<int> power_of(std::string_view unit) {
  static constexpr std::string_view kUnits = "KMGTP";
  if (unit.empty() || unit == "B" || unit == "b") return 0;
  const auto letter = std::toupper(static_cast<unsigned char>(unit.front()));
  const std::size_t power = kUnits.find(static_cast<char>(letter));
  std::string rest(unit.substr(1));
  for (char& c : rest) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (power == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib")) {
    return std::nullopt;
  }
  return static_cast<int>(power) + 1;
}

std::optional<std::int64_t> bytes_of(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = number_of<std::int64_t>(text.substr(0, digits));
  const auto power = power_of(text.substr(digits));
  if (!number || !power || *number > (kBytesMax >> 10 * *power)) return std::nullopt;
  return *number << 10 * *power;
}

CLI::Validator finite(const char* expected, bool (*accepts)(double)) {
  return {[expected, accepts](std::string& text) {
            const auto number = number_of<double>(text);
            const bool taken = number && std::isfinite(*number) && accepts(*number);
            return taken ? std::string() : fmt::format("expected {}, found {}", expected, text);
          },
          ""};
}

}  // namespace

CLI::Validator count_from(int least) {
  return CLI::Range(least, std::numeric_limits<int>::max());
}

CLI::Validator seed() {
  return {[](std::string& text) {
            return number_of<std::uint64_t>(text)
                       ? std::string()
                       : fmt::format("expected a whole number from 0 to {}, found {}",
                                     std::numeric_limits<std::uint64_t>::max(), text);
          },
          ""};
}

CLI::Validator not_negative() {
  return finite("a number from 0 on", [](double number) { return number >= 0; });
}

CLI::Validator positive() {
  return finite("a number above 0", [](double number) { return number > 0; });
}

CLI::Validator bytes_from(std::int64_t least) {
  return {[least](std::string& text) {
            const auto bytes = bytes_of(text);
            if (!bytes || *bytes < least) {
              return fmt::format("expected bytes from {} on, such as 4096, 16M or 8G, found {}",
                                 least, text);
            }
            text = std::to_string(*bytes);
            return std::string();
          },
          "BYTES"};
}

CLI::Validator folder() {
  return {[](std::string& text) {
            std::error_code error;
            return std::filesystem::is_directory(text, error)
                       ? std::string()
                       : fmt::format("{} is not a folder", text);
          },
          "FOLDER"};
}

CLI::Validator gguf_name() {
  return {[](std::string& text) {
            return text.ends_with(".gguf")
                       ? std::string()
                       : fmt::format("expected a name that ends in .gguf, found {}", text);
          },
          ""};
}

CLI::Validator step() {
  return {[](std::string& text) {
            return names_step(text)
                       ? std::string()
                       : fmt::format(
                             "\"{}\" is no step: give its number in the conversation (7), "
                             "or TURN.STEP (2.3)",
                             text);
          },
          "STEP"};
}

CLI::Validator open_descriptor() {
  return {[](std::string& text) {
            const auto number = number_of<int>(text);
            return number && *number >= 0 && ::fcntl(*number, F_GETFD) >= 0
                       ? std::string()
                       : fmt::format("{} is no open descriptor", text);
          },
          ""};
}

}  // namespace fathom::ui
