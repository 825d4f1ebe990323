// Plans requests: view -> policy -> lower and replay -> check, and keeps the result under its key.
#include "scheduler/session_planner.h"

#include <algorithm>

#include "framework/registry.h"
#include "scheduler/plan_check.h"
#include "scheduler/takeover.h"
#include "shards/shard_format.h"

namespace tessera {
namespace {

// Plans that are kept for reuse; one for each token count and state of the buffer that a data set meets.
constexpr size_t kMostPlans = 1024;

Error invalid(const std::string& what) { return {ErrorCode::kInvalid, what}; }

// Bytes that a shard takes in memory once it is there.
Bytes held_bytes(const ModelShape& shape, const ResidentShard& shard) {
  return shard.decoded ? align_up({dense_layout(shape, 4).bytes}, 4096) : shape.bytes_of(shard.id, shard.bits);
}

// What is planned for, without its margin.
Duration without(const Margin& margin, Duration latency) {
  return from_seconds((latency - margin.setup_high).seconds() / margin.high);
}

// Puts the wanted residents into order, with their true sizes.
Status settle(const ModelShape& shape, Residency& wanted) {
  const auto by_id = [](const ResidentShard& a, const ResidentShard& b) { return a.id < b.id; };
  std::sort(wanted.shards.begin(), wanted.shards.end(), by_id);
  for (size_t i = 0; i < wanted.shards.size(); ++i) {
    ResidentShard& shard = wanted.shards[i];
    const std::string name = "layer " + std::to_string(shard.id.layer) + " slice " + std::to_string(shard.id.slice);
    if (i > 0 && wanted.shards[i - 1].id == shard.id) return Error{ErrorCode::kInternal, name + ": to be preloaded twice"};
    if (!shape.has_bits(shard.bits) || shape.bytes_of(shard.id, shard.bits).n <= 0)
      return Error{ErrorCode::kInternal,
                   name + ": to be preloaded at " + std::to_string(shard.bits) + " bits, which the store does not have"};
    shard.bytes = held_bytes(shape, shard);
  }
  std::sort(wanted.exits.begin(), wanted.exits.end());
  wanted.exits.erase(std::unique(wanted.exits.begin(), wanted.exits.end()), wanted.exits.end());
  for (const int depth : wanted.exits)
    if (!shape.legal_depth(depth))
      return Error{ErrorCode::kInternal, "exit head of depth " + std::to_string(depth) + ": to be preloaded, but not legal"};
  return {};
}

}  // namespace

Result<SessionPlanner> SessionPlanner::create(const ModelShape& shape, const AccuracyModel& accuracy, const Machine& machine,
                                              Bytes base) {
  SessionPlanner out(shape, accuracy, machine, base);
  const std::optional<DeviceId> storage = machine.platform.first(DeviceKind::kStorage);
  if (!storage) return invalid("platform " + machine.platform.name + ": no storage device is available");
  out.storage_ = *storage;
  std::string refused;
  for (size_t d = 0; d < machine.platform.devices.size(); ++d) {
    const DeviceDescription& device = machine.platform.devices[d];
    if (!computes(device.kind)) continue;
    if (device.available)
      out.compute_.push_back(static_cast<DeviceId>(d));
    else
      refused += "; " + device.name + ": " + device.why;
  }
  if (out.compute_.empty()) return invalid("platform " + machine.platform.name + ": no device computes" + refused);
  return out;
}

Result<Policy*> SessionPlanner::policy(const std::string& name) {
  std::unique_ptr<Policy>& known = policies_[name];
  if (known != nullptr) return known.get();
  const auto* entry = policies().find(name);
  if (entry == nullptr) {
    policies_.erase(name);
    return invalid(unknown_name("policy", name, policies().names()));
  }
  known = entry->make();
  return known.get();
}

Status SessionPlanner::check_request(const RequestOptions& options, int tokens) const {
  if (tokens < 1 || tokens > shape_.max_tokens)
    return invalid("request of " + std::to_string(tokens) + " tokens; model " + shape_.name + " takes 1 to " +
                   std::to_string(shape_.max_tokens));
  if (!(options.quantile >= 0.5 && options.quantile < 1))
    return invalid("quantile " + std::to_string(options.quantile) + ": must be at least 0.5 and below 1");
  if (options.budgets.latency.ns < 0 || options.budgets.memory.n < 0 || options.budgets.preload.n < 0)
    return invalid("budgets must not be negative: latency " + to_string(options.budgets.latency) + ", memory " +
                   to_string(options.budgets.memory) + ", preload " + to_string(options.budgets.preload));
  if (options.depth && !shape_.legal_depth(*options.depth))
    return invalid("depth " + std::to_string(*options.depth) + ": not a legal depth of model " + shape_.name);
  if (options.width && !shape_.legal_width(*options.width))
    return invalid("width " + std::to_string(*options.width) + ": not a legal width of model " + shape_.name);
  if (options.bits && !shape_.has_bits(*options.bits))
    return invalid(std::to_string(*options.bits) + " bits: the store of model " + shape_.name + " does not hold them");
  return {};
}

// Without a simulation there is nothing that a replay would leave out.
Margin SessionPlanner::margin(const RequestOptions& options, bool first) const {
  if (machine_.virtual_time && machine_.simulation == nullptr) return {};
  return machine_.costs->requests().margin({options.policy, first}, options.quantile);
}

PlanningView SessionPlanner::view(const RequestOptions& options, int tokens, const ReplayContext& context,
                                  const PlanReplay& replay) const {
  PlanningView view{
      shape_, accuracy_, machine_.platform, context.costs, replay, context.residency, {}, {}, 0, 0, 0, false, {}, {}, {},
      0.95,   {}};
  view.budgets = options.budgets;
  view.compute_devices = compute_;
  view.storage = storage_;
  view.tokens = tokens;
  view.seed = options.seed;
  view.best_effort = options.best_effort;
  view.depth = options.depth;
  view.width = options.width;
  view.bits = options.bits;
  view.quantile = options.quantile;
  view.knobs = options.knobs;
  if (!machine_.bindings.empty()) view.supports = [this](const CostKey& key) { return supports(key); };
  return view;
}

ReplayContext SessionPlanner::context(const RequestOptions& options, int tokens, const Residency& residency,
                                      const CostOracle& costs) const {
  return {shape_, accuracy_, machine_.platform, costs, residency, storage_, tokens, options.budgets.memory, base_};
}

Result<PlannedRequest> SessionPlanner::decide(Policy& policy, const RequestOptions& options, int tokens,
                                              const Residency& residency, const Margin& margin) {
  const MarginCosts costs(*machine_.costs, margin, options.quantile);
  const ReplayContext replayed_against = context(options, tokens, residency, costs);
  const GraphReplay replay(replayed_against);
  const PlanningView asked = view(options, tokens, replayed_against, replay);
  TESSERA_ASSIGN(Decision decision, policy.decide(asked));
  PlannedRequest out;
  out.margin = margin;
  if (auto* infeasible = std::get_if<Infeasible>(&decision)) {
    out.infeasible = std::move(*infeasible);
    const Duration least = out.infeasible->latency.value_or(kForever);
    out.refused_by_margin = least != kForever && without(margin, least) <= options.budgets.latency;
    return out;
  }
  Plan& plan = std::get<Plan>(decision);
  Result<ReplayedPlan> replayed = replay.replay_fully(plan);
  if (!replayed.ok()) return illegal_plan(policy.name(), replayed.error());
  TESSERA_TRY(check_plan(asked, policy.name(), plan, *replayed, machine_.bindings));
  TESSERA_ASSIGN(out, predicted(replay, std::move(plan), replayed.take()));
  out.margin = margin;
  return out;
}

Status SessionPlanner::show(const RequestOptions& options, int tokens, const Residency& residency, const Margin& margin,
                            const std::function<Status(const Bench&)>& look) const {
  TESSERA_TRY(check_request(options, tokens));
  const MarginCosts costs(*machine_.costs, margin, options.quantile);
  const ReplayContext replayed_against = context(options, tokens, residency, costs);
  const GraphReplay replay(replayed_against);
  const PlanningView asked = view(options, tokens, replayed_against, replay);
  return look({asked, replay, machine_.bindings});
}

SessionPlanner::RunningView::RunningView(const SessionPlanner& planner, const RequestOptions& options, int tokens,
                                         Residency held, const Margin& margin)
    : residency(std::move(held)),
      costs(*planner.machine_.costs, margin, options.quantile),
      context(planner.context(options, tokens, residency, costs)),
      replay(context),
      view(planner.view(options, tokens, context, replay)) {}

Policy* SessionPlanner::replans(const RequestOptions& options) {
  const Result<Policy*> known = policy(options.policy);
  return known.ok() && (*known)->replans(options.knobs) ? *known : nullptr;
}

// A plan with all that its replay said.
Result<PlannedRequest> SessionPlanner::predicted(const GraphReplay& replay, Plan plan, ReplayedPlan replayed) {
  PlannedRequest out;
  out.plan = std::move(plan);
  out.plan.predicted = replayed.prediction;
  out.plan.predicted.expected = replayed.prediction.latency;
  if (out.plan.quantile != 0.5) {
    Plan typical = out.plan;
    typical.quantile = 0.5;
    TESSERA_ASSIGN(ReplayedPlan expected, replay.replay_fully(typical));
    out.plan.predicted.expected = expected.prediction.latency;
    out.expected = std::move(expected.timeline.end);
  }
  out.timeline = std::move(replayed.timeline);
  if (out.expected.empty()) out.expected = out.timeline.end;
  out.graph = std::move(replayed.lowered.graph);
  out.buffers = std::move(replayed.lowered.buffers);
  out.fixed = std::move(replayed.lowered.fixed);
  out.residents = std::move(replayed.lowered.residents);
  return out;
}

bool SessionPlanner::supports(const CostKey& key) const {
  if (machine_.virtual_time) return true;
  if (key.device >= machine_.bindings.size()) return false;
  const DeviceBinding& binding = machine_.bindings[key.device];
  return binding.backend != nullptr && binding.backend->supports(binding.device, key, shape_).yes;
}

void SessionPlanner::quarantine(DeviceId device) {
  std::vector<DeviceId> left = compute_;
  std::erase(left, device);
  const std::function<bool(const CostKey&)> able = [this](const CostKey& key) { return supports(key); };
  if (!can_answer({machine_.platform, *machine_.costs, left, able, 1})) return;
  if (left.size() == compute_.size()) return;
  compute_ = std::move(left);
  quarantined_.push_back(device);
  plans_.clear();
}

Result<PlannedRequest> SessionPlanner::take_over(const RequestOptions& options, int tokens, const Residency& residency,
                                                 const Rest& rest) {
  const auto lost = [&](DeviceId d) { return std::find(rest.lost.begin(), rest.lost.end(), d) != rest.lost.end(); };
  std::vector<DeviceId> left = compute_;
  std::erase_if(left, lost);
  const ReplayContext replayed_against = context(options, tokens, residency, *machine_.costs);
  const GraphReplay replay(replayed_against);
  const std::function<bool(const CostKey&)> able = [this](const CostKey& key) { return supports(key); };
  if (!can_answer({machine_.platform, *machine_.costs, left, able, tokens})) {  // they may have been slow only
    left.insert(left.end(), quarantined_.begin(), quarantined_.end());
    std::erase_if(left, lost);
  }
  TESSERA_ASSIGN(const Plan whole,
                 place_anew({machine_.platform, *machine_.costs, left, able, tokens}, rest.plan, rest.layer));
  std::optional<PlannedRequest> late;
  Error why{ErrorCode::kInternal, "no legal depth"};
  for (auto depth = shape_.depths.rbegin(); depth != shape_.depths.rend(); ++depth) {
    const bool asked_for = *depth == rest.plan.depth || !options.depth;
    if (*depth > rest.plan.depth || *depth < rest.layer.value_or(0) || !asked_for) continue;
    Plan plan = cut_to(whole, *depth);
    plan.loads = loads_for(machine_.platform, residency, plan);
    Result<ReplayedPlan> replayed = replay.replay_fully(plan);
    if (replayed.ok()) {
      const Status able_to = machine_.bindings.empty()
                                 ? Status{}
                                 : check_support(machine_.platform, shape_, replayed->lowered.graph, machine_.bindings);
      if (!able_to.ok()) return Error{ErrorCode::kDevice, able_to.error().message};
      const bool in_time = rest.elapsed + replayed->prediction.latency <= options.budgets.latency;
      TESSERA_ASSIGN(PlannedRequest found, predicted(replay, std::move(plan), replayed.take()));
      found.id = "p" + std::to_string(++plan_count_);
      if (in_time) return found;
      if (!late) late = std::move(found);
    } else if (!late) {
      why = replayed.error();
    }
  }
  if (!late) return why;
  return std::move(*late);
}

std::string SessionPlanner::key(const RequestOptions& options, int tokens, const std::string& fingerprint,
                                const Margin& margin) const {
  std::string key = options.policy;
  const auto add = [&](int64_t n) { key += '|' + std::to_string(n); };
  add(tokens);
  add(options.budgets.latency.ns);
  add(options.budgets.memory.n);
  add(options.budgets.preload.n);
  add(options.depth.value_or(0));
  add(options.width.value_or(0));
  add(options.bits.value_or(0));
  add(static_cast<int64_t>(options.quantile * 1e9));
  add(options.best_effort);
  add(static_cast<int64_t>(options.seed));
  add(static_cast<int64_t>(machine_.costs->version()));
  for (const double factor : {margin.middle, margin.high}) add(static_cast<int64_t>(factor * 1e6));
  for (const Duration setup : {margin.setup, margin.setup_high}) add(setup.ns);
  for (const auto& [name, value] : options.knobs) key += '|' + name + '=' + std::to_string(value.size()) + ':' + value;
  return key + '#' + fingerprint;
}

Result<SessionPlanner::Planned> SessionPlanner::plan(const RequestOptions& options, int tokens, const Situation& situation) {
  TESSERA_TRY(check_request(options, tokens));
  const Residency& residency = situation.residency;
  const Margin corrected = margin(options, situation.first);
  const std::string name = key(options, tokens, situation.fingerprint, corrected);
  if (const auto known = plans_.find(name); known != plans_.end()) return Planned{known->second, true};
  const Duration start = WallClock::instance().now();
  TESSERA_ASSIGN(Policy* const chosen, policy(options.policy));
  TESSERA_ASSIGN(PlannedRequest request, decide(*chosen, options, tokens, residency, corrected));
  if (request.infeasible && (!residency.shards.empty() || !residency.exits.empty())) {
    // What is resident was kept for another request; it may be what this one has no room for.
    TESSERA_ASSIGN(PlannedRequest without, decide(*chosen, options, tokens, Residency{}, corrected));
    if (!without.infeasible) {
      request = std::move(without);
      request.drops_residents = true;
    }
  }
  request.planning = WallClock::instance().now() - start;
  request.id = "p" + std::to_string(++plan_count_);
  if (plans_.size() >= kMostPlans) plans_.clear();
  auto shared = std::make_shared<const PlannedRequest>(std::move(request));
  plans_.emplace(name, shared);
  return Planned{shared, false};
}

Result<Bytes> SessionPlanner::rehearse(const RequestOptions& options, int tokens, const Situation& situation) {
  TESSERA_ASSIGN(Policy* const chosen, policy(options.policy));
  TESSERA_ASSIGN(const PlannedRequest request,
                 decide(*chosen, options, tokens, situation.residency, margin(options, situation.first)));
  return request.infeasible ? Bytes{} : request.plan.predicted.peak - base_;
}

Result<Residency> SessionPlanner::preload(const RequestOptions& options, int tokens) {
  TESSERA_TRY(check_request(options, tokens));
  TESSERA_ASSIGN(Policy* const chosen, policy(options.policy));
  const Residency none;
  const MarginCosts costs(*machine_.costs, margin(options, false), options.quantile);
  const ReplayContext replayed_against = context(options, tokens, none, costs);
  const GraphReplay replay(replayed_against);
  TESSERA_ASSIGN(Residency wanted, chosen->preload(view(options, tokens, replayed_against, replay)));
  if (const Status status = settle(shape_, wanted); !status.ok()) return illegal_plan(chosen->name(), status.error());
  Bytes bytes = wanted.charged_to(machine_.platform, 0);
  for (const int depth : wanted.exits) bytes += shape_.exit_bytes[depth - 1];
  if (!wanted.shards.empty() && bytes > options.budgets.memory - base_)
    return illegal_plan(chosen->name(),
                        {ErrorCode::kInternal, "preloads " + std::to_string(bytes.n) + " bytes; the memory budget leaves " +
                                                   std::to_string((options.budgets.memory - base_).n)});
  return wanted;
}

}  // namespace tessera
