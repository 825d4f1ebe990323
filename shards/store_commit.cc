// Creates, replaces and lists the folder of a store.
#include "shards/store_commit.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shards/hash.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// "a/b/" is "a/b"; a link is what it points to.
std::string settled(const std::string& target) {
  std::error_code failed;
  fs::path path = fs::absolute(target, failed).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const fs::path real = fs::canonical(path, failed);
  return failed ? path.string() : real.string();
}

bool is_store(const std::string& directory) {
  const auto file = open_regular(directory + "/index");
  char magic[8] = {};
  return file.ok() && read_fully(file->fd.get(), directory, 0, reinterpret_cast<std::byte*>(magic), 8).ok() &&
         std::memcmp(magic, "TESSERA\n", 8) == 0;
}

// Whether the target may be taken; `replaces` where a store is there.
Status check_target(const std::string& target, bool force, bool* replaces) {
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(target, failed);
  if (status.type() == fs::file_type::not_found) return {};
  if (failed) return Error{ErrorCode::kData, target + ": " + failed.message()};
  if (status.type() != fs::file_type::directory) {
    return Error{ErrorCode::kInvalid, target + ": exists and is not a folder; give another name for the store"};
  }
  if (fs::is_empty(target, failed)) return {};
  if (!is_store(target)) {
    return Error{ErrorCode::kInvalid,
                 target + ": exists and is not a Tessera store; it was left as it is. Give another name"};
  }
  if (!force) return Error{ErrorCode::kInvalid, target + ": a store is there already; replace it with --force"};
  TESSERA_ASSIGN(const auto foreign, foreign_entries(target, {}));
  if (!foreign.empty()) {
    return Error{ErrorCode::kInvalid,
                 target + ": holds " + foreign[0] + ", which is no part of a store; move it away first"};
  }
  *replaces = true;
  return {};
}

// ".name.partial-": followed by process and serial number, the folder that a store is written in.
std::string partial_prefix(const fs::path& target) {
  return std::string(1, '.').append(target.filename().string()).append(".partial-");
}

// Waits for whoever is removing it; false where the folder is no longer there.
bool lock_folder(const std::string& path, OwnedFd& lock) {
  lock = OwnedFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (lock.get() >= 0 && ::flock(lock.get(), LOCK_EX) != 0 && errno == EINTR) {}
  return ::access(path.c_str(), F_OK) == 0;
}

// Removes what killed processes left of a store of this name: folders that hold nothing but files of a store and that nobody
// has locked. A ".old" is not touched: it may be the only copy of the store that was being replaced.
void remove_abandoned(const fs::path& target) {
  const std::string prefix = partial_prefix(target);
  std::error_code failed;
  std::vector<std::string> found;
  for (fs::directory_iterator at(target.parent_path(), failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(prefix) && name.find_first_not_of("0123456789-", prefix.size()) == std::string::npos)
      found.push_back(at->path().string());
  }
  for (const std::string& path : found) {
    const OwnedFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (folder.get() < 0 || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    const auto foreign = foreign_entries(path, {});
    if (foreign.ok() && foreign->empty()) fs::remove_all(path, failed);
  }
}

}  // namespace

Result<ExtentWriter> ExtentWriter::create(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) return system_error(path, "cannot create", errno);
  return ExtentWriter(path, std::move(fd));
}

Result<ExtentRecord> ExtentWriter::append(std::span<const std::byte> payload, int64_t length) {
  static const std::vector<std::byte> zeros(2 * kBlock, std::byte{0});
  RunningChecksum checksum;
  checksum.add(payload);
  TESSERA_TRY(write_fully(fd_.get(), path_, payload));
  for (auto left = length - static_cast<int64_t>(payload.size()); left > 0;) {
    const auto piece = std::span(zeros).first(static_cast<size_t>(std::min<int64_t>(left, 2 * kBlock)));
    checksum.add(piece);
    TESSERA_TRY(write_fully(fd_.get(), path_, piece));
    left -= static_cast<int64_t>(piece.size());
  }
  return ExtentRecord{static_cast<int64_t>(payload.size()), checksum.value()};
}

Status ExtentWriter::finish() {
  if (::fsync(fd_.get()) != 0) return system_error(path_, "cannot sync", errno);
  if (!fd_.close()) return system_error(path_, "cannot close", errno);
  return {};
}

Result<std::unique_ptr<PendingStore>> PendingStore::create(const std::string& target, bool force) {
  if (target.empty()) return Error{ErrorCode::kInvalid, "the store has no name; give a folder for it"};
  std::unique_ptr<PendingStore> pending(new PendingStore);
  pending->target_ = settled(target);
  TESSERA_TRY(check_target(pending->target_, force, &pending->replaces_));
  const fs::path path(pending->target_);
  std::error_code ignored;
  if (!fs::is_directory(path.parent_path(), ignored)) {
    const bool there = fs::exists(path.parent_path(), ignored);
    return Error{ErrorCode::kInvalid,
                 target + ": " + path.parent_path().string() +
                     (there ? " is not a folder; give another name for the store" : ": no such folder; make it first")};
  }
  remove_abandoned(path);
  static std::atomic<unsigned> serial = 0;
  do {
    pending->path_ =
        (path.parent_path() / (partial_prefix(path) + std::to_string(::getpid()) + "-" + std::to_string(serial++))).string();
    if (::mkdir(pending->path_.c_str(), 0777) != 0) continue;
    if (lock_folder(pending->path_, pending->lock_)) return pending;
    errno = EEXIST;  // taken for abandoned before it was locked: another one
  } while (errno == EEXIST);
  const int error = errno;
  pending->path_.clear();
  return system_error(target, "cannot create a folder beside it", error);
}

PendingStore::~PendingStore() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Status PendingStore::commit() {
  TESSERA_TRY(sync_directory(path_));
  if (!replaces_) {
    if (::rename(path_.c_str(), target_.c_str()) != 0) return system_error(target_, "cannot put the store there", errno);
    path_.clear();
  } else if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
    // A file system without exchange: the old store steps aside, and comes back where the new one cannot take its place.
    const std::string aside = path_ + ".old";
    if (::rename(target_.c_str(), aside.c_str()) != 0) return system_error(target_, "cannot replace the store", errno);
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
      const Error error = system_error(target_, "cannot replace the store", errno);
      (void)::rename(aside.c_str(), target_.c_str());
      return error;
    }
    path_ = aside;
  }
  // From here on path_ is the old store, if there was one: the destructor removes it.
  return sync_directory(fs::path(target_).parent_path().string());
}

Result<std::vector<std::string>> foreign_entries(const std::string& directory, const std::vector<Bits>& bitwidths) {
  std::set<std::string> known(std::begin(kStoreFiles), std::end(kStoreFiles));
  for (int bits = 1; bits <= kExact; ++bits) {
    const bool here = bitwidths.empty() || std::find(bitwidths.begin(), bitwidths.end(), bits) != bitwidths.end();
    if (valid_bits(bits) && here) known.insert(shard_file(static_cast<Bits>(bits)));
  }
  std::vector<std::string> foreign;
  std::error_code failed;
  for (fs::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    std::error_code ignored;
    if (name == "profiles" && at->symlink_status(ignored).type() == fs::file_type::directory) continue;
    if (!known.contains(name) || !at->is_regular_file(ignored)) foreign.push_back(name);
  }
  if (failed) return Error{ErrorCode::kData, directory + ": " + failed.message()};
  for (fs::directory_iterator at(directory + "/profiles", failed), end; !failed && at != end; at.increment(failed)) {
    std::error_code ignored;
    if (at->path().extension() != ".json" || !at->is_regular_file(ignored)) {
      foreign.push_back("profiles/" + at->path().filename().string());
    }
  }
  if (failed && failed != std::errc::no_such_file_or_directory) {
    return Error{ErrorCode::kData, directory + "/profiles: " + failed.message()};
  }
  std::sort(foreign.begin(), foreign.end());
  return foreign;
}

}  // namespace tessera
