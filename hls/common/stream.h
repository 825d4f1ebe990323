// Gives kernels hls::stream: Vitis HLS's own in synthesis, an unbounded queue in C simulation.
#pragma once

#ifdef __SYNTHESIS__
#include <hls_stream.h>
#else
#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

namespace hls {

// As in Vitis C simulation, the stages of a DATAFLOW region run one after the other, so a stream holds all that its writer
// wrote. One thread; a read of an empty stream is a programming error (hardware would wait for ever).
template <typename T, int kDepth = 0>
class stream {
 public:
  stream() = default;
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  void write(const T& value) { values_.push_back(value); }
  T read() {
    assert(next_ < values_.size());
    T value = values_[next_++];
    if (next_ == values_.size()) values_.clear(), next_ = 0;
    return value;
  }
  bool empty() const { return next_ == values_.size(); }
  size_t size() const { return values_.size() - next_; }

 private:
  std::vector<T> values_;
  size_t next_ = 0;
};

}  // namespace hls
#endif
