// Lists what can be named: backends and policies. Filled by code that CMake generates from the folders it finds, and by
// plug-ins (framework/plugin.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/backend.h"
#include "framework/policy.h"

namespace tessera {

struct BackendOptions {
  int threads = 0;                  // of a CPU backend; 0: all cores
  BytesPerSecond bandwidth_cap{0};  // of a storage backend; 0: none
};

using PolicyFactory = std::function<std::unique_ptr<Policy>()>;
using BackendFactory = std::function<std::unique_ptr<Backend>(const BackendOptions&)>;

// Names in the order of registration (alphabetical, by the generator). Not thread-safe while registering.
template <typename Factory>
class Registry {
 public:
  struct Entry {
    std::string name;
    Factory make;
    // A backend that opens a vendor's library to find its devices: asked only where its devices are wanted by name or all.
    bool on_demand = false;
    std::string source{};  // the folder or file that it was built from, or the plug-in that it was loaded from
  };
  void add(Entry entry) { entries_.push_back(std::move(entry)); }
  void add(std::string name, Factory make, bool on_demand = false) {
    entries_.push_back({std::move(name), std::move(make), on_demand, source_});
  }
  // The source of what is added next.
  void set_source(std::string source) { source_ = std::move(source); }
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const Entry& e : entries_) out.push_back(e.name);
    return out;
  }
  const Entry* find(std::string_view name) const {
    for (const Entry& e : entries_)
      if (e.name == name) return &e;
    return nullptr;
  }

 private:
  std::vector<Entry> entries_;
  std::string source_;
};

// The process's registries.
Registry<PolicyFactory>& policies();
Registry<BackendFactory>& backends();

// Registers what was built in. Generated (cmake/rooms.cmake); the second time does nothing.
void register_policies();
void register_backends();

// "unknown policy 'stj'; did you mean 'sti'? known: load-exec, preload, sti" for any list of names.
std::string unknown_name(std::string_view what, std::string_view given, const std::vector<std::string>& known);

}  // namespace tessera

// The one registration line of a policy file; TESSERA_PLUGIN_SYMBOL and TESSERA_PLUGIN_NAME come from CMake, which
// derives them from the file's stem (load_exec.cc: "load-exec").
#define TESSERA_REGISTER_POLICY(Class)                                                                 \
  void TESSERA_PLUGIN_SYMBOL(::tessera::Registry<::tessera::PolicyFactory>& registry) {                \
    registry.add(TESSERA_PLUGIN_NAME, [] { return std::unique_ptr<::tessera::Policy>(new Class()); }); \
  }
// The same for a backend folder; Class is constructed from BackendOptions. The second form is for backends that open a
// vendor's library: requests that compute elsewhere do not pay for it. Names of their devices begin with the backend's.
#define TESSERA_REGISTER_BACKEND_AS(Class, on_demand)                                                                     \
  void TESSERA_PLUGIN_SYMBOL(::tessera::Registry<::tessera::BackendFactory>& registry) {                                  \
    registry.add(                                                                                                         \
        TESSERA_PLUGIN_NAME,                                                                                              \
        [](const ::tessera::BackendOptions& options) { return std::unique_ptr<::tessera::Backend>(new Class(options)); }, \
        on_demand);                                                                                                       \
  }
#define TESSERA_REGISTER_BACKEND(Class) TESSERA_REGISTER_BACKEND_AS(Class, false)
#define TESSERA_REGISTER_BACKEND_ON_DEMAND(Class) TESSERA_REGISTER_BACKEND_AS(Class, true)
