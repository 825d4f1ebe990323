// The door of an out-of-tree plug-in: a shared library that registers policies or backends.
//
// Life of a plug-in:
//   1. built against an installed tessera: tessera_add_policy and tessera_add_backend (find_package(tessera)) compile the
//      source that could also lie in policies/ or backends/, and generate its door
//   2. found through TESSERA_PLUGIN_PATH; a file that is new is first tried in a forked child (scheduler/plugins.h)
//   3. opened; what it was built with is compared with what this program was built with: another API version, compiler,
//      standard library or layout of the contracts is refused by name
//   4. registers its names, on the thread that loads it, before any other thread is started; stays loaded to the end
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <typeinfo>

#include "framework/registry.h"

// "g++ 12, libstdc++ 12, C++ ABI 1017": who may call whom. Layouts and name mangling follow from it.
#define TESSERA_TEXT_(x) #x
#define TESSERA_TEXT(x) TESSERA_TEXT_(x)
#if defined(__clang__)
#define TESSERA_COMPILER "clang " TESSERA_TEXT(__clang_major__)
#else
#define TESSERA_COMPILER "g++ " TESSERA_TEXT(__GNUC__)
#endif
#if defined(_LIBCPP_VERSION)
#define TESSERA_LIBRARY "libc++ " TESSERA_TEXT(_LIBCPP_VERSION)
#elif defined(_GLIBCXX_DEBUG)
#define TESSERA_LIBRARY "libstdc++ " TESSERA_TEXT(_GLIBCXX_RELEASE) " debug"
#elif _GLIBCXX_USE_CXX11_ABI
#define TESSERA_LIBRARY "libstdc++ " TESSERA_TEXT(_GLIBCXX_RELEASE)
#else
#define TESSERA_LIBRARY "libstdc++ " TESSERA_TEXT(_GLIBCXX_RELEASE) " with old strings"
#endif
#define TESSERA_TOOLCHAIN TESSERA_COMPILER ", " TESSERA_LIBRARY ", C++ ABI " TESSERA_TEXT(__GXX_ABI_VERSION)

namespace tessera {

inline constexpr uint64_t kPluginMagic = 0x6172657373657474;  // "ttessera" in a dump
// Raised when the meaning of a contract changes. Changed members and virtuals are seen by plugin_layout().
inline constexpr uint32_t kPluginApi = 1;

// What tessera_plugin() returns. `magic` and `api` stay where they are in every version.
struct PluginDoor {
  uint64_t magic;
  uint32_t api;
  const char* toolchain;  // TESSERA_TOOLCHAIN of the plug-in
  const char* version;    // of the tessera that it was built against, for messages
  uint64_t layout;        // plugin_layout() of the plug-in
  // Registers what the plug-in has. Must not throw.
  void (*add)(Registry<PolicyFactory>& policies, Registry<BackendFactory>& backends);
};
using PluginEntry = const PluginDoor* (*)();
inline constexpr const char* kPluginEntry = "tessera_plugin";

namespace plugin {

// All of this is static, not inline: each library must hash what *it* was compiled with, and the loader would bind an inline
// function of a plug-in to the program's.
static inline uint64_t mix(uint64_t hash, const void* bytes, size_t size) {  // FNV-1a
  for (size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3;
  return hash;
}

// A pointer to a member tells the member's type and where it lies: an offset, or a virtual's place in the table.
template <typename... Members>
static inline uint64_t mix_members(uint64_t hash, Members... members) {
  ((hash = mix(hash, typeid(Members).name(), std::strlen(typeid(Members).name())),
    hash = mix(hash, &members, sizeof members)),
   ...);
  return hash;
}

template <typename... Types>
static inline uint64_t mix_sizes(uint64_t hash) {
  for (const size_t n : {sizeof(Types)..., alignof(Types)...}) hash = mix(hash, &n, sizeof n);
  return hash;
}

static inline uint64_t mix_contracts(uint64_t h) {
  using B = Backend;
  using P = Policy;
  h = mix_members(h, &B::describe, &B::supports, &B::estimate, &B::allocate, &B::release, &B::submit, &B::wait, &B::transfer,
                  &B::cancel);
  h = mix_members(h, &P::name, &P::summary, &P::knobs, &P::preload, &P::decide, &P::replans, &P::on_event);
  h = mix_members(h, &PlanReplay::replay, &PlanReplay::replay_if, &CostOracle::estimate, &CostModel::estimate,
                  &PlanEditor::view, &PlanEditor::plan, &PlanEditor::graph, &PlanEditor::pending, &PlanEditor::running,
                  &PlanEditor::pace, &PlanEditor::forecast, &PlanEditor::revise);
  return mix_sizes<PlanningView, Infeasible, Decision, Event, ShardEdit, PendingLoad, RunningTask, Pace, Forecast,
                   KnobDescription, Knobs, Support, BackendOptions, Registry<PolicyFactory>, Registry<PolicyFactory>::Entry>(
      h);
}

static inline uint64_t mix_tasks(uint64_t h) {
  h = mix_members(h, &Task::id, &Task::kind, &Task::bits, &Task::space, &Task::payload, &Task::part, &Task::layer,
                  &Task::slice_set, &Task::cost, &Task::estimate, &Task::planned, &Task::reserve, &Task::release);
  h = mix_members(h, &CostKey::device, &CostKey::op, &CostKey::batch, &CostKey::tokens, &CostKey::slices, &CostKey::reads,
                  &CostKey::decoded, &CostKey::to_host, &CostKey::bits, &CostKey::bytes);
  h = mix_members(h, &Operands::shape, &Operands::reads, &Operands::moves, &Operands::batch, &Operands::input,
                  &Operands::output, &Operands::weights, &Operands::partials, &Operands::residents, &Operands::rows,
                  &Operands::exit, &Operands::workspace, &Operands::workspace_bytes);
  h = mix_members(h, &Buffer::host, &Buffer::native, &Buffer::bytes, &WeightRef::slice, &WeightRef::bits, &WeightRef::form,
                  &WeightRef::exact_type, &WeightRef::data, &Move::to, &Move::from, &Move::bytes, &LayerResidents::id,
                  &LayerResidents::ffn_norm_bias, &RowRefs::word, &RowRefs::norm_bias, &ExitRefs::classifier_bias);
  const int lists[] = {kOpCount, kBitsLevels, kMaxSlices, static_cast<int>(DeviceKind::kLink), kHostSpace};
  return mix_sizes<Task, CostKey, Operands, Buffer, MemoryRef, ReadRequest, Move, WeightRef, LayerResidents, RowRefs,
                   ExitRefs, Batch, Estimate, Result<Ticket>, Status, Error>(mix(h, lists, sizeof lists));
}

static inline uint64_t mix_plans(uint64_t h) {
  h = mix_members(h, &Plan::depth, &Plan::slices, &Plan::bits, &Plan::placement, &Plan::loads, &Plan::keep,
                  &Plan::keep_unused, &Plan::pipelined, &Plan::decoded, &Plan::quantile, &Plan::predicted, &Plan::explain);
  h = mix_members(h, &DeviceDescription::name, &DeviceDescription::kind, &DeviceDescription::backend,
                  &DeviceDescription::available, &DeviceDescription::why, &DeviceDescription::emulated,
                  &DeviceDescription::memory, &DeviceDescription::shared_with_host, &DeviceDescription::own_buffers,
                  &DeviceDescription::host_visible, &DeviceDescription::link, &DeviceDescription::memory_capacity,
                  &DeviceDescription::threads, &DeviceDescription::properties);
  h = mix_members(h, &ModelShape::layers, &ModelShape::hidden, &ModelShape::layer_norm_eps, &ModelShape::depths,
                  &ModelShape::shard_bytes, &ModelShape::resident_bytes, &AccuracyModel::base, &AccuracyModel::map,
                  &Prediction::latency, &Prediction::accuracy, &Budgets::latency, &Budgets::preload, &ResidentShard::bytes);
  return mix_sizes<Plan, Prediction, PlannedLoad, LayerPart, Residency, ResidentShard, Budgets, PlanReason, Platform,
                   DeviceDescription, MemoryDescription, ModelShape, AccuracyModel>(h);
}

}  // namespace plugin

// A hash over the layout of what passes between a program and its plug-ins, as this file was compiled.
static inline uint64_t plugin_layout() {
  return plugin::mix_plans(plugin::mix_tasks(plugin::mix_contracts(0xcbf29ce484222325)));
}

}  // namespace tessera

// Ends the source that CMake generates for a plug-in: `Add` is a function like PluginDoor::add.
#define TESSERA_PLUGIN(Add)                                                                                            \
  extern "C" __attribute__((visibility("default"))) const ::tessera::PluginDoor* tessera_plugin() {                    \
    static const ::tessera::PluginDoor door = {::tessera::kPluginMagic, ::tessera::kPluginApi,      TESSERA_TOOLCHAIN, \
                                               TESSERA_VERSION,         ::tessera::plugin_layout(), Add};              \
    return &door;                                                                                                      \
  }
