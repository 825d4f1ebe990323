// Reads plans layer by layer, and finds each slice its load or its resident.
#include "shards/plan_needs.h"

#include <algorithm>
#include <bit>
#include <string>

namespace tessera {
namespace {

SliceMask bit(int slice) { return SliceMask{1} << slice; }
Error illegal(const std::string& what) { return {ErrorCode::kInternal, what}; }
std::string where(int layer, int slice) { return "layer " + std::to_string(layer) + " slice " + std::to_string(slice); }

// Lives for one call of read_plan().
class Reading {
 public:
  Reading(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform, DeviceId storage,
          int tokens)
      : shape_(shape), plan_(plan), residency_(residency), platform_(platform), storage_(storage), tokens_(tokens) {}

  Result<PlanNeeds> run() {
    TESSERA_TRY(check_form());
    TESSERA_TRY(find_layers());
    TESSERA_TRY(find_loads());
    TESSERA_TRY(find_kept());
    return std::move(out_);
  }

 private:
  // The plan's arrays have the sizes that everything below indexes.
  Status check_form() const {
    if (shape_.exit_bytes.size() != static_cast<size_t>(shape_.layers) || shape_.slices < 1 || shape_.slices > kMaxSlices)
      return illegal("the model's shape has " + std::to_string(shape_.exit_bytes.size()) + " exit heads for " +
                     std::to_string(shape_.layers) + " layers, and " + std::to_string(shape_.slices) + " slices");
    if (plan_.depth < 1 || plan_.depth > shape_.layers || plan_.slices != shape_.slices)
      return illegal("depth " + std::to_string(plan_.depth) + ", rows of " + std::to_string(plan_.slices) +
                     " slices; the model has " + std::to_string(shape_.layers) + " layers of " +
                     std::to_string(shape_.slices));
    if (plan_.bits.size() != static_cast<size_t>(plan_.depth) * plan_.slices ||
        plan_.placement.size() != static_cast<size_t>(plan_.depth))
      return illegal(std::to_string(plan_.bits.size()) + " bits and " + std::to_string(plan_.placement.size()) +
                     " placements; depth " + std::to_string(plan_.depth) + " needs " +
                     std::to_string(plan_.depth * plan_.slices) + " and " + std::to_string(plan_.depth));
    if (tokens_ < 1 || tokens_ > shape_.max_tokens)
      return illegal(std::to_string(tokens_) + " tokens; the model takes 1 to " + std::to_string(shape_.max_tokens));
    if (storage_ >= platform_.devices.size())
      return illegal("storage device " + std::to_string(storage_) + " does not exist");
    if (plan_.resumes_at && (*plan_.resumes_at < 0 || *plan_.resumes_at > plan_.depth || !plan_.pipelined))
      return illegal("goes on at layer " + std::to_string(*plan_.resumes_at) + " of " + std::to_string(plan_.depth) +
                     (plan_.pipelined ? "" : ", and not as a pipeline"));
    if (!(plan_.quantile >= 0.5 && plan_.quantile < 1))
      return illegal("quantile " + std::to_string(plan_.quantile) + "; must be at least 0.5 and below 1");
    return {};
  }

  Status find_layers() {
    out_.layers.assign(plan_.depth, {});
    out_.residents.assign(std::max<size_t>(platform_.memories.size(), 1), {});
    if (plan_.home && (*plan_.home >= platform_.devices.size() || !computes(platform_.devices[*plan_.home].kind)))
      return illegal("home: device " + std::to_string(*plan_.home) + " does not exist, or does not compute");
    for (int l = 0; l < plan_.depth; ++l) {
      PlanLayer& layer = out_.layers[l];
      for (int j = 0; j < plan_.slices; ++j) {
        const Bits bits = plan_.bits[static_cast<size_t>(l) * plan_.slices + j];
        if (bits == kAbsent) continue;
        if (!valid_bits(bits)) return illegal(where(l, j) + ": " + std::to_string(bits) + " bits; 1 to 8 or 32 exist");
        if (shape_.bytes_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}, bits).n <= 0)
          return illegal(where(l, j) + ": the store has no version at " + std::to_string(bits) + " bits");
        layer.slices |= bit(j);
        layer.at[bits_level(bits)] |= bit(j);
      }
      TESSERA_TRY(check_placement(l));
    }
    return {};
  }

  Status check_placement(int l) const {
    SliceMask placed = 0;
    for (const LayerPart& part : plan_.placement[l]) {
      if (part.device >= platform_.devices.size())
        return illegal("layer " + std::to_string(l) + ": device " + std::to_string(part.device) + " does not exist");
      const DeviceDescription& device = platform_.devices[part.device];
      if (!computes(device.kind))
        return illegal("layer " + std::to_string(l) + ": device " + device.name + " does not compute");
      if (device.memory != 0 && !device.own_buffers)
        return illegal("layer " + std::to_string(l) + ": device " + device.name +
                       " computes in a memory that no transfer reaches; describe it with buffers of its own");
      if (part.slices == 0 || (part.slices & placed) != 0)
        return illegal("layer " + std::to_string(l) + ": a part on " + device.name +
                       (part.slices == 0 ? " has no slices" : " repeats slices of another part"));
      placed |= part.slices;
    }
    if (placed != out_.layers[l].slices || placed == 0)
      return illegal("layer " + std::to_string(l) + ": placement covers " + std::to_string(slice_count(placed)) +
                     " slices; the layer has " + std::to_string(slice_count(out_.layers[l].slices)) +
                     ", and needs 1 at least");
    return {};
  }

  // Each slice of a load must be of the plan at those bits, not resident, and loaded once; the rest must be resident.
  Status find_loads() {
    for (size_t i = 0; i < plan_.loads.size(); ++i) TESSERA_TRY(find_load(i));
    if (out_.rows_load == 0 && !plan_.resumes_at) return illegal("rows: no load of the request's embedding rows");
    const bool exit_resident =
        std::find(residency_.exits.begin(), residency_.exits.end(), plan_.depth) != residency_.exits.end();
    if (exit_resident == (out_.exit_load != 0))
      return illegal("exit head of depth " + std::to_string(plan_.depth) +
                     (exit_resident ? ": loaded though it is resident" : ": no load and not resident"));
    if (exit_resident) out_.residents[0] += shape_.exit_bytes[plan_.depth - 1];
    for (int l = first_layer(); l < plan_.depth; ++l) TESSERA_TRY(find_residents(l));
    for (const ResidentShard& held : residency_.shards)  // of layers that have run: kept for the next request
      if (held.id.layer < first_layer() && plan_.uses(platform_, held))
        out_.residents[platform_.memory(held.space)] += held.bytes;
    for (const ResidentShard& held : residency_.shards)
      if (plan_.stays(held)) out_.residents[platform_.memory(held.space)] += held.bytes;
    for (const int depth : residency_.exits)
      if (depth != plan_.depth && plan_.exit_stays(depth)) out_.residents[0] += shape_.exit_bytes[depth - 1];
    return {};
  }

  Status find_load(size_t i) {
    const PlannedLoad& load = plan_.loads[i];
    if (load.op == Op::kLoadRows && plan_.resumes_at)
      return illegal("rows: loaded, but the request goes on after its embedding");
    if (load.op == Op::kLoadRows || load.op == Op::kLoadExit) {
      size_t& at = load.op == Op::kLoadRows ? out_.rows_load : out_.exit_load;
      if (at != 0) return illegal(load.op == Op::kLoadRows ? "rows: loaded twice" : "exit head: loaded twice");
      at = i + 1;
      return {};
    }
    if (load.op != Op::kLoadShards || load.layer < first_layer() || load.layer >= plan_.depth || !valid_bits(load.bits))
      return illegal("load " + std::to_string(i) + ": of layer " + std::to_string(load.layer) + " at " +
                     std::to_string(load.bits) + " bits; the plan has no such shards");
    PlanLayer& layer = out_.layers[load.layer];
    const SliceMask wrong = (load.slices & ~layer.at[bits_level(load.bits)]) | (load.slices & layer.loaded);
    if (wrong != 0 || load.slices == 0)
      return illegal(where(load.layer, wrong ? std::countr_zero(wrong) : 0) + ": loaded twice, or at " +
                     std::to_string(load.bits) + " bits that are not the plan's, or a load without slices");
    layer.loaded |= load.slices;
    layer.last_load = i + 1;
    return {};
  }

  Status find_residents(int l) {
    PlanLayer& layer = out_.layers[l];
    if (residency_.shards.empty()) {
      if (const SliceMask missing = layer.slices & ~layer.loaded; missing != 0)
        return illegal(where(l, std::countr_zero(missing)) + ": no load and not resident");
      return {};
    }
    for (SliceMask rest = layer.slices; rest != 0; rest &= rest - 1) {
      const int j = std::countr_zero(rest);
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const ResidentShard* held = residency_.find(id);
      const bool resident = held != nullptr && plan_.uses(platform_, *held);
      const bool loaded = (layer.loaded & bit(j)) != 0;
      if (resident && loaded) return illegal(where(l, j) + ": loaded though it is resident at the plan's bits");
      if (!resident && !loaded) return illegal(where(l, j) + ": no load and not resident");
      if (!resident) continue;
      if (held->decoded) layer.decoded |= bit(j);
      if (held->space != plan_.space_of(platform_, id)) layer.taken_over |= bit(j);
      out_.residents[platform_.memory(held->space)] += held->bytes;
    }
    return {};
  }

  // What lies in a part's space is released by its last task, except what is kept.
  Status find_kept() {
    for (const ShardId id : plan_.keep) {
      if (id.layer < first_layer() || id.layer >= plan_.depth || id.slice < 0 || id.slice >= plan_.slices)
        return illegal(where(id.layer, id.slice) + ": kept, but the plan has no such shard");
      PlanLayer& layer = out_.layers[id.layer];
      if ((layer.slices & bit(id.slice)) == 0 || (layer.kept & bit(id.slice)) != 0)
        return illegal(where(id.layer, id.slice) + ": kept twice, or kept though absent");
      layer.kept |= bit(id.slice);
    }
    for (int l = first_layer(); l < plan_.depth; ++l) {
      for (const LayerPart& part : plan_.placement[l]) {
        int64_t bytes = 0;
        for (SliceMask rest = part.slices & ~out_.layers[l].kept; rest != 0; rest &= rest - 1)
          bytes += bytes_in_part(l, std::countr_zero(rest));
        out_.layers[l].release.push_back(bytes);
      }
    }
    return {};
  }

  // That a slice occupies in its part's space.
  int64_t bytes_in_part(int l, int j) const {
    const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
    const bool brought = ((out_.layers[l].loaded | out_.layers[l].taken_over) & bit(j)) != 0;
    return brought ? shape_.bytes_of(id, plan_.bits_of(id)).n : residency_.find(id)->bytes.n;
  }

  int first_layer() const { return plan_.resumes_at.value_or(0); }

  const ModelShape& shape_;
  const Plan& plan_;
  const Residency& residency_;
  const Platform& platform_;
  const DeviceId storage_;
  const int tokens_;
  PlanNeeds out_;
};

}  // namespace

Result<PlanNeeds> read_plan(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                            DeviceId storage, int tokens) {
  return Reading(shape, plan, residency, platform, storage, tokens).run();
}

}  // namespace tessera
