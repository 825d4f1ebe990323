// Writes profiles as JSON and reads them back, checked against the store that they belong to.
#include "shards/accuracy_profile.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "shards/parse_json.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
constexpr int64_t kFormat = 1;
constexpr uintmax_t kMaxFile = uintmax_t{1} << 28;
constexpr int64_t kMostMicro = 1'000'000'000'000;  // a loss of a million nats; sums of 64 * 64 of them fit 64 bits

Error bad(const std::string& path, const std::string& what) {
  return {ErrorCode::kData, path + ": " + what + "; measure it again with `tessera profile`"};
}

Json to_json(const std::vector<Micro>& values) {
  Json out = Json::array();
  for (const Micro v : values) out.push_back(v.n);
  return out;
}

Json model_json(const AccuracyModel& m) {
  Json map = Json::array();
  for (const AccuracyModel::Point& p : m.map) map.push_back({p.loss.n, p.accuracy.n});
  return {{"layers", m.layers},
          {"slices", m.slices},
          {"bits_levels", kBitsLevels},
          {"base", to_json(m.base)},
          {"sensitivity", to_json(m.sensitivity)},
          {"scale_ppm", m.scale_ppm},
          {"importance_accuracy", to_json(m.importance_accuracy)},
          {"importance_loss", to_json(m.importance_loss)},
          {"map", map}};
}

Json report_json(const StoredProfile& p) {
  Json uniform = Json::array(), checked = Json::array();
  for (const UniformAccuracy& u : p.uniform) uniform.push_back({u.bits, u.depth, u.width, u.loss, u.even, u.odd});
  for (const CheckedPlan& c : p.checked)
    checked.push_back({c.depth, c.width, c.mean_bits, c.predicted_loss, c.loss, c.predicted, c.odd});
  return {{"map_error_points", p.map_error_points},
          {"worst_error_points", p.worst_error_points},
          {"bias_points", p.bias_points},
          {"rank_correlation", p.rank_correlation},
          {"loss_rank_correlation", p.loss_rank_correlation},
          {"uniform_columns", {"bits", "depth", "width", "loss", "even", "odd"}},
          {"uniform", uniform},
          {"checked_columns", {"depth", "width", "mean_bits", "predicted_loss", "loss", "predicted", "odd"}},
          {"checked", checked}};
}

// Reads what a profile must have; remembers the first thing that is wrong.
class Fields {
 public:
  const std::string& wrong() const { return wrong_; }
  const Json& at(const Json& from, const char* key) {
    static const Json none;
    const auto found = from.is_object() ? from.find(key) : from.end();
    if (!from.is_object() || found == from.end()) return fail(key, "is missing"), none;
    return *found;
  }
  std::string text(const Json& from, const char* key) {
    const Json& value = at(from, key);
    if (!value.is_string()) return fail(key, "is not a text"), "";
    return value.get<std::string>();
  }
  double number(const Json& value, const char* what) {
    if (!value.is_number()) return fail(what, "is not a number"), 0;
    return value.get<double>();
  }
  int64_t integer(const Json& value, const char* what, int64_t least, int64_t most) {
    const bool fits = value.is_number_integer() && value.get<double>() >= static_cast<double>(least) &&
                      value.get<double>() <= static_cast<double>(most);
    if (!fits) return fail(what, "is not an integer from " + std::to_string(least) + " to " + std::to_string(most)), least;
    return value.get<int64_t>();
  }
  std::vector<int64_t> integers(const Json& from, const char* key, size_t count, int64_t least, int64_t most) {
    const Json& value = at(from, key);
    std::vector<int64_t> out(count, least);
    if (!value.is_array() || value.size() != count)
      return fail(key, "is not a list of " + std::to_string(count) + " integers"), out;
    for (size_t i = 0; i < count; ++i) out[i] = integer(value[i], key, least, most);
    return out;
  }
  std::vector<Micro> micros(const Json& from, const char* key, size_t count, int64_t least = -kMostMicro) {
    std::vector<Micro> out;
    for (const int64_t n : integers(from, key, count, least, kMostMicro)) out.push_back({n});
    return out;
  }
  std::vector<double> row(const Json& value, const char* what, size_t count) {
    std::vector<double> out(count, 0);
    if (!value.is_array() || value.size() != count) return fail(what, "has a row of another length"), out;
    for (size_t i = 0; i < count; ++i) out[i] = number(value[i], what);
    return out;
  }
  void fail(const std::string& what, const std::string& why) {
    if (wrong_.empty()) wrong_ = "'" + what + "' " + why;
  }

 private:
  std::string wrong_;
};

void read_map(Fields& fields, const Json& from, AccuracyModel* m) {
  const Json& map = fields.at(from, "map");
  if (!map.is_array() || map.size() > 10'000) return fields.fail("map", "is not a list of points");
  for (const Json& point : map) {
    if (!point.is_array() || point.size() != 2) return fields.fail("map", "has a point that is not [loss, accuracy]");
    m->map.push_back(
        {{fields.integer(point[0], "map", -kMostMicro, kMostMicro)}, {fields.integer(point[1], "map", 0, 1'000'000)}});
  }
  for (size_t i = 1; i < m->map.size(); ++i)
    if (m->map[i].loss <= m->map[i - 1].loss || m->map[i].accuracy > m->map[i - 1].accuracy)
      return fields.fail("map", "does not fall with rising loss");
}

void read_model(Fields& fields, const Json& from, const ModelShape& shape, AccuracyModel* m) {
  m->layers = static_cast<int>(fields.integer(fields.at(from, "layers"), "layers", shape.layers, shape.layers));
  m->slices = static_cast<int>(fields.integer(fields.at(from, "slices"), "slices", shape.slices, shape.slices));
  fields.integer(fields.at(from, "bits_levels"), "bits_levels", kBitsLevels, kBitsLevels);
  const size_t shards = static_cast<size_t>(shape.layers) * static_cast<size_t>(shape.slices);
  m->base = fields.micros(from, "base", static_cast<size_t>(shape.layers));
  m->sensitivity = fields.micros(from, "sensitivity", shards * kBitsLevels, 0);
  m->scale_ppm = fields.integers(from, "scale_ppm", shards, 1, kMostMicro);
  m->importance_accuracy = fields.micros(from, "importance_accuracy", shards);
  m->importance_loss = fields.micros(from, "importance_loss", shards);
  read_map(fields, from, m);
  m->prefixes_only = true;  // probes cut prefixes, as checkpoints are trained
}

void read_report(Fields& fields, const Json& from, StoredProfile* p) {
  p->map_error_points = fields.number(fields.at(from, "map_error_points"), "map_error_points");
  p->worst_error_points = fields.number(fields.at(from, "worst_error_points"), "worst_error_points");
  p->bias_points = fields.number(fields.at(from, "bias_points"), "bias_points");
  p->rank_correlation = fields.number(fields.at(from, "rank_correlation"), "rank_correlation");
  p->loss_rank_correlation = fields.number(fields.at(from, "loss_rank_correlation"), "loss_rank_correlation");
  const auto small = [](double v) { return static_cast<int>(std::clamp(v, 0.0, 1e6)); };
  for (const Json& entry : fields.at(from, "uniform")) {
    const std::vector<double> v = fields.row(entry, "uniform", 6);
    p->uniform.push_back({static_cast<Bits>(std::clamp(v[0], 0.0, 32.0)), small(v[1]), small(v[2]), v[3], v[4], v[5]});
  }
  for (const Json& entry : fields.at(from, "checked")) {
    const std::vector<double> v = fields.row(entry, "checked", 7);
    p->checked.push_back({small(v[0]), small(v[1]), v[2], v[3], v[4], v[5], v[6]});
  }
}

Result<StoredProfile> parse(const Store& store, const std::string& path, const std::string& text) {
  const Json json = parse_json(text);
  if (json.is_discarded() || !json.is_object()) return bad(path, "is not a JSON object");
  Fields fields;
  fields.integer(fields.at(json, "format"), "format", kFormat, kFormat);
  const std::string hash = fields.text(json, "content_hash");
  if (!fields.wrong().empty()) return bad(path, fields.wrong());
  if (hash != store.content_hash())
    return bad(path,
               "was measured on a store with content " + hash.substr(0, 40) + ", this one has " + store.content_hash());
  StoredProfile profile;
  profile.task = fields.text(json, "task");
  profile.data = fields.text(json, "data");
  profile.version = fields.text(json, "tessera");
  read_model(fields, fields.at(json, "model"), store.shape(), &profile.model);
  read_report(fields, fields.at(json, "report"), &profile);
  if (!fields.wrong().empty()) return bad(path, fields.wrong());
  return profile;
}

// The finished profile of a store that was written last, by name where two are of one moment; empty: there is none.
std::string newest_profile(const Store& store) {
  std::pair<fs::file_time_type, std::string> newest{fs::file_time_type::min(), ""};
  std::error_code error;
  for (fs::directory_iterator at(store.directory() + "/profiles", error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(".json") || name.ends_with(".partial.json") || name.starts_with('.')) continue;
    std::error_code ignored;
    newest = std::max(newest, {at->last_write_time(ignored), at->path().string()});
  }
  return newest.second;
}

Status write_all(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error{ErrorCode::kData, std::generic_category().message(errno)};
    done += static_cast<size_t>(n);
  }
  if (::fsync(fd) != 0) return Error{ErrorCode::kData, std::generic_category().message(errno)};
  return {};
}

}  // namespace

std::string profile_path(const Store& store, const std::string& file_name) {
  return store.directory() + "/profiles/" + file_name;
}

Status write_profile_file(const Store& store, const std::string& file_name, const std::string& text) {
  const std::string path = profile_path(store, file_name);
  const std::string temporary = profile_path(store, ".writing-" + std::to_string(::getpid()) + ".json");
  const auto failed = [&](const std::string& reason) {
    ::unlink(temporary.c_str());
    return Error{ErrorCode::kData, path + ": cannot be written: " + reason + "; make room or make the store writable"};
  };
  std::error_code error;
  fs::create_directories(store.directory() + "/profiles", error);
  if (error) return failed(error.message());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed(std::generic_category().message(errno));
  const Status written = write_all(fd, text);
  ::close(fd);
  if (!written.ok()) return failed(written.error().message);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return failed(std::generic_category().message(errno));
  return {};
}

Result<StoredProfile> load_profile(const Store& store, const std::string& task, bool* found) {
  *found = false;
  std::string path = profile_path(store, task + ".json");
  std::error_code error;
  if (task.empty()) {
    path = newest_profile(store);
    if (path.empty()) return StoredProfile{};
  } else if (!fs::exists(path, error)) {
    return StoredProfile{};
  }
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kMaxFile)
    return bad(path, "is not a regular file of at most 256 MiB");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{ErrorCode::kData, path + ": cannot be opened: " + std::generic_category().message(errno)};
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in || in.bad()) return bad(path, "cannot be read");
  TESSERA_ASSIGN(StoredProfile profile, parse(store, path, text));
  *found = true;
  return profile;
}

Status save_profile(const Store& store, const StoredProfile& profile) {
  const Json json = {{"format", kFormat},
                     {"tessera", profile.version},
                     {"task", profile.task},
                     {"content_hash", store.content_hash()},
                     {"codec", store.codec()},
                     {"data", profile.data},
                     {"model", model_json(profile.model)},
                     {"report", report_json(profile)}};
  return write_profile_file(store, profile.task + ".json", json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tessera
