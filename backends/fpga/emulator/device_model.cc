// Keeps the state of one emulated FPGA: memory, and compute units of the kernels that were loaded.
#include "backends/fpga/emulator/device_model.h"

#include <cstdio>
#include <fstream>
#include <iterator>

#include "backends/fpga/xclbin_file.h"

namespace tessera::fpga {
namespace {

Response acknowledge(bool yes = true) { return Response().number(1, yes ? 1 : 0); }

}  // namespace

std::optional<Response> DeviceModel::answer(const ShimRequest& request, bool* last) {
  const Fields fields(request.payload);
  if (!fields.ok()) return std::nullopt;
  switch (request.call) {
    case ShimCall::kClose:
      *last = fields.number(3) != 0;
      return acknowledge();
    case ShimCall::kSetupInstance:
      return acknowledge();
    case ShimCall::kLoadBitstream:
      return load(fields);
    case ShimCall::kAllocate:
      return allocate(fields);
    case ShimCall::kFree:
      memory_.free(fields.number(1));
      return acknowledge();
    case ShimCall::kHostToDevice:
      return to_device(fields);
    case ShimCall::kDeviceToHost:
      return to_host(fields);
    case ShimCall::kWriteControl:
      write_registers(fields.number(2), fields.bytes(4));
      return acknowledge();
    case ShimCall::kReadControl:
      return read_registers(fields.number(2));
    case ShimCall::kRegisterWrite:
      write_registers(fields.number(1) + fields.number(2), fields.bytes(3));
      return acknowledge();
    case ShimCall::kRegisterRead:
      return read_registers(fields.number(1) + fields.number(2));
    case ShimCall::kCopyBuffer:
    case ShimCall::kImportBuffer:
    case ShimCall::kCopyFromFd:
      return acknowledge(false);  // imported buffers: not emulated
  }
  return std::nullopt;
}

// Before any load, a buffer may be allocated: then both files are empty and there is nothing to load.
Response DeviceModel::load(const Fields& fields) {
  const std::string description(fields.bytes(1)), object(fields.bytes(2));
  units_.clear();
  if (object.empty()) return acknowledge();
  std::string why;
  const KernelLibrary library = open_kernels(object, &why);
  if (library.kernels.empty()) {
    std::fprintf(stderr, "tessera device model: %s\n", why.c_str());
    return acknowledge(false);
  }
  std::ifstream file(description, std::ios::binary);
  const std::string xml((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const bool placed = place_units(xml, library);
  if (!placed) std::fprintf(stderr, "tessera device model: %s and the kernels do not fit together\n", description.c_str());
  return acknowledge(placed);
}

bool DeviceModel::place_units(const std::string& xml, const KernelLibrary& library) {
  for (const KernelDescription& described : parse_kernels(xml)) {
    const hls::KernelEntry* kernel = library.find(described.name);
    if (kernel == nullptr || kernel->register_bytes > ComputeUnit::kImage) return false;
    for (const auto& instance : described.instances)
      units_.push_back(std::make_unique<ComputeUnit>(*kernel, instance.base, memory_, faults_));
  }
  return !units_.empty();
}

Response DeviceModel::allocate(const Fields& fields) {
  std::string file;
  const bool done = memory_.allocate(fields.number(1), fields.number(2), &file);
  Response response = acknowledge(done);
  if (fields.number(3) != 0 && !file.empty()) response.bytes(2, file);
  return response;
}

Response DeviceModel::to_device(const Fields& fields) {
  const bool done = memory_.write(fields.number(3), fields.bytes(4).substr(0, fields.number(5)));
  return Response().number(1, done ? fields.number(5) : 0);
}

// XRT copies as many bytes as the answer says: none where it has the memory mapped.
Response DeviceModel::to_host(const Fields& fields) {
  std::string data;
  memory_.read(fields.number(4), fields.number(5), &data);
  return Response().number(1, data.size()).bytes(2, data);
}

Response DeviceModel::read_registers(uint64_t address) {
  ComputeUnit* unit = unit_at(address);
  const uint32_t value = unit == nullptr ? 0 : unit->read(address - unit->base());
  return acknowledge().bytes(2, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

void DeviceModel::write_registers(uint64_t address, std::string_view data) {
  if (ComputeUnit* unit = unit_at(address)) unit->write(address - unit->base(), data);
}

ComputeUnit* DeviceModel::unit_at(uint64_t address) {
  for (const auto& unit : units_)
    if (address >= unit->base() && address - unit->base() < ComputeUnit::kRange) return unit.get();
  return nullptr;
}

}  // namespace tessera::fpga
