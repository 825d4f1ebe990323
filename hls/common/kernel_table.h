// Lists the kernels of a library with their register maps, from the C++ signatures of their tops: what packs an xclbin and
// what runs a kernel from a register image read the same table.
//
// Offsets are those of Vitis HLS with ap_ctrl_hs: control at 0x00, the first argument at 0x10, a 32-bit scalar takes 8
// bytes, a pointer or 64-bit scalar 12 (low, high, reserved). Host side only: nothing of this exists in synthesis.
#pragma once

#ifndef __SYNTHESIS__

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace tessera::hls {

inline constexpr uint32_t kFirstRegister = 0x10;

struct KernelArgument {
  const char* name = nullptr;
  const char* type = nullptr;  // "float*", "uint32_t": for descriptions only
  uint32_t offset = 0;         // in the register map
  uint32_t size = 0;           // 4 or 8 bytes
  bool pointer = false;        // a device address: m_axi; its port is M_AXI_<NAME>
  bool writes = false;         // of a pointer: the kernel writes through it
};

// Makes host memory of a device address; null where there is none.
using TranslateAddress = void* (*)(void* context, uint64_t address);

struct KernelEntry {
  const char* name = nullptr;
  const KernelArgument* arguments = nullptr;
  uint32_t argument_count = 0;
  uint32_t register_bytes = 0;  // of the image that `call` reads, control words included
  // Calls the top with the arguments of a register image. False, and nothing is called, where a pointer has no memory.
  bool (*call)(const uint8_t* registers, TranslateAddress translate, void* context) = nullptr;
  const KernelEntry* next = nullptr;
};

// The kernels of this library, linked by `next`, in no particular order. Exported by name, for dlsym.
extern "C" const KernelEntry* tessera_hls_kernels();
inline constexpr char kKernelTableSymbol[] = "tessera_hls_kernels";

// Puts an entry at the head of the list. Called while a library loads.
void add_kernel(KernelEntry& entry);

namespace table {

template <typename T>
constexpr uint32_t width() {
  return std::is_pointer_v<T> || sizeof(T) > 4 ? 8 : 4;
}

template <typename T>
constexpr const char* type_name() {
  using Target = std::remove_cv_t<std::remove_pointer_t<T>>;
  if constexpr (std::is_same_v<Target, float>) return std::is_pointer_v<T> ? "float*" : "float";
  if constexpr (std::is_same_v<Target, uint16_t>) return std::is_pointer_v<T> ? "uint16_t*" : "uint16_t";
  if constexpr (std::is_same_v<Target, uint32_t>) return std::is_pointer_v<T> ? "uint32_t*" : "uint32_t";
  return std::is_pointer_v<T> ? "void*" : "void";
}

template <typename T>
constexpr KernelArgument argument(const char* name, uint32_t offset) {
  constexpr bool kWrites = std::is_pointer_v<T> && !std::is_const_v<std::remove_pointer_t<T>>;
  return {name, type_name<T>(), offset, width<T>(), std::is_pointer_v<T>, kWrites};
}

// Reads one argument of an image; clears `ok` where an address has no memory.
template <typename T>
T read(const uint8_t* registers, uint32_t offset, TranslateAddress translate, void* context, bool& ok) {
  if constexpr (std::is_pointer_v<T>) {
    uint64_t address = 0;
    std::memcpy(&address, registers + offset, sizeof address);
    void* memory = translate(context, address);
    if (memory == nullptr) ok = false;
    return static_cast<T>(memory);
  } else {
    T value{};
    std::memcpy(&value, registers + offset, sizeof value);
    return value;
  }
}

template <auto kTop, typename... A>
class Registration {
  static_assert((... && (std::is_pointer_v<A> || sizeof(A) == 4)), "arguments are pointers and 32-bit scalars");

 public:
  template <typename... Names>
  explicit Registration(const char* name, Names... names) {
    static_assert(sizeof...(Names) == sizeof...(A), "one name for each argument of the top");
    uint32_t offset = kFirstRegister;
    size_t i = 0;
    const auto add = [&](KernelArgument a) {
      arguments_[i++] = a;
      offset += a.size + 4;
    };
    (add(argument<A>(names, offset)), ...);
    entry_ = {name, arguments_, static_cast<uint32_t>(sizeof...(A)), offset, &call, nullptr};
    add_kernel(entry_);
  }

 private:
  static constexpr uint32_t offset_of(size_t index) {
    constexpr uint32_t kWidths[] = {width<A>()...};
    uint32_t offset = kFirstRegister;
    for (size_t i = 0; i < index; ++i) offset += kWidths[i] + 4;
    return offset;
  }
  template <size_t... I>
  static bool call_with(const uint8_t* registers, TranslateAddress translate, void* context, std::index_sequence<I...>) {
    bool ok = true;
    const auto invoke = [&](A... arguments) {
      if (ok) kTop(arguments...);
    };
    invoke(read<A>(registers, offset_of(I), translate, context, ok)...);
    return ok;
  }
  static bool call(const uint8_t* registers, TranslateAddress translate, void* context) {
    return call_with(registers, translate, context, std::index_sequence_for<A...>{});
  }

  KernelArgument arguments_[sizeof...(A)];
  KernelEntry entry_;
};

template <auto kTop, typename... A>
Registration<kTop, A...> registration_of(void (*)(A...));

}  // namespace table
}  // namespace tessera::hls

// In <k>.cc, behind its top: TESSERA_HLS_KERNEL(gelu, "x", "y", ...), a name for each argument.
#define TESSERA_HLS_KERNEL(top, ...) \
  static decltype(::tessera::hls::table::registration_of<&top>(&top)) tessera_hls_registration_##top(#top, __VA_ARGS__)

#else
#define TESSERA_HLS_KERNEL(top, ...) static_assert(true, "tables are for hosts")
#endif
