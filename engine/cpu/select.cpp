// Chooses the kernels this machine runs.
#include <algorithm>
#include <array>
#include <thread>

#include <cpuid.h>

#include <fmt/format.h>

#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/kernel_trial.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/products.h"
#include "engine/error.h"
#include "engine/kernel_sets.h"

namespace fathom::engine {
namespace cpu {
namespace {

// Best first.
constexpr auto kNames = std::to_array<std::string_view>(
    {"amx", "avx512-bf16", "avx512-vnni", "avx512", "avx-vnni", "avx2", "reference"});

struct Set {
  const Kernels& native;
  const Kernels& precise;  // shared by the sets of one vector width: they round nothing
  int revision;
};

// In the order of kNames.
const std::array<Set, kNames.size()> kSets = {{{kAmx, kAvx512Precise, 2},
                                               {kAvx512Bf16, kAvx512Precise, 2},
                                               {kAvx512Vnni, kAvx512Precise, 1},
                                               {kAvx512, kAvx512Precise, 1},
                                               {kAvxVnni, kAvx2Precise, 1},
                                               {kAvx2, kAvx2Precise, 1},
                                               {kReference, kReference, 1}}};

// Another set must be this much faster than a better one by name: a choice that the machine's mood
// decides would change bits, and with them what is kept of computed tokens.
constexpr double kClearlyFaster = 1.3;

struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// A bit of what the processor says of itself, for features that not every compiler has a name for.
// The system's part, saving the registers, is asked for with the set that this one builds on.
bool has_bit(unsigned leaf, unsigned subleaf, unsigned Cpuid::*word, int bit) noexcept {
  Cpuid found;
  return __get_cpuid_count(leaf, subleaf, &found.eax, &found.ebx, &found.ecx, &found.edx) != 0 &&
         (found.*word >> bit & 1U) != 0;
}
bool has_f16c() noexcept {
  return has_bit(1, 0, &Cpuid::ecx, 29);
}

// AMX is taken by itself only where it computes what the plain twin does.
const Set* first_trusted() {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (!machine_has(kNames[i])) continue;
    if (&kSets[i].native == &kAmx && !trial_agrees(kAmx)) continue;
    return &kSets[i];
  }
  return &kSets.back();
}

// Wide vectors lower the clock of some processors, and tiles may be slow where they are emulated:
// the best set by name competes with the best one of narrower registers.
const Kernels& best_native() {
  const Set* best = first_trusted();
  const auto competes = [](const Kernels& set) {
    return &set == &kAvx512Bf16 || &set == &kAvxVnni || &set == &kAvx2;
  };
  double least = trial_seconds(best->native) / kClearlyFaster;
  const Kernels* found = &best->native;
  for (std::size_t i = 0; i < kSets.size(); ++i) {
    const Kernels& other = kSets[i].native;
    if (&kSets[i] <= best || !competes(other) || !machine_has(kNames[i])) continue;
    const double seconds = trial_seconds(other);
    if (seconds < least) {
      least = seconds;
      found = &other;
    }
  }
  return *found;
}

}  // namespace

std::span<const std::string_view> kernel_names() noexcept {
  return kNames;
}

int revision_of(std::string_view name) noexcept {
  return kSets[static_cast<std::size_t>(std::ranges::find(kNames, name) - kNames.begin())].revision;
}

bool machine_has(std::string_view name) noexcept {
  if (name == "amx") {
    const auto has = [](int bit) { return has_bit(7, 0, &Cpuid::edx, bit); };
    return machine_has("avx512-bf16") && has(24) && has(25) && has(22) &&  // tiles, int8, bf16
           amx_granted();
  }
  if (name == "avx512-bf16") {
    return machine_has("avx512-vnni") && __builtin_cpu_supports("avx512bf16");
  }
  if (name == "avx-vnni") return machine_has("avx2") && has_bit(7, 1, &Cpuid::eax, 4);
  if (name == "avx512-vnni") return machine_has("avx512") && __builtin_cpu_supports("avx512vnni");
  if (name == "avx512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma") && has_f16c();
  }
  if (name == "avx2") {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  }
  return name == "reference";
}

const Kernels& select_kernels(std::string_view name, Activations activations) {
  if (name == "auto") {
    if (activations == Activations::f32) return first_trusted()->precise;
    static const Kernels& best = best_native();
    return best;
  }
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name != kNames[i]) continue;
    const Set& set = kSets[i];
    if (machine_has(kNames[i])) return activations == Activations::f32 ? set.precise : set.native;
    throw Error(
        fmt::format("this machine lacks the instructions of the kernels '{}'; use 'auto'", name));
  }
  throw Error(
      fmt::format("there are no kernels '{}'; use {} or auto", name, fmt::join(kNames, ", ")));
}

}  // namespace cpu

std::vector<std::string> kernel_sets() {
  return {cpu::kNames.begin(), cpu::kNames.end()};
}

std::unique_ptr<Backend> make_backend(const ModelConfig& config, std::string_view kernels,
                                      Activations activations, int threads) {
  if (threads < 0) throw Error(fmt::format("threads must not be negative, found {}", threads));
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::make_unique<cpu::CpuBackend>(config, cpu::select_kernels(kernels, activations),
                                           threads == 0 ? cores : threads);
}

}  // namespace fathom::engine
