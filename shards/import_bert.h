// Knows the names of a BERT classifier's tensors and hands them out as fp32.
#pragma once

#include <string>
#include <vector>

#include "framework/model_shape.h"
#include "shards/safetensors.h"
#include "shards/slicing.h"

namespace tessera {

// One exit head, fp32: pooler [D, D], its bias [D], classifier [labels, D], its bias [labels].
struct DenseExit {
  std::vector<float> pooler_weight, pooler_bias, classifier_weight, classifier_bias;
};

// A checkpoint that is known to hold a whole BERT sequence classifier: every tensor is there with the right dims and a type
// that can be read. Const members are safe from any thread.
class BertCheckpoint {
 public:
  static Result<BertCheckpoint> open(const std::string& directory);

  // All but what a store adds: bitwidths and byte sizes.
  const ModelShape& shape() const { return shape_; }
  // The type that stores every sliced matrix, row and exit head exactly: theirs, or fp32 where they differ.
  ElementType exact_type() const { return exact_type_; }

  Result<DenseLayer> layer(int l) const;
  Result<DenseExit> exit(int depth) const;  // one of shape().depths
  Result<std::vector<float>> word_rows(int from, int to) const;
  Result<std::vector<float>> position_rows(int from, int to) const;
  // Norms, biases and token types in the order of ResidentLayout (store_index.h).
  Result<std::vector<std::vector<float>>> residents() const;

 private:
  struct Tensor {
    std::string name;
    std::vector<int64_t> dims;
  };
  explicit BertCheckpoint(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}
  // The spelling that the checkpoint uses: with or without "bert.", LayerNorm.weight/bias or .gamma/.beta.
  std::string spelled(const std::string& name) const;
  std::vector<Tensor> layer_tensors(int l) const;
  std::vector<Tensor> exit_tensors(int depth) const;
  std::vector<Tensor> resident_tensors() const;
  Tensor word_tensor() const;
  Tensor position_tensor() const;
  Status settle_labels(const std::string& directory);
  Status check_tensors();
  Result<std::vector<float>> read(const Tensor& tensor) const;

  Checkpoint checkpoint_;
  ModelShape shape_;
  ElementType exact_type_ = ElementType::kF32;
};

}  // namespace tessera
