// What this machine can do at best: the ceilings that measured speeds are compared with.
#pragma once

#include <string_view>

namespace fathom::engine {

// Of all `threads` together, each number the best of several short rounds.
struct Peaks {
  int threads = 0;
  double read_gb_s = 0;           // 10⁹ bytes a second from memory, every byte read once
  double f32_gflop_s = 0;         // 10⁹ multiplications and additions, f32
  double int8_gop_s = 0;          // the same, 8-bit factors summed in 32 bits
  double bf16_gflop_s = 0;        // the same, bf16 factors summed in f32; 0: no instruction for it
  std::string_view instructions;  // what f32 and 8-bit were measured with
};

// Takes about two seconds and 512 MiB. `threads` 0: one per core. May throw std::bad_alloc.
Peaks measure_peaks(int threads);

}  // namespace fathom::engine
