// Number formats of weights and caches: exact scalar conversions, and what a cache entry becomes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom::engine {

// Encoders round to nearest, ties to even. NaN stays NaN where the format has one.
float f16_to_f32(std::uint16_t half) noexcept;
std::uint16_t f32_to_f16(float value) noexcept;  // beyond 65504: infinity, as IEEE says
float bf16_to_f32(std::uint16_t bits) noexcept;
std::uint16_t f32_to_bf16(float value) noexcept;

// E4M3 without infinities: largest 448, 0x7F and 0xFF are NaN.
float e4m3_to_f32(std::uint8_t code) noexcept;
std::uint8_t f32_to_e4m3(float value) noexcept;  // saturates

// E2M1 in the low four bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
float e2m1_to_f32(std::uint8_t code) noexcept;
std::uint8_t f32_to_e2m1(float value) noexcept;  // saturates; NaN becomes 6

// 2^(code - 127); 255 is NaN.
float ue8m0_to_f32(std::uint8_t code) noexcept;

// What a session's rows become by Rounding (spec architecture 7.2; oracle quant.py). "Round" leaves
// f32 values that the stored form holds exactly; unpack(pack(x)) gives the same bits.

void round_f16(std::span<float> values) noexcept;

// Groups of a kv row that share an FP8 scale, and groups of an indexer key that share an FP4 scale.
inline constexpr int kKvGroup = 64;
inline constexpr int kKeyGroup = 32;

// A window or compressed row [head_dim]: its last `rope` entries as BF16, the others as FP8 in
// groups of 64. (head_dim - rope) must be a multiple of 64.
// Packed: FP8 codes | BF16 entries | one UE8M0 scale a group, padded to 8 bytes.
bool has_packed_row(int head_dim, int rope) noexcept;
std::int64_t packed_row_bytes(int head_dim, int rope) noexcept;  // 512, 64: 584
void round_row(std::span<float> row, int rope) noexcept;
void pack_row(std::span<const float> row, int rope, std::span<std::byte> packed) noexcept;
void unpack_row(std::span<const std::byte> packed, int rope, std::span<float> row) noexcept;

// An indexer key or query [index_head_dim, a multiple of 32]: FP4 in groups of 32.
// Packed: two codes a byte, even entry in the low nibble | one UE8M0 scale a group.
std::int64_t packed_key_bytes(int index_head_dim) noexcept;  // 128: 68
void round_key(std::span<float> key) noexcept;
// e of the scale 2^e of a group: `largest` is its largest magnitude after rounding to BF16.
int key_exponent(float largest) noexcept;
void pack_key(std::span<const float> key, std::span<std::byte> packed) noexcept;
void unpack_key(std::span<const std::byte> packed, std::span<float> key) noexcept;

}  // namespace fathom::engine
