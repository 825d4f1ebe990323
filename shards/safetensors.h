// Reads tensors of a Hugging Face checkpoint: one safetensors file, or an index over several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "framework/operands.h"
#include "framework/result.h"
#include "shards/store_io.h"

namespace tessera {

// One tensor of a safetensors file; [begin, end) is relative to the file's data section.
struct TensorEntry {
  std::string dtype;  // as written: "F32", "F16", "BF16", "I64", ...
  std::vector<int64_t> dims;
  int64_t begin = 0;
  int64_t end = 0;
};

// Parses the JSON header (without its 8-byte length). `data_bytes`: size of the data section. Every entry lies inside it and
// is as long as its dims and dtype say. `file` is for messages.
Result<std::map<std::string, TensorEntry>> parse_safetensors_header(std::span<const std::byte> json, int64_t data_bytes,
                                                                    const std::string& file);

// The tensors of a checkpoint's folder. Reads with pread; nothing is mapped. Const members are safe from any thread.
class Checkpoint {
 public:
  static Result<Checkpoint> open(const std::string& directory);
  bool has(const std::string& name) const { return tensors_.contains(name); }
  const std::vector<int64_t>* dims(const std::string& name) const;
  // The tensor's stored type. kData where it is missing or neither fp32, fp16 nor bf16.
  Result<ElementType> type(const std::string& name) const;
  // kData where the tensor is missing or has other dims.
  Status check(const std::string& name, const std::vector<int64_t>& dims) const;
  // All elements as fp32. kData names the tensor where it is missing, has other dims, or holds a value that is not finite.
  Result<std::vector<float>> read(const std::string& name, const std::vector<int64_t>& dims) const;
  // Rows [from, to) of a [rows, width] tensor.
  Result<std::vector<float>> read_rows(const std::string& name, const std::vector<int64_t>& dims, int64_t from,
                                       int64_t to) const;

 private:
  struct File {
    std::string path;
    OwnedFd fd;
    int64_t data_start = 0;
  };
  struct Located {
    size_t file = 0;
    TensorEntry entry;
  };
  Checkpoint() = default;
  Result<std::map<std::string, TensorEntry>> add_file(const std::string& path);
  Status open_single(const std::string& path);
  Status open_indexed(const std::string& directory, const std::string& index_path);
  Result<const Located*> find(const std::string& name, const std::vector<int64_t>& dims) const;

  std::string directory_;
  std::vector<File> files_;
  std::map<std::string, Located> tensors_;
};

}  // namespace tessera
