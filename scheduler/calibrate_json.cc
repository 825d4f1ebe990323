// Writes figures as JSON and reads them back; what is missing or impossible makes the whole text worthless.
#include <cmath>

#include <nlohmann/json.hpp>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 3;
constexpr int64_t kLongest = 1'000'000'000'000;  // ns; no calibrated task takes longer

// A number within [least, most], or nothing: damaged files must not become costs.
bool number(const Json& object, const char* key, double least, double most, double& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  value = found->get<double>();
  return std::isfinite(value) && value >= least && value <= most;
}

bool whole(const Json& object, const char* key, int64_t least, int64_t most, int64_t& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  value = found->get<int64_t>();
  return value >= least && value <= most;
}

bool flag(const Json& object, const char* key, bool& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_boolean()) return false;
  value = found->get<bool>();
  return true;
}

bool words(const Json& object, const char* key, std::string& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  value = found->get<std::string>();
  return true;
}

bool numbers(const Json& j, const char* key, std::vector<double>& list) {
  const auto found = j.find(key);
  if (found == j.end() || !found->is_array() || found->size() > 1000) return false;
  for (const Json& value : *found) {
    if (!value.is_number()) return false;
    list.push_back(value.get<double>());  // restore() refuses what cannot be
  }
  return true;
}

template <typename T>
bool read_list(const Json& j, const char* key, bool (*read)(const Json&, T&), std::vector<T>& list) {
  const auto found = j.find(key);
  if (found == j.end() || !found->is_array() || found->size() > 100'000) return false;
  for (const Json& entry : *found) {
    T value;
    if (!entry.is_object() || !read(entry, value)) return false;
    list.push_back(std::move(value));
  }
  return true;
}

// A member that may be missing, but if it is there, must be right.
template <typename T>
bool read_optional(const Json& j, const char* key, bool (*read)(const Json&, T&), std::optional<T>& value) {
  const auto found = j.find(key);
  if (found == j.end()) return true;
  return found->is_object() && read(*found, value.emplace());
}

template <typename T, typename Write>
Json list_json(const std::vector<T>& list, Write write) {
  Json j = Json::array();
  for (const T& entry : list) j.push_back(write(entry));
  return j;
}

void put_summary(Json& j, const Summary& s) {
  j["mean_ns"] = s.estimate.mean.ns;
  j["p95_ns"] = s.estimate.p95.ns;
  j["variance_ns2"] = s.estimate.variance_ns2;
  j["samples"] = s.estimate.samples;
  j["half_width"] = s.half_width;
  j["level"] = s.level;
}

bool read_summary(const Json& j, Summary& s) {
  Estimate& e = s.estimate;
  e.provenance = Provenance::kMeasured;
  return whole(j, "mean_ns", 1, kLongest, e.mean.ns) && whole(j, "p95_ns", e.mean.ns, kLongest, e.p95.ns) &&
         number(j, "variance_ns2", 0, 1e24, e.variance_ns2) && whole(j, "samples", 1, INT64_MAX, e.samples) &&
         number(j, "half_width", 0, 1e9, s.half_width) && number(j, "level", 0, 1, s.level);
}

Json fit_json(const PowerFit& fit) {
  return {{"a", fit.a}, {"b", fit.b}, {"c", fit.c}, {"relative_spread", fit.relative_spread}, {"samples", fit.samples}};
}

bool read_fit(const Json& j, PowerFit& fit) {
  return number(j, "a", 0, 1, fit.a) && number(j, "b", 0, 4, fit.b) && number(j, "c", 0, 1000, fit.c) &&
         number(j, "relative_spread", 0, 1000, fit.relative_spread) && whole(j, "samples", 0, INT64_MAX, fit.samples);
}

Json move_json(const MovePoint& p) {
  Json j = {
      {"op", static_cast<int>(p.op)}, {"bits", p.bits}, {"count", p.count}, {"to_host", p.to_host}, {"bytes", p.bytes}};
  put_summary(j, p.taken);
  return j;
}

bool read_move(const Json& j, MovePoint& p) {
  int64_t op = 0, bits = 0, count = 0;
  if (!whole(j, "op", 0, kOpCount - 1, op) || !whole(j, "bits", 0, kExact, bits) || !whole(j, "count", 1, 100'000, count))
    return false;
  p.op = static_cast<Op>(op), p.bits = static_cast<Bits>(bits), p.count = static_cast<int>(count);
  return flag(j, "to_host", p.to_host) && whole(j, "bytes", 1, INT64_MAX, p.bytes) && read_summary(j, p.taken);
}

bool read_storage(const Json& j, StorageFigures& s) {
  return read_fit(j, s.fit) && whole(j, "per_read_ns", 0, kLongest, s.per_read.ns) &&
         read_list(j, "points", read_move, s.points);
}

bool read_transfers(const Json& j, TransferFigures& t) {
  return read_optional(j, "to_device", read_fit, t.to_device) && read_optional(j, "to_host", read_fit, t.to_host) &&
         whole(j, "per_move_ns", 0, kLongest, t.per_move.ns) && read_list(j, "points", read_move, t.points);
}

Json point_json(const ComputePoint& p) {
  int level = 0;
  for (int i = 1; i < kBitsLevels; ++i)
    if (p.key.bits[i] > 0) level = i;
  Json j = {{"op", static_cast<int>(p.key.op)}, {"tokens", p.key.tokens},   {"slices", p.key.slices},
            {"bits", level_bits(level)},        {"decoded", p.key.decoded}, {"workspace", p.taken.estimate.workspace.n}};
  put_summary(j, p.taken);
  return j;
}

bool read_point(const Json& j, ComputePoint& p) {
  int64_t op = 0, tokens = 0, slices = 0, bits = 0;
  if (!whole(j, "op", 0, kOpCount - 1, op) || !whole(j, "tokens", 1, UINT16_MAX, tokens)) return false;
  if (!whole(j, "slices", 0, kMaxSlices, slices) || !whole(j, "bits", 0, kExact, bits)) return false;
  if (bits != 0 && !valid_bits(static_cast<int>(bits))) return false;
  p.key.op = static_cast<Op>(op);
  p.key.tokens = static_cast<uint16_t>(tokens);
  p.key.slices = static_cast<uint8_t>(slices);
  if (bits != 0) p.key.bits[bits_level(static_cast<Bits>(bits))] = static_cast<uint8_t>(slices);
  return flag(j, "decoded", p.key.decoded) && read_summary(j, p.taken) &&
         whole(j, "workspace", 0, int64_t{1} << 48, p.taken.estimate.workspace.n);
}

Json contention_json(const Contention& c) {
  return {{"load", c.load}, {"compute", c.compute}, {"decode", c.decode}, {"samples", c.samples}};
}

bool read_contention(const Json& j, Contention& c) {
  return number(j, "load", 1e-6, 1e6, c.load) && number(j, "compute", 1e-6, 1e6, c.compute) &&
         number(j, "decode", 1e-6, 1e6, c.decode) && whole(j, "samples", 1, INT64_MAX, c.samples);
}

Json overlap_json(const Overlap& o) {
  return {{"load_alone", o.load_alone}, {"layer_alone", o.layer_alone}, {"load_exact", o.load_exact},
          {"load_coded", o.load_coded}, {"layer_exact", o.layer_exact}, {"layer_coded", o.layer_coded},
          {"samples", o.samples}};
}

bool read_overlap(const Json& j, Overlap& o) {
  return number(j, "load_alone", 1e-6, 1e6, o.load_alone) && number(j, "layer_alone", 1e-6, 1e6, o.layer_alone) &&
         number(j, "load_exact", 1, 1e6, o.load_exact) && number(j, "load_coded", 1, 1e6, o.load_coded) &&
         number(j, "layer_exact", 1, 1e6, o.layer_exact) && number(j, "layer_coded", 1, 1e6, o.layer_coded) &&
         whole(j, "samples", 0, INT64_MAX, o.samples);
}

bool read_learned(const Json& j, LearnedWindow& w) {
  int64_t kind = 0;
  if (!whole(j, "kind", 0, INT32_MAX, kind) || !whole(j, "samples", 0, INT64_MAX, w.samples)) return false;
  w.kind = static_cast<int>(kind);
  return numbers(j, "ratios", w.ratios);
}

bool read_window(const Json& j, RequestWindow& w) {
  return words(j, "policy", w.kind.policy) && flag(j, "first", w.kind.first) && number(j, "quantile", 0.5, 1, w.quantile) &&
         numbers(j, "middle", w.middle) && numbers(j, "high", w.high) && numbers(j, "setup_ns", w.setup_ns);
}

Json window_json(const RequestWindow& w) {
  return {{"policy", w.kind.policy}, {"first", w.kind.first}, {"quantile", w.quantile},
          {"middle", w.middle},      {"high", w.high},        {"setup_ns", w.setup_ns}};
}

bool read_requests(const Json& j, RequestFigures& r) {
  return words(j, "devices", r.devices) && words(j, "program", r.program) && words(j, "created", r.created) &&
         read_list(j, "windows", read_window, r.windows);
}

Json device_json(const DeviceFigures& d) {
  Json j = {{"name", d.name},     {"identity", d.identity}, {"program", d.program}, {"created", d.created},
            {"tuning", d.tuning}, {"parts", d.parts},       {"doubts", d.doubts}};
  if (d.storage) {
    Json& s = j["storage"] = fit_json(d.storage->fit);
    s["per_read_ns"] = d.storage->per_read.ns;
    s["points"] = list_json(d.storage->points, move_json);
  }
  if (d.transfers) {
    Json& t =
        j["transfers"] = {{"per_move_ns", d.transfers->per_move.ns}, {"points", list_json(d.transfers->points, move_json)}};
    if (d.transfers->to_device) t["to_device"] = fit_json(*d.transfers->to_device);
    if (d.transfers->to_host) t["to_host"] = fit_json(*d.transfers->to_host);
  }
  if (d.contention) j["contention"] = contention_json(*d.contention);
  if (d.overlap) j["overlap"] = overlap_json(*d.overlap);
  j["points"] = list_json(d.points, point_json);
  j["learned"] = list_json(d.learned, [](const LearnedWindow& w) {
    return Json{{"kind", w.kind}, {"samples", w.samples}, {"ratios", w.ratios}};
  });
  return j;
}

bool read_doubts(const Json& j, std::vector<std::string>& doubts) {
  const auto found = j.find("doubts");
  if (found == j.end() || !found->is_array() || found->size() > 10'000) return false;
  for (const Json& doubt : *found) {
    if (!doubt.is_string()) return false;
    doubts.push_back(doubt.get<std::string>());
  }
  return true;
}

bool read_device(const Json& j, DeviceFigures& d) {
  return words(j, "name", d.name) && words(j, "identity", d.identity) && words(j, "program", d.program) &&
         words(j, "created", d.created) && words(j, "tuning", d.tuning) && flag(j, "parts", d.parts) &&
         read_doubts(j, d.doubts) && read_optional(j, "storage", read_storage, d.storage) &&
         read_optional(j, "transfers", read_transfers, d.transfers) &&
         read_optional(j, "contention", read_contention, d.contention) &&
         read_optional(j, "overlap", read_overlap, d.overlap) && read_list(j, "points", read_point, d.points) &&
         read_list(j, "learned", read_learned, d.learned);
}

}  // namespace

std::string to_text(const Figures& figures) {
  const Json j = {{"tessera_calibration", kFormat},
                  {"fingerprint", figures.fingerprint},
                  {"devices", list_json(figures.devices, device_json)},
                  {"requests", list_json(figures.requests, [](const RequestFigures& r) {
                     return Json{{"devices", r.devices},
                                 {"program", r.program},
                                 {"created", r.created},
                                 {"windows", list_json(r.windows, window_json)}};
                   })}};
  return j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool from_text(const std::string& text, Figures& figures, std::string* why) {
  const auto refuse = [why](std::string what) {
    *why = std::move(what);
    return false;
  };
  const Json j = Json::parse(text, nullptr, false);
  int64_t format = 0;
  if (!j.is_object() || !whole(j, "tessera_calibration", 0, INT64_MAX, format)) return refuse("is not a calibration file");
  if (format != kFormat)
    return refuse("has format " + std::to_string(format) + ", " + std::to_string(kFormat) + " expected");
  const bool read = words(j, "fingerprint", figures.fingerprint) && read_list(j, "devices", read_device, figures.devices) &&
                    read_list(j, "requests", read_requests, figures.requests);
  return read || refuse("is damaged (a figure is missing or impossible)");
}

}  // namespace tessera::calibration
