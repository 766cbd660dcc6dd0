// The steps that turn a cloned child into the jailed command. All run between clone and exec: they
// neither allocate nor throw, and a step that fails ends the child, so that nothing runs half
// jailed.
#pragma once

#include "sandbox/linux/jail.h"

namespace fathom::sandbox {

// Tells the supervisor which layer could not be built, with errno, and ends.
[[noreturn]] void fail(const Jail& jail, const char* layer, const char* what) noexcept;

// namespaces.cpp: becomes the mapped ids, with nothing left of the outside ones.
void become_mapped(const Jail& jail) noexcept;
void name_host(const Jail& jail) noexcept;
void raise_loopback(const Jail& jail) noexcept;

// network.cpp: how often something in this network namespace found no way to another machine.
int count_unreachable() noexcept;

// mounts.cpp: replaces the root by a fresh one. `trees`: the passed binds, in their order.
void build_root(const Jail& jail, const int* trees, int count) noexcept;
void freeze_settings(const Jail& jail) noexcept;  // /proc/sys becomes read-only

// limits.cpp
void limit_namespaces(const Jail& jail) noexcept;
void limit_resources(const Jail& jail) noexcept;
void drop_capabilities(const Jail& jail) noexcept;

// landlock.cpp: returns the ABI in use, 0 if the kernel has none.
int restrict_files(const Jail& jail) noexcept;

// seccomp.cpp: system calls from here on only as the filter allows.
void restrict_system_calls(const Jail& jail) noexcept;

// watch.cpp: ends the call when it uses more than it may; called every kWatchPeriodMs.
constexpr int kWatchPeriodMs = 25;
void watch(const Jail& jail) noexcept;

// enter.cpp: the command's own process, up to exec. A failing exec is written to `report`.
[[noreturn]] void enter(const Jail& jail, int report) noexcept;

// init.cpp: process 1 of the call.
[[noreturn]] void run_init(Jail& jail) noexcept;

}  // namespace fathom::sandbox
