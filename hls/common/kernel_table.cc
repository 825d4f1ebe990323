// Keeps the list of the kernels that are linked into this library.
#include "hls/common/kernel_table.h"

namespace tessera::hls {
namespace {

const KernelEntry*& head() {
  static const KernelEntry* first = nullptr;  // made on first use: registrations run before other statics may
  return first;
}

}  // namespace

void add_kernel(KernelEntry& entry) {
  entry.next = head();
  head() = &entry;
}

}  // namespace tessera::hls

extern "C" const tessera::hls::KernelEntry* tessera::hls::tessera_hls_kernels() { return head(); }
