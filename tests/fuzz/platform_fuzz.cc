// Feeds bytes to the reader of described machines; the dynamics of one that it accepts must be such as can be simulated.
#include <cstdlib>

#include "configs/loader.h"
#include "text_file.h"

namespace {

tessera::ModelShape small_shape() {
  tessera::ModelShape shape;
  shape.name = "small";
  shape.layers = 2, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 256;
  shape.vocab = 1000, shape.max_tokens = 64, shape.labels = 2;
  shape.depths = {1, 2}, shape.widths = {1, 2, 3, 4}, shape.bitwidths = {2, 6, tessera::kExact};
  return shape;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::TextFile file("platform.toml");
  static const ModelShape shape = small_shape();
  file.write(fuzz::as_text(data, size));
  const Result<Machine> machine = load_platform(file.path(), shape);
  if (!machine.ok()) return 0;
  const Platform& platform = machine->platform;
  if (machine->costs == nullptr || !platform.first(DeviceKind::kStorage)) std::abort();
  if (machine->simulation == nullptr) return 0;
  const auto devices = static_cast<int>(platform.devices.size());
  if (!check_dynamics(machine->simulation->dynamics(), devices).ok()) std::abort();
  machine->simulation->begin({milliseconds(1), 1, 0, true});
  for (int d = 0; d < devices; ++d)
    if (machine->simulation->state(static_cast<DeviceId>(d)).heat < 0) std::abort();
  return 0;
}
