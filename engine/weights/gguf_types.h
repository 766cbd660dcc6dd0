// The numbers that GGUF gives to types of metadata, and other constants of the format.
#pragma once

#include <cstdint>

namespace fathom::engine {

enum GgufType : std::uint32_t {
  kGgufUint8,
  kGgufInt8,
  kGgufUint16,
  kGgufInt16,
  kGgufUint32,
  kGgufInt32,
  kGgufFloat32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufUint64,
  kGgufInt64,
  kGgufFloat64,
};

inline constexpr std::uint32_t kGgufVersion = 3;
inline constexpr std::int64_t kGgufAlignment = 32;  // of tensors, where the file names no other

}  // namespace fathom::engine
