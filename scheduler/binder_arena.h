// Owns the host memory of requests: page-aligned pieces that are reused, so that no request pays for page faults, and whose
// touched pages never exceed a limit, so that the process's resident set follows the account.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

#include "framework/result.h"
#include "framework/units.h"

namespace tessera {

// Safe from any thread. Address space is reserved in regions that live as long as the arena; free pages that would exceed
// the limit are given back to the system (madvise), highest addresses first.
class HostArena {
 public:
  static constexpr int64_t kPage = 4096;
  HostArena() = default;
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  // Most bytes of touched pages, free ones included. Pages in use are never taken away.
  void set_limit(Bytes limit);
  // Touches free pages until `bytes` are touched (the limit holds): whoever allocates them later pays for no page faults.
  void touch_ahead(Bytes bytes);
  // `bytes` rounded up to whole pages, 4096-aligned, content undefined; at least 64 readable bytes follow it.
  Result<std::byte*> allocate(int64_t bytes);
  // Gives back [at, at + bytes) rounded up to whole pages: a whole piece or any page-aligned part of one.
  void release(std::byte* at, int64_t bytes);

  // While pinned at its end, its pages stay mapped for the life of the process: a device may still use some of them.
  void pin(bool pinned) { pinned_ = pinned; }

  Bytes in_use() const;
  Bytes touched() const;  // in use and free: what the arena adds to the process's resident set

 private:
  struct Region {
    std::byte* base = nullptr;
    int64_t pages = 0;          // a guard page more is mapped behind them
    std::vector<bool> touched;  // by page
  };
  bool add_region(int64_t pages);
  std::byte* take(int64_t pages);
  int64_t untouched(std::byte* at, int64_t pages) const;
  void touch(std::byte* at, int64_t pages);
  void trim(int64_t target_pages);
  Region& region_of(const std::byte* at);
  const Region& region_of(const std::byte* at) const;

  mutable std::mutex mutex_;
  std::vector<Region> regions_;
  std::map<std::byte*, int64_t> free_;  // start -> pages; neighbours of a region are merged
  bool pinned_ = false;
  int64_t in_use_ = 0;  // pages
  int64_t touched_ = 0;
  int64_t limit_ = INT64_MAX / kPage;
};

}  // namespace tessera
