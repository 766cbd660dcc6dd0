// Chooses the kernels this machine runs.
#include <algorithm>
#include <array>
#include <thread>

#include <fmt/format.h>

#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/kernels.h"
#include "engine/error.h"

namespace fathom::engine {
namespace cpu {
namespace {

struct Set {
  const Kernels& native;
  const Kernels& precise;
};

// Best first.
const std::array<Set, 3> kSets = {
    {{kAvx512, kAvx512Precise}, {kAvx2, kAvx2Precise}, {kReference, kReference}}};

}  // namespace

bool machine_has(std::string_view name) noexcept {
  if (name == "avx512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("f16c") && __builtin_cpu_supports("fma");
  }
  if (name == "avx2") {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
  }
  return name == "reference";
}

const Kernels& select_kernels(std::string_view name, Activations activations) {
  for (const Set& set : kSets) {
    if (name != "auto" && name != set.native.name) continue;
    if (machine_has(set.native.name)) {
      return activations == Activations::f32 ? set.precise : set.native;
    }
    if (name != "auto") {
      throw Error(
          fmt::format("this machine lacks the instructions of the kernels '{}'; use 'auto'", name));
    }
  }
  throw Error(fmt::format("there are no kernels '{}'; use reference, avx2, avx512 or auto", name));
}

}  // namespace cpu

std::unique_ptr<Backend> make_backend(const ModelConfig& config, std::string_view kernels,
                                      Activations activations, int threads) {
  if (threads < 0) throw Error(fmt::format("threads must not be negative, found {}", threads));
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::make_unique<cpu::CpuBackend>(config, cpu::select_kernels(kernels, activations),
                                           threads == 0 ? cores : threads);
}

}  // namespace fathom::engine
