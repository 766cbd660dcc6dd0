// Products of weights with rounded activations, per instruction set: what the tables of kernels.h
// take `multiply`, `form` and `round` from.
#pragma once

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// A table whose products round their activations.
constexpr Kernels with_products(Kernels kernels, std::string_view name,
                                decltype(Kernels::form) form, decltype(Kernels::multiply) multiply,
                                decltype(Kernels::round) round) noexcept {
  kernels.name = name;
  kernels.form = form;
  kernels.multiply = multiply;
  kernels.round = round;
  return kernels;
}

// int8 for FP4 and all quantised formats; with bf16 also that for BF16 and FP8; else f32.
ActivationForm integer_form(Format weights) noexcept;
ActivationForm integer_or_bf16_form(Format weights) noexcept;

void round_avx2(ActivationForm form, const float* x, std::int64_t columns,
                std::byte* rounded) noexcept;
void round_avx512(ActivationForm form, const float* x, std::int64_t columns,
                  std::byte* rounded) noexcept;

// Weights of form int8. Within a set a token's bits depend on neither the rows nor the tokens
// beside it.
void multiply_int8_avx2(const MultiplyTask& task) noexcept;
void multiply_int8_avx_vnni(const MultiplyTask& task) noexcept;
void multiply_int8_avx512(const MultiplyTask& task) noexcept;  // without VNNI
void multiply_int8_avx512_vnni(const MultiplyTask& task) noexcept;

// Weights of form bf16; needs AVX-512 BF16.
void multiply_bf16_avx512(const MultiplyTask& task) noexcept;

// In AMX tiles; only where amx_granted(). int8 has the bits of AVX-512 VNNI.
void multiply_int8_amx(const MultiplyTask& task) noexcept;
void multiply_bf16_amx(const MultiplyTask& task) noexcept;

// Whether the operating system lets this process use AMX; asks for it the first time. The processor
// must have AMX.
bool amx_granted() noexcept;

}  // namespace fathom::engine::cpu
