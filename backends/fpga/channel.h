// Passes messages of backends/fpga/protocol.h over a Unix socket, with a deadline on the backend's side.
#pragma once

#include <chrono>
#include <optional>

#include "backends/fpga/protocol.h"

namespace tessera::fpga {

using Moment = std::chrono::steady_clock::time_point;

// Why a message did not come through.
enum class Passage { kOk, kLate, kGone };

// Worker's side. Blocking; nullopt: the backend is gone. `fd` is a descriptor that came along, or -1.
std::optional<Request> receive_request(int socket, int* fd);
void send_reply(int socket, const Reply& reply);

// Backend's side. `fd` goes along unless it is -1. kGone where the worker has closed its end or `process` (a pidfd) has
// ended.
Passage send_request(int socket, const Request& request, int fd);
Passage receive_reply(int socket, int process, uint64_t sequence, Moment deadline, Reply* reply);

}  // namespace tessera::fpga
