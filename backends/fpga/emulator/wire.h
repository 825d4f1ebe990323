// Reads and writes the messages that XRT's software-emulation shim speaks: framed protobuf over a stream socket.
//
// Messages: Xilinx/XRT, src/runtime_src/core/pcie/emulation/common_em/rpc_messages.proto, tag 202210.2.13.466.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::fpga {

// src/runtime_src/core/include/xcl_macros.h
enum class ShimCall : uint32_t {
  kClose = 1,
  kLoadBitstream = 3,
  kAllocate = 4,
  kFree = 5,
  kHostToDevice = 6,
  kDeviceToHost = 7,
  kWriteControl = 9,
  kReadControl = 11,
  kCopyBuffer = 22,
  kImportBuffer = 27,
  kSetupInstance = 28,
  kCopyFromFd = 50,
  kRegisterWrite = 51,
  kRegisterRead = 52,
};

struct ShimRequest {
  ShimCall call{};
  std::string payload;
};

// The top-level fields of one message. Unknown and nested ones are stepped over; a malformed message has `ok` false.
class Fields {
 public:
  explicit Fields(std::string_view payload);
  bool ok() const { return ok_; }
  uint64_t number(uint32_t field) const;         // 0 where absent
  std::string_view bytes(uint32_t field) const;  // empty where absent

 private:
  struct Field {
    uint32_t id;
    uint64_t number;
    std::string_view bytes;
  };
  bool ok_ = true;
  std::vector<Field> fields_;
};

// A response under construction.
class Response {
 public:
  Response& number(uint32_t field, uint64_t value);
  Response& bytes(uint32_t field, std::string_view value);
  const std::string& payload() const { return payload_; }

 private:
  void varint(uint64_t value);
  std::string payload_;
};

// nullopt: the other end has closed, or sent what is no request.
std::optional<ShimRequest> read_request(int socket);
bool write_response(int socket, const Response& response);

}  // namespace tessera::fpga
