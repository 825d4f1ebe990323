// Executes embed, combine and exit as stages of work items.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/stages.h"
#include "backends/cpu/workspace.h"

namespace tessera::cpu {

// LayerNorm(word + position + token type) by tokens.
class EmbedWork final : public StagedWork {
 public:
  explicit EmbedWork(const Operands& operands) : operands_(operands) {}
  int stages() const override { return 1; }
  int items(int stage) const override;
  void run(int stage, int item, int thread) override;

 private:
  const Operands& operands_;
};

// LayerNorm(sum of the partials + bias + residual) by tokens. Partials lie on the grid, so that their sum is exact.
class CombineWork final : public StagedWork {
 public:
  CombineWork(const Task& task, const Operands& operands, int threads);
  int stages() const override { return 1; }
  int items(int stage) const override;
  void run(int stage, int item, int thread) override;

 private:
  const Operands& operands_;
  const bool ffn_;
  const Workspace space_;
};

// tanh pooler on each sequence's first token, then the classifier.
class ExitWork final : public StagedWork {
 public:
  explicit ExitWork(const Operands& operands) : operands_(operands) {}
  int stages() const override { return 2; }
  int items(int stage) const override;
  void run(int stage, int item, int thread) override;

 private:
  void pool(int item) const;
  void classify(int sequence) const;
  const Operands& operands_;
};

}  // namespace tessera::cpu
