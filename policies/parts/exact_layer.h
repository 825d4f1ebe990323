// Lists what one layer may be: every slice set and bits, as options of storage time, compute time, bytes and loss.
//
//   a slice:   absent | at 2 bits, loaded | ... | exact, loaded | as it is held          a class each
//   a layer:   how many slices of each class (its histogram), and for each histogram the assignment of least loss
//
// Times depend on the histogram alone (and on bytes, where shards of one bitwidth differ: then the least bytes count), so
// no assignment that is not listed can be better. Listed per width; what another option of that width dominates is left out.
#pragma once

#include <memory>
#include <vector>

#include "policies/parts/exact_times.h"

namespace tessera {

struct LayerOption {
  int64_t io = 0;       // ns of storage
  int64_t compute = 0;  // ns
  int64_t tail = 0;     // ns
  int64_t loss = 0;     // micro-nats before the scale, absent slices included
  int64_t bytes = 0;    // in host memory while the layer computes; 0 where that does not matter
  int64_t held = 0;     // of which were resident before
  int count = 0;        // slices present
  uint32_t histogram = 0;
};

// Slices by class; all vectors of counts with a sum of at most M, and of each class at most so many, by rising sum.
class Histograms {
 public:
  // nullptr where they are more than `most`.
  static std::shared_ptr<const Histograms> make(const std::vector<int>& capacity, int slices, size_t most);
  size_t size() const { return sums_.size(); }
  int sum(size_t v) const { return sums_[v]; }
  int count(size_t v, int c) const { return counts_[v * static_cast<size_t>(classes_) + static_cast<size_t>(c)]; }
  // The vector with one less of a class; -1 where it has none.
  int32_t less(size_t v, int c) const { return less_[v * static_cast<size_t>(classes_) + static_cast<size_t>(c)]; }

 private:
  int classes_ = 0;
  std::vector<uint8_t> sums_, counts_;
  std::vector<int32_t> less_;
};

// What a slice of the layer can be besides absent.
struct SliceClass {
  Bits bits = kAbsent;
  bool resident = false, decoded = false;
  bool operator==(const SliceClass&) const = default;
};

// What all layers' options are made from. Lives as long as one decision.
struct OptionSource {
  const PlanningView& view;
  const Residency& residency;
  const AccuracyModel& accuracy;
  std::vector<Bits> ladder;
  std::vector<int> widths;
  ExactTimes& times;
  int64_t room = INT64_MAX;  // bytes that a layer may take of host memory; options above it are left out
  bool weighs = false;       // whether bytes matter at all
};

class ExactLayer {
 public:
  // The classes of a layer's slices: their number says how many histograms there are.
  static std::vector<SliceClass> classes_of(const OptionSource& source, int layer);
  // How many slices can be of each.
  static std::vector<int> capacity_of(const OptionSource& source, int layer, const std::vector<SliceClass>& classes);
  ExactLayer(const OptionSource& source, int layer, std::vector<SliceClass> classes,
             std::shared_ptr<const Histograms> histograms, const ExactLayer* before);

  const std::vector<LayerOption>& options() const { return options_; }
  // [M]: the assignment behind an option.
  std::vector<Bits> bits_of(const LayerOption& option) const;

 private:
  void weigh(const OptionSource& source);
  void assign(const OptionSource& source);
  void charge_absent(const OptionSource& source);
  void price(const OptionSource& source);
  LayerTime work(const OptionSource& source, size_t v) const;
  void list(const OptionSource& source);

  int layer_ = 0, slices_ = 0;
  bool prefixes_ = false;
  std::vector<SliceClass> classes_;
  std::vector<uint8_t> class_at_;            // [M][class]: whether the slice can be of it
  std::vector<std::vector<int64_t>> bytes_;  // [class][n]: of its n smallest slices
  std::vector<std::vector<int64_t>> io_;     // [class][n]: ns to load them
  std::shared_ptr<const Histograms> histograms_;
  std::shared_ptr<const std::vector<LayerTime>> works_;  // by histogram; shared by layers of the same classes
  std::vector<int64_t> loss_;                            // by histogram: least
  std::vector<uint8_t> choice_;                          // [slice][histogram]: 0 absent, class + 1; one row where prefixes
  std::vector<LayerOption> options_;                     // by width, then by rising loss
};

// Leaves out every option that another one of the same width is at least as good as in everything.
void leave_out_dominated(std::vector<LayerOption>& options);

}  // namespace tessera
