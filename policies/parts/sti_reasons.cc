// Words one short reason a shard.
#include "policies/parts/sti_reasons.h"

#include <string>

namespace tessera {
namespace {

std::string bits_text(Bits bits) { return bits == kExact ? "exact" : std::to_string(bits) + "b"; }

std::string base_reason(const Residency& residency, ShardId id, Bits base) {
  const ResidentShard* held = residency.find(id);
  if (held != nullptr) return "preloaded at " + bits_text(held->bits);
  return "pass 1: " + bits_text(base) + " for all";
}

}  // namespace

void explain_sti(Plan& plan, const Residency& residency, Bits base, const std::vector<Upgrade>& upgrades, size_t applied) {
  // The last upgrade of each shard, and whether the replay undid it.
  struct Last {
    const Upgrade* done = nullptr;
    const Upgrade* undone = nullptr;
  };
  std::vector<Last> last(plan.bits.size());
  for (size_t i = 0; i < upgrades.size(); ++i) {
    Last& of = last[static_cast<size_t>(upgrades[i].id.layer) * plan.slices + upgrades[i].id.slice];
    (i < applied ? of.done : of.undone) = &upgrades[i];
  }
  plan.explain.clear();
  for (size_t at = 0; at < plan.bits.size(); ++at) {
    if (plan.bits[at] == kAbsent) continue;
    const ShardId id{static_cast<int16_t>(at / plan.slices), static_cast<int16_t>(at % plan.slices)};
    std::string text;
    if (const Upgrade* done = last[at].done)
      text = "pass 2: rank " + std::to_string(done->rank) + ", raised to " + bits_text(done->to) + ", " +
             to_string(done->left) + " of AIB left";
    else
      text = base_reason(residency, id, base);
    if (const Upgrade* undone = last[at].undone) text += "; no room for " + bits_text(undone->to) + " by the replay";
    plan.explain.push_back({id, std::move(text)});
  }
}

}  // namespace tessera
