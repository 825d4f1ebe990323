// Costs of a device whose transfers have figures of their own: the link's, not those of its arithmetic.
#include <utility>

#include "framework/cost_model.h"
#include "framework/cost_model_learned.h"

namespace tessera {
namespace {

class WithTransfers final : public CostModel {
 public:
  WithTransfers(std::unique_ptr<CostModel> computes, std::unique_ptr<CostModel> transfers)
      : computes_(std::move(computes)), transfers_(std::move(transfers)) {}
  std::string_view kind() const override { return computes_->kind(); }
  Estimate estimate(const CostKey& key) const override { return of(key).estimate(key); }
  bool observe(const CostKey& key, Duration measured) override { return of(key).observe(key, measured); }
  std::vector<LearnedWindow> learned() const override {
    std::vector<LearnedWindow> all = computes_->learned();
    for (LearnedWindow& window : transfers_->learned()) all.push_back(std::move(window));
    return all;
  }
  // Kinds tell ops apart, so that each part finds its own.
  void restore(const std::vector<LearnedWindow>& windows) override {
    std::vector<LearnedWindow> computes, transfers;
    for (const LearnedWindow& window : windows)
      (LearnedRatios::op_of(window.kind) == Op::kTransfer ? transfers : computes).push_back(window);
    computes_->restore(computes);
    transfers_->restore(transfers);
  }

 private:
  CostModel& of(const CostKey& key) const { return key.op == Op::kTransfer ? *transfers_ : *computes_; }
  const std::unique_ptr<CostModel> computes_, transfers_;
};

}  // namespace

std::unique_ptr<CostModel> with_transfers(std::unique_ptr<CostModel> computes, std::unique_ptr<CostModel> transfers) {
  return std::make_unique<WithTransfers>(std::move(computes), std::move(transfers));
}

}  // namespace tessera
