// Encodes the little of protobuf that the shim's messages use: varint, 32 and 64 bits, bytes.
#include "backends/fpga/emulator/wire.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

namespace tessera::fpga {
namespace {

constexpr size_t kRequestHeader = 14;           // 09 <u64 length> 15 <u32 call>
constexpr uint64_t kLongestRequest = 64 << 20;  // XRT's packets are 8 MB at most
constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

bool read_all(int socket, void* to, size_t bytes) {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::read(socket, at, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

// Takes bytes off the front of what is left; false where there are fewer.
struct Cursor {
  std::string_view left;
  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left.empty()) return false;
      const auto byte = static_cast<unsigned char>(left.front());
      left.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }
  bool take(size_t bytes, std::string_view& out) {
    if (bytes > left.size()) return false;
    out = left.substr(0, bytes);
    left.remove_prefix(bytes);
    return true;
  }
};

}  // namespace

Fields::Fields(std::string_view payload) {
  Cursor cursor{payload};
  while (ok_ && !cursor.left.empty()) {
    uint64_t tag = 0, value = 0;
    std::string_view bytes;
    ok_ = cursor.varint(tag);
    switch (tag & 7) {
      case kVarint:
        ok_ = ok_ && cursor.varint(value);
        break;
      case kFixed64:
      case kFixed32:
        ok_ = ok_ && cursor.take((tag & 7) == kFixed64 ? 8 : 4, bytes);
        if (ok_) std::memcpy(&value, bytes.data(), bytes.size());
        break;
      case kBytes:
        ok_ = ok_ && cursor.varint(value) && cursor.take(value, bytes);
        break;
      default:
        ok_ = false;
    }
    if (ok_) fields_.push_back({static_cast<uint32_t>(tag >> 3), value, bytes});
  }
}

uint64_t Fields::number(uint32_t field) const {
  for (const Field& f : fields_)
    if (f.id == field) return f.number;
  return 0;
}

std::string_view Fields::bytes(uint32_t field) const {
  for (const Field& f : fields_)
    if (f.id == field) return f.bytes;
  return {};
}

void Response::varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) payload_.push_back(static_cast<char>(value | 0x80));
  payload_.push_back(static_cast<char>(value));
}

Response& Response::number(uint32_t field, uint64_t value) {
  varint(field << 3 | kVarint);
  varint(value);
  return *this;
}

Response& Response::bytes(uint32_t field, std::string_view value) {
  varint(field << 3 | kBytes);
  varint(value.size());
  payload_.append(value);
  return *this;
}

std::optional<ShimRequest> read_request(int socket) {
  unsigned char header[kRequestHeader];
  if (!read_all(socket, header, sizeof header) || header[0] != 0x09 || header[9] != 0x15) return std::nullopt;
  uint64_t length = 0;
  uint32_t call = 0;
  std::memcpy(&length, header + 1, sizeof length);
  std::memcpy(&call, header + 10, sizeof call);
  if (length > kLongestRequest) return std::nullopt;
  ShimRequest request{static_cast<ShimCall>(call), std::string(length, '\0')};
  if (!read_all(socket, request.payload.data(), length)) return std::nullopt;
  return request;
}

// The shim reads exactly nine bytes of header: without the call's number.
bool write_response(int socket, const Response& response) {
  const uint64_t length = response.payload().size();
  std::string frame(1, '\x09');
  frame.append(reinterpret_cast<const char*>(&length), sizeof length).append(response.payload());
  const char* at = frame.data();
  for (size_t left = frame.size(); left > 0;) {
    const ssize_t sent = ::send(socket, at, left, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    left -= static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace tessera::fpga
