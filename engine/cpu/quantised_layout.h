// Takes the blocks of every quantised format but Q8_0 and MXFP4 out of kLanes rows at a time: as
// unpack_block() in quantised_block.cpp does for one, over the operations that an instruction set's
// file defines before it includes this one, and the tiles of integer_layout.h.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

// Scales of a block of 32 columns, and whether each has a minimum beside it.
constexpr int scales_of(Format format) noexcept {
  const bool two = format == Format::q2_k || format == Format::q3_k || format == Format::q6_k ||
                   format == Format::iq2_xs;
  return two ? 2 : 1;
}
constexpr bool has_minima(Format format) noexcept {
  return format == Format::q4_1 || format == Format::q5_1 || format == Format::q2_k ||
         format == Format::q4_k || format == Format::q5_k;
}

// kLanes rows of a block: weights[g] holds columns 4g to 4g + 3 of each, encoded.
template <int scales, bool minima>
struct QuantisedRows {
  Bytes weights[kGroups];
  Floats scale[scales];
  Floats minimum[minima ? scales : 1];
};

// ------------------------------------------------------------------------------------- the pieces
VECTOR_FUNCTION Bytes masked(Bytes x, int byte) noexcept {
  return and_bytes(x, every_byte(byte));
}
VECTOR_FUNCTION Bytes masked_lanes(Bytes x, int lane) noexcept {
  return and_bytes(x, every_lane(lane));
}

// Lanes' low and high halves as floats.
VECTOR_FUNCTION Floats low_halves(Bytes lanes) noexcept {
  return halves_to_floats(lanes);
}
VECTOR_FUNCTION Floats high_halves(Bytes lanes) noexcept {
  return halves_to_floats(shift_right(lanes, 16));
}

// `bits` bits of every lane from bit `from` on, as a number.
VECTOR_FUNCTION Bytes field(Bytes lanes, int from, int bits) noexcept {
  return and_bytes(shift_right(lanes, from), every_lane((1 << bits) - 1));
}

// Byte `index` of 16 bytes that transpose() has spread over four registers.
VECTOR_FUNCTION Bytes byte_of(const Bytes* bytes16, int index) noexcept {
  return field(bytes16[index / 4], index % 4 * 8, 8);
}

// The lowest four bits of every lane, one in each byte.
VECTOR_FUNCTION Bytes spread(Bytes lanes) noexcept {
  return masked(multiply_lanes(masked_lanes(lanes, 15), every_lane(0x00204081)), 1);
}

// 32 bytes of every row.
VECTOR_FUNCTION void transpose32(const std::byte* const* rows, std::int64_t at,
                                 Bytes* out) noexcept {
  transpose(rows, at, out);
  transpose(rows, at + 16, out + 4);
}

// Codes of 16 bytes: low nibbles are the first 16 columns, high nibbles the others.
VECTOR_FUNCTION void nibble_halves(const std::byte* const* rows, std::int64_t at,
                                   Bytes* codes) noexcept {
  transpose(rows, at, codes);
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    codes[g + 4] = masked(high_nibbles(codes[g]), 15);
    codes[g] = masked(codes[g], 15);
  }
}

// A fifth bit for each code: bit c of a row's lane belongs to column c.
VECTOR_FUNCTION void add_fifth_bits(Bytes lanes, Bytes* codes) noexcept {
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    codes[g] = or_bytes(codes[g], shift_left(spread(shift_right(lanes, 4 * g)), 4));
  }
}

// Takes `offset` off every code.
VECTOR_FUNCTION void centre(int offset, Bytes* codes) noexcept {
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) codes[g] = subtract_bytes(codes[g], every_byte(offset));
}

VECTOR_FUNCTION void look_up_iq4(Bytes* codes) noexcept {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values.data()));
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) codes[g] = look_up(codes[g], values);
}

// Bytes of `magnitudes` whose bit among the lowest four of `signs` is set become negative.
VECTOR_FUNCTION Bytes with_signs(Bytes magnitudes, Bytes signs) noexcept {
  const Bytes negative = subtract_bytes(every_byte(0), spread(signs));
  return subtract_bytes(xor_bytes(magnitudes, negative), negative);
}

// Seven bits of signs and an eighth that makes their number even.
VECTOR_FUNCTION Bytes eight_signs(Bytes seven) noexcept {
  Bytes parity = xor_bytes(seven, shift_right(seven, 4));
  parity = xor_bytes(parity, shift_right(parity, 2));
  parity = masked_lanes(xor_bytes(parity, shift_right(parity, 1)), 1);
  return or_bytes(seven, shift_left(parity, 7));
}

// Points of eight columns: codes[0] and codes[1].
VECTOR_FUNCTION void look_up_point(const std::uint64_t* points, Bytes index, Bytes seven_signs,
                                   Bytes* codes) noexcept {
  const auto* halves = reinterpret_cast<const std::int32_t*>(points);
  const Bytes first = shift_left(index, 1), signs = eight_signs(seven_signs);
  codes[0] = with_signs(gather(halves, first), signs);
  codes[1] = with_signs(gather(halves + 1, first), shift_right(signs, 4));
}

// d · (2 · s + 1) · step
VECTOR_FUNCTION Floats odd_scale(Floats d, Bytes s, float step) noexcept {
  const Bytes odd = or_bytes(shift_left(s, 1), every_lane(1));
  return multiply(multiply(d, to_floats(odd)), broadcast(step));
}

// --------------------------------------------------------------------- what a super-block shares
// Registers that eight blocks use: halves and packed scales, as they lie in the rows.
struct Head {
  Bytes bytes[4]{};
  Floats d{};
  Floats dmin{};
};

template <Format format>
VECTOR_FUNCTION void load_head(const std::byte* const* rows, std::int64_t at, Head& head) noexcept {
  if constexpr (format == Format::q4_k || format == Format::q5_k) {
    transpose(rows, at, head.bytes);  // d, dmin | scales [12]
    head.d = low_halves(head.bytes[0]);
    head.dmin = high_halves(head.bytes[0]);
  } else if constexpr (format == Format::q2_k) {
    const Bytes both = dwords(rows, at + 80);
    head.d = low_halves(both);
    head.dmin = high_halves(both);
  } else if constexpr (format == Format::q3_k) {
    transpose(rows, at + 94, head.bytes);  // two bytes of codes | scales [12] | d
    head.d = high_halves(head.bytes[3]);
  } else if constexpr (format == Format::q6_k) {
    transpose(rows, at + 192, head.bytes);  // scales [16]
    head.d = half_scales(rows, at + 208);
  } else if constexpr (format == Format::iq4_xs) {
    head.bytes[0] = dwords(rows, at);  // d | upper bits of the scales
    head.bytes[1] = dwords(rows, at + 4);
    head.d = low_halves(head.bytes[0]);
  } else if constexpr (format == Format::iq2_xxs || format == Format::iq2_xs ||
                       format == Format::iq3_xxs) {
    head.d = half_scales(rows, at);
  }
}

// The numbers of scale and minimum of block b, six bits each: see set_scales_k().
VECTOR_FUNCTION void scales_k(const Head& head, int b, Bytes& scale, Bytes& minimum) noexcept {
  if (b < 4) {
    scale = field(head.bytes[1], 8 * b, 6);
    minimum = field(head.bytes[2], 8 * b, 6);
    return;
  }
  const int shift = 8 * (b - 4);
  scale =
      or_bytes(field(head.bytes[3], shift, 4), shift_left(field(head.bytes[1], shift + 6, 2), 4));
  minimum = or_bytes(field(head.bytes[3], shift + 4, 4),
                     shift_left(field(head.bytes[2], shift + 6, 2), 4));
}

// The number of one of sixteen scales: see scale_of_q3_k().
VECTOR_FUNCTION Bytes scale_q3_k(const Head& head, int index) noexcept {
  const Bytes low = field(byte_of(head.bytes, 2 + index % 8), index / 8 * 4, 4);
  const Bytes high = field(byte_of(head.bytes, 10 + index % 4), index / 4 * 2, 2);
  return subtract_lanes(or_bytes(low, shift_left(high, 4)), every_lane(32));
}

// A scale that is a byte with a sign.
VECTOR_FUNCTION Bytes scale_q6_k(const Head& head, int index) noexcept {
  return shift_right_signed(shift_left(head.bytes[index / 4], 24 - index % 4 * 8), 24);
}

// ------------------------------------------------------------------------------ blocks of 32
// As unpack_block() in quantised_block.cpp, format by format; codes are not encoded yet.
template <Format format, class Rows>
VECTOR_FUNCTION void unpack_small(const std::byte* const* rows, std::int64_t at,
                                  Rows& out) noexcept {
  if constexpr (format == Format::q4_0 || format == Format::iq4_nl) {
    nibble_halves(rows, at + 2, out.weights);
    out.scale[0] = half_scales(rows, at);
    if constexpr (format == Format::q4_0) {
      centre(8, out.weights);
    } else {
      look_up_iq4(out.weights);
    }
  } else if constexpr (format == Format::q5_0) {
    nibble_halves(rows, at + 6, out.weights);
    add_fifth_bits(dwords(rows, at + 2), out.weights);
    centre(16, out.weights);
    out.scale[0] = half_scales(rows, at);
  } else {
    static_assert(format == Format::q4_1 || format == Format::q5_1);
    const bool fifth = format == Format::q5_1;
    nibble_halves(rows, at + (fifth ? 8 : 4), out.weights);
    if (fifth) add_fifth_bits(dwords(rows, at + 4), out.weights);
    const Bytes both = dwords(rows, at);
    out.scale[0] = low_halves(both);
    out.minimum[0] = multiply(high_halves(both), broadcast(-1));
  }
}

// ----------------------------------------------------------------------- block b of a super-block
// `bits` bits of every byte from bit `from` on.
VECTOR_FUNCTION void take_bits(Bytes* codes, int from, int bits) noexcept {
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    codes[g] = masked(shift_right(codes[g], from), (1 << bits) - 1);
  }
}

// The same bits of bytes elsewhere, put above those that codes have.
VECTOR_FUNCTION void add_bits(const std::byte* const* rows, std::int64_t at, int from, int bits,
                              int above, Bytes* codes) noexcept {
  Bytes more[kGroups];
  transpose32(rows, at, more);
  take_bits(more, from, bits);
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) codes[g] = or_bytes(codes[g], shift_left(more[g], above));
}

template <Format format, class Rows>
VECTOR_FUNCTION void unpack_k(const std::byte* const* rows, std::int64_t at, int b,
                              const Head& head, Rows& out) noexcept {
  if constexpr (format == Format::q4_k || format == Format::q5_k) {
    transpose32(rows, at + (format == Format::q4_k ? 16 : 48) + b / 2 * kBlock, out.weights);
    take_bits(out.weights, b % 2 * 4, 4);
    if (format == Format::q5_k) add_bits(rows, at + 16, b, 1, 4, out.weights);
    Bytes scale, minimum;
    scales_k(head, b, scale, minimum);
    out.scale[0] = multiply(head.d, to_floats(scale));
    out.minimum[0] = multiply(head.dmin, to_floats(minimum));
  } else if constexpr (format == Format::q2_k) {
    transpose32(rows, at + 16 + b / 4 * kBlock, out.weights);
    take_bits(out.weights, b % 4 * 2, 2);
    const Bytes packed = words(rows, at + 2 * b);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      out.scale[h] = multiply(head.d, to_floats(field(packed, 8 * h, 4)));
      out.minimum[h] = multiply(head.dmin, to_floats(field(packed, 8 * h + 4, 4)));
    }
  } else if constexpr (format == Format::q3_k) {
    transpose32(rows, at + 32 + b / 4 * kBlock, out.weights);
    take_bits(out.weights, b % 4 * 2, 2);
    add_bits(rows, at, b, 1, 2, out.weights);
    centre(4, out.weights);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      out.scale[h] = multiply(head.d, to_floats(scale_q3_k(head, 2 * b + h)));
    }
  } else {
    static_assert(format == Format::q6_k);
    transpose32(rows, at + b / 4 * 64 + b % 2 * kBlock, out.weights);
    take_bits(out.weights, b % 4 / 2 * 4, 4);
    add_bits(rows, at + 128 + b / 4 * kBlock, b % 4 * 2, 2, 4, out.weights);
    centre(32, out.weights);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      out.scale[h] = multiply(head.d, to_floats(scale_q6_k(head, 2 * b + h)));
    }
  }
}

template <Format format, class Rows>
VECTOR_FUNCTION void unpack_iq(const std::byte* const* rows, std::int64_t at, int b,
                               const Head& head, Rows& out) noexcept {
  if constexpr (format == Format::iq4_xs) {
    nibble_halves(rows, at + 8 + b * 16, out.weights);
    look_up_iq4(out.weights);
    const Bytes scale = or_bytes(field(head.bytes[1], 4 * b, 4),
                                 shift_left(field(head.bytes[0], 16 + 2 * b, 2), 4));
    out.scale[0] = multiply(head.d, to_floats(subtract_lanes(scale, every_lane(32))));
  } else if constexpr (format == Format::iq2_xxs) {
    const Bytes points = dwords(rows, at + 2 + 8 * b), packed = dwords(rows, at + 6 + 8 * b);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      look_up_point(kIq2XxsPoints.data(), field(points, 8 * k, 8), field(packed, 7 * k, 7),
                    out.weights + 2 * k);
    }
    out.scale[0] = odd_scale(head.d, field(packed, 28, 4), 0.125F);
  } else if constexpr (format == Format::iq2_xs) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Bytes packed = words(rows, at + 2 + 8 * b + 2 * k);
      look_up_point(kIq2XsPoints.data(), field(packed, 0, 9), field(packed, 9, 7),
                    out.weights + 2 * k);
    }
    // Two blocks' scales at once: a word from an odd byte might end after the row.
    const Bytes packed = shift_right(words(rows, at + 66 + b / 2 * 2), b % 2 * 8);
    out.scale[0] = odd_scale(head.d, field(packed, 0, 4), 0.125F);
    out.scale[1] = odd_scale(head.d, field(packed, 4, 4), 0.125F);
  } else {
    static_assert(format == Format::iq3_xxs);
    const auto* points = reinterpret_cast<const std::int32_t*>(kIq3XxsPoints.data());
    const Bytes packed = dwords(rows, at + 66 + 4 * b);
    const Bytes indices[2] = {dwords(rows, at + 2 + 8 * b), dwords(rows, at + 6 + 8 * b)};
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const Bytes signs = shift_right(eight_signs(field(packed, g / 2 * 7, 7)), g % 2 * 4);
      out.weights[g] = with_signs(gather(points, field(indices[g / 4], g % 4 * 8, 8)), signs);
    }
    out.scale[0] = odd_scale(head.d, field(packed, 28, 4), 0.25F);
  }
}

template <Format format>
constexpr bool is_k = format >= Format::q2_k&& format <= Format::q6_k;
template <Format format>
constexpr bool is_small =
    (format >= Format::q4_0 && format <= Format::q5_1) || format == Format::iq4_nl;

template <Format format>
using RowsOf = QuantisedRows<scales_of(format), has_minima(format)>;

// Block after block of kLanes rows.
template <Format format>
VECTOR_FUNCTION void unpack_next(const TileRows& rows, int block, Head& head,
                                 RowsOf<format>& out) noexcept {
  const int bytes = layout_of(format).bytes;
  if constexpr (is_small<format>) {
    unpack_small<format>(rows.data, std::int64_t{block} * bytes, out);
  } else {
    const int b = block % 8;
    const std::int64_t at = std::int64_t{block / 8} * bytes;
    if (b == 0) load_head<format>(rows.data, at, head);
    if constexpr (is_k<format>) {
      unpack_k<format>(rows.data, at, b, head, out);
    } else {
      unpack_iq<format>(rows.data, at, b, head, out);
    }
  }
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) out.weights[g] = encode(out.weights[g]);
}
