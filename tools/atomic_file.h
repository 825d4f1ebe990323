// Reads a file; writes one whole or not at all.
#pragma once

#include <string>
#include <string_view>

#include "framework/result.h"
#include "tools/interrupt.h"

namespace tessera {

// Writes a temporary neighbour, syncs and renames it. kData names the file and the system's reason; nothing is left behind.
Status write_file(const std::string& path, std::string_view content);

// All of a file. kData where it cannot be read.
Result<std::string> read_text(const std::string& path);

// A copy, written the same way.
Status copy_file(const std::string& from, const std::string& to);

// Like write_file, in pieces: open, append..., commit. Without commit the file is as it was before.
class AtomicFile {
 public:
  AtomicFile() = default;
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  Status open(const std::string& path);
  Status append(std::string_view text);
  Status commit();

 private:
  Status flush();
  Error failure(const char* what) const;
  void drop();
  std::string path_, temporary_, buffer_;
  int fd_ = -1;
  InterruptsPolled polled_;  // a first Ctrl-C lets the file be finished or removed
};

}  // namespace tessera
