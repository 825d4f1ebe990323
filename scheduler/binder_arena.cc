// Hands out pages first fit from the lowest address, so that hot pages stay hot and the tail can be given back.
#include "scheduler/binder_arena.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <string>
#include <utility>

#include <sys/mman.h>

namespace tessera {
namespace {

// Address space of one region: only what is touched costs memory.
constexpr int64_t kRegionPages = (int64_t{256} << 20) / HostArena::kPage;

// Maps memory to pages: in one call (Linux from 5.14 on), else by writing to each. Their content is undefined as before.
void populate(std::byte* at, int64_t pages) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(at, static_cast<size_t>(pages * HostArena::kPage), MADV_POPULATE_WRITE) == 0) return;
#endif
  for (int64_t p = 0; p < pages; ++p) *static_cast<volatile std::byte*>(at + p * HostArena::kPage) = std::byte{0};
}

int64_t pages_of(int64_t bytes) { return (bytes + HostArena::kPage - 1) / HostArena::kPage; }

}  // namespace

HostArena::~HostArena() {
  if (pinned_) return;
  for (const Region& region : regions_) munmap(region.base, static_cast<size_t>((region.pages + 1) * kPage));
}

void HostArena::set_limit(Bytes limit) {
  const std::lock_guard lock(mutex_);
  limit_ = limit.n / kPage;
  trim(limit_);
}

void HostArena::touch_ahead(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (regions_.empty() && !add_region(1)) return;
  int64_t wanted = std::min(bytes.n / kPage, limit_) - touched_;
  for (auto& [at, pages] : free_) {
    const int64_t count = std::min(wanted, pages);
    if (count <= 0) return;
    wanted -= untouched(at, count);
    populate(at, count);
    touch(at, count);
  }
}

Result<std::byte*> HostArena::allocate(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const int64_t pages = std::max<int64_t>(1, pages_of(bytes));
  std::byte* at = take(pages);
  if (at == nullptr && add_region(pages)) at = take(pages);
  if (at == nullptr)
    return Error{ErrorCode::kInfeasible, "host memory: the system refused " + std::to_string(bytes) + " bytes; " +
                                             std::to_string(in_use_ * kPage) + " are in use here"};
  in_use_ += pages;
  // The piece is out of the free list: trimming what else is free makes room for its new pages.
  if (const int64_t fresh = untouched(at, pages); touched_ + fresh > limit_) trim(limit_ - fresh);
  touch(at, pages);
  return at;
}

void HostArena::release(std::byte* at, int64_t bytes) {
  if (at == nullptr) return;
  const std::lock_guard lock(mutex_);
  int64_t pages = std::max<int64_t>(1, pages_of(bytes));
  in_use_ -= pages;
  const Region& region = region_of(at);
  auto next = free_.lower_bound(at);
  assert(next == free_.end() || at + pages * kPage <= next->first || next->first < region.base);
  if (next != free_.end() && next->first == at + pages * kPage && next->first < region.base + region.pages * kPage) {
    pages += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first >= region.base && before->first + before->second * kPage == at) {
      before->second += pages;
      return;
    }
  }
  free_.emplace(at, pages);
}

Bytes HostArena::in_use() const {
  const std::lock_guard lock(mutex_);
  return {in_use_ * kPage};
}

Bytes HostArena::touched() const {
  const std::lock_guard lock(mutex_);
  return {touched_ * kPage};
}

bool HostArena::add_region(int64_t pages) {
  Region region;
  region.pages = std::max(pages, kRegionPages);
  void* base = mmap(nullptr, static_cast<size_t>((region.pages + 1) * kPage), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return false;
  // Huge pages would touch neighbours that nobody asked for, and the account would no longer hold.
  madvise(base, static_cast<size_t>((region.pages + 1) * kPage), MADV_NOHUGEPAGE);
  region.base = static_cast<std::byte*>(base);
  region.touched.assign(static_cast<size_t>(region.pages), false);
  free_.emplace(region.base, region.pages);
  regions_.push_back(std::move(region));
  return true;
}

std::byte* HostArena::take(int64_t pages) {
  const auto fit = std::find_if(free_.begin(), free_.end(), [&](const auto& range) { return range.second >= pages; });
  if (fit == free_.end()) return nullptr;
  std::byte* const at = fit->first;
  const int64_t rest = fit->second - pages;
  free_.erase(fit);
  if (rest > 0) free_.emplace(at + pages * kPage, rest);
  return at;
}

int64_t HostArena::untouched(std::byte* at, int64_t pages) const {
  const Region& region = region_of(at);
  const auto first = region.touched.begin() + (at - region.base) / kPage;
  return std::count(first, first + pages, false);
}

void HostArena::touch(std::byte* at, int64_t pages) {
  Region& region = region_of(at);
  const int64_t first = (at - region.base) / kPage;
  for (int64_t p = first; p < first + pages; ++p) {
    touched_ += !region.touched[p];
    region.touched[p] = true;
  }
}

// Gives free pages back, highest addresses first, until at most `target_pages` are touched or no free one is.
void HostArena::trim(int64_t target_pages) {
  for (auto range = free_.rbegin(); range != free_.rend() && touched_ > target_pages; ++range) {
    Region& region = region_of(range->first);
    const int64_t begin = (range->first - region.base) / kPage;
    int64_t first = begin + range->second;  // of the pages given back: the tail of the range
    int64_t given = 0;
    while (first > begin && touched_ - given > target_pages) given += region.touched[--first];
    if (given == 0) continue;
    const int64_t count = begin + range->second - first;
    madvise(region.base + first * kPage, static_cast<size_t>(count * kPage), MADV_DONTNEED);
    std::fill_n(region.touched.begin() + first, count, false);
    touched_ -= given;
  }
}

const HostArena::Region& HostArena::region_of(const std::byte* at) const {
  return *std::find_if(regions_.begin(), regions_.end(),
                       [&](const Region& r) { return at >= r.base && at < r.base + r.pages * kPage; });
}

HostArena::Region& HostArena::region_of(const std::byte* at) {
  return const_cast<Region&>(std::as_const(*this).region_of(at));
}

}  // namespace tessera
