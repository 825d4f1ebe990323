// Sends and receives whole messages (SOCK_SEQPACKET keeps their bounds).
#include "backends/fpga/channel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tessera::fpga {
namespace {

union OneDescriptor {
  char bytes[CMSG_SPACE(sizeof(int))];
  cmsghdr aligned;
};

int descriptor_of(msghdr& message) {
  const cmsghdr* control = CMSG_FIRSTHDR(&message);
  if (control == nullptr || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) return -1;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(control), sizeof fd);
  return fd;
}

// Milliseconds until the deadline, rounded up, at least 0.
int until(Moment deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 3'600'000));
}

}  // namespace

std::optional<Request> receive_request(int socket, int* fd) {
  Request request;
  OneDescriptor control;
  iovec data{&request, sizeof request};
  for (;;) {
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof request)) return std::nullopt;
    *fd = descriptor_of(message);
    return request;
  }
}

void send_reply(int socket, const Reply& reply) {
  while (::send(socket, &reply, sizeof reply, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

Passage send_request(int socket, const Request& request, int fd) {
  Request copy = request;
  iovec data{&copy, sizeof copy};
  OneDescriptor control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control.bytes;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return Passage::kOk;
    // One small request at a time: a socket that is full belongs to a worker that reads nothing any more.
    if (errno != EINTR) return Passage::kGone;
  }
}

Passage receive_reply(int socket, int process, uint64_t sequence, Moment deadline, Reply* reply) {
  for (;;) {
    pollfd ends[2] = {{socket, POLLIN, 0}, {process, POLLIN, 0}};
    const int ready = ::poll(ends, 2, until(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Passage::kLate;
    // A reply that came before the end counts.
    const ssize_t got = ::recv(socket, reply, sizeof *reply, MSG_DONTWAIT);
    if (got == static_cast<ssize_t>(sizeof *reply) && reply->version == kProtocolVersion) {
      reply->text[sizeof reply->text - 1] = '\0';
      if (reply->sequence == sequence) return Passage::kOk;
      continue;
    }
    if (got < 0 && (errno == EINTR || (errno == EAGAIN && (ends[1].revents & POLLIN) == 0))) continue;
    return Passage::kGone;
  }
}

}  // namespace tessera::fpga
