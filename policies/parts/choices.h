// Lists what a policy may choose from: depths, widths and bitwidths, narrowed by what was given by hand.
#pragma once

#include <string>
#include <vector>

#include "framework/policy.h"

namespace tessera {

struct Choices {
  std::vector<int> depths;     // ascending, not empty
  std::vector<int> widths;     // ascending, not empty
  std::vector<Bits> ladder;    // ascending, not empty: what the store holds and `device` computes with
  DeviceId device = 0;         // that computes where one device does: the first of the user's order that can
  std::vector<Bits> anywhere;  // what the store holds and some device computes with
};

// kInvalid where the request cannot be understood for this model: names what was asked and what there is.
Result<Choices> choices_of(const PlanningView& view);

// "depth 6, width 12 and 2 bits as given"; empty where nothing was given by hand.
std::string given_by_hand(const PlanningView& view);

}  // namespace tessera
