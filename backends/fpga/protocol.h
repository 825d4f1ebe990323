// Defines what the backend and its worker process say to each other: fixed-size flat messages over a Unix socket, with
// programs and data in memory that both have mapped.
//
//   backend                                             worker (one per FPGA; the only one that knows XRT)
//     Request ----- channel 0: computes, 1: link, 2: control ----->   one thread a channel
//     <------------------------------- Reply
// A channel has one request at a time. A request's program lies in the channel's mailbox, its data in regions. A region is
// shared memory of the backend with a buffer of the device behind it: copy steps move bytes between the two.
// Both sides keep deadlines: the worker the one in the request, the backend a later one of its own.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tessera::fpga {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr int kChannels = 3;
enum Channel : int { kComputeChannel, kLinkChannel, kControlChannel };

// Descriptors that a worker starts with: its ends of the channels and their mailboxes.
inline constexpr int kFirstSocket = 3;                          // kChannels of them
inline constexpr int kFirstMailbox = kFirstSocket + kChannels;  // likewise
inline constexpr int64_t kMailboxBytes = 1 << 20;

enum class Call : uint32_t {
  kHello,    // control: what was loaded; the answer comes when the device is open
  kCreate,   // control: a region, whose memory comes with the message
  kDestroy,  // control
  kProgram,  // any channel: `count` steps in the mailbox
  kPing,     // any channel
  kQuit,     // control: closes the device and ends
};

struct Request {
  uint32_t version = kProtocolVersion;
  Call call = Call::kPing;
  uint64_t sequence = 0;
  uint32_t region = 0;  // of kCreate, kDestroy
  uint32_t reserved = 0;
  int64_t bytes = 0;      // of kCreate
  uint32_t count = 0;     // of kProgram
  uint32_t limit_ms = 0;  // for all of it; past it the worker answers kLate and ends
};

enum class Outcome : uint32_t {
  kDone,
  kRefused,   // nothing happened; the worker goes on
  kNoMemory,  // likewise
  kFailed,    // a kernel refused, overflowed, or ended without its status word; the worker goes on
  kLate,      // a run did not end in time; the worker ends now
};

struct Reply {
  uint32_t version = kProtocolVersion;
  Outcome outcome = Outcome::kDone;
  uint64_t sequence = 0;
  int64_t number = 0;   // of kProgram: nanoseconds in the worker; of kHello: bytes of the device's memory
  uint32_t step = 0;    // of a failure: which
  char text[228] = {};  // of a failure, and of kHello: the device's name; zero-terminated
};

enum class StepKind : uint32_t { kToDevice, kToHost, kRun };
enum class ArgumentKind : uint32_t { kScalar, kBuffer, kStatus, kStatusAt };

// kScalar: `value` holds its 32 bits. kBuffer: region `value`. kStatus: the worker's status words, of which each step has
// one (kStatusAt: its index). The worker clears it before the start and wants to find hls::kStatusDone there in the end.
struct Argument {
  ArgumentKind kind = ArgumentKind::kScalar;
  uint32_t value = 0;
};

inline constexpr int kMaxArguments = 24;
inline constexpr int kMaxKernelName = 32;
inline constexpr int kMaxSteps = 1024;

// Steps start in order. A run starts once the first `after` steps have ended; until then later ones wait too. Runs that are
// not held back are queued on the kernel's compute units; copies are done when they are reached.
struct Step {
  StepKind kind = StepKind::kRun;
  uint32_t after = 0;
  uint32_t region = 0;     // of a copy
  uint32_t arguments = 0;  // of a run: how many
  int64_t offset = 0;
  int64_t bytes = 0;
  char kernel[kMaxKernelName] = {};  // of a run
  Argument argument[kMaxArguments];
};

static_assert(std::is_trivially_copyable_v<Request> && std::is_trivially_copyable_v<Reply> &&
              std::is_trivially_copyable_v<Step>);
static_assert(sizeof(Step) * kMaxSteps <= kMailboxBytes, "a program fits a mailbox");
static_assert(sizeof(Reply) <= 256);

}  // namespace tessera::fpga
