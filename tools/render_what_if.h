// Prints what other budgets would change, and what the next step of each would buy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/what_if.h"
#include "tools/commands.h"
#include "tools/terminal.h"

namespace tessera {

// Budgets that differ from the request's in what is given.
struct WhatIf {
  std::string text;  // as given
  std::optional<Duration> latency;
  std::optional<Bytes> memory, preload;
  Budgets over(Budgets budgets) const;
};
// "latency=30ms,memory=16MiB"; kInvalid names what cannot be read, and the remedy.
Result<WhatIf> parse_what_if(const std::string& text);

struct WhatIfAnswer {
  WhatIf asked;
  Budgets budgets;
  BudgetProbe::Planned planned;
};
struct WhatIfReport {
  Budgets budgets;
  BudgetProbe::Planned now;
  std::vector<WhatIfAnswer> answers;
  std::vector<ShadowPrice> prices;
};
// Asks the policy again for each, then for the shadow prices of every limited budget.
Result<WhatIfReport> ask_what_if(BudgetProbe& probe, const std::vector<WhatIf>& asked);

std::string render_what_if(const WhatIfReport& report, int columns, const Painter& paint);
// Adds "whatif" and "shadow_prices".
void add_what_if(const WhatIfReport& report, const ModelShape& shape, const Platform& platform, Json& json);

}  // namespace tessera
