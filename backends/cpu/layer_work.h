// Executes a layer, whole or in parts, as stages of work items.
#pragma once

#include <atomic>
#include <mutex>

#include "backends/cpu/stages.h"
#include "backends/cpu/weights.h"
#include "backends/cpu/workspace.h"

namespace tessera::cpu {

//   open ─► project ─► attend ─► attention out ─► norm ─► up ─► down ─► norm
//           (q, k, v)  (context                   (fused)  (hidden)     (fused)
//            `group` slices at a time)                     `block_rows` rows at a time
// A part stops after `attention out` or has only up and down; its sums leave as f64. Bound anew for each task; holds no
// memory of its own but the views.
class LayerWork final : public StagedWork {
 public:
  void bind(Op op, const Operands& operands, int threads);
  // After the run: kData where a shard could not be opened.
  Status status() const { return status_; }

  int stages() const override;
  int items(int stage) const override;
  void run(int stage, int item, int thread) override;

 private:
  enum class Kind { kOpen, kProject, kAttend, kAttentionOut, kAttentionNorm, kUp, kDown, kFfnNorm };
  struct Step {
    Kind kind = Kind::kOpen;
    int part = 0;  // group of slices, or block of rows
  };
  struct Rows {
    int first = 0, count = 0;
  };
  // A product of all slices summed: context x O or hidden x Down.
  struct Reduction {
    MatrixKind kind = MatrixKind::kOutput;
    const float* a = nullptr;  // slice 0, row 0 of `rows`
    int64_t slice_bytes = 0;
    int lda = 0;
    const float* bias = nullptr;
    const float* residual = nullptr;  // [T, D]
  };

  Step step(int stage) const;
  int first_slice(int group) const { return group * space_.group; }
  int slices_of(int group) const { return std::min(space_.group, slices_ - first_slice(group)); }
  Rows block_of(int block) const;
  int splits(int rows, int items) const;
  static Rows split(Rows rows, int parts, int part);
  int query_blocks() const;

  void open(int item);
  void project(int group, int item, int thread);
  void fill_key_padding(float* keys, int first_column, int columns) const;
  void attend_block(int group, int item, int thread);
  void up(int block, int item, int thread);
  void reduce(const Reduction& reduction, Rows rows, int item, int thread);
  void leave(const Reduction& reduction, Rows rows, int column, int columns, const double* acc) const;
  void norm(const float* weight, const float* bias, int item) const;

  std::byte* scratch(int thread) const { return space_at_ + space_.scratch + thread * space_.scratch_bytes; }
  float* floats_at(int64_t offset) const { return reinterpret_cast<float*>(space_at_ + offset); }

  Op op_ = Op::kLayer;
  const Operands* operands_ = nullptr;
  const ModelShape* shape_ = nullptr;
  Workspace space_;
  std::byte* space_at_ = nullptr;
  const float* x_ = nullptr;  // [T, D]
  std::byte* out_ = nullptr;  // f32 or f64 [T, D]
  int threads_ = 1, tokens_ = 0, slices_ = 0, groups_ = 0, blocks_ = 0;
  std::array<SliceMatrices, kMaxSlices> views_;
  std::atomic<bool> failed_{false};
  std::mutex failure_;  // guards status_ while stages run
  Status status_;
};

}  // namespace tessera::cpu
