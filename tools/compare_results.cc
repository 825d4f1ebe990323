// Reads and writes rows.jsonl, experiment.json, results.json and results.csv.
#include "tools/compare_results.h"

#include <cerrno>
#include <filesystem>
#include <set>
#include <span>
#include <system_error>

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include "shards/hash.h"
#include "tools/atomic_file.h"
#include "tools/compare_row.h"
#include "tools/render_json.h"

namespace tessera {
namespace fs = std::filesystem;
namespace {

Error unwritten(const std::string& path, int error) {
  return {ErrorCode::kData, path + ": cannot be written: " + std::generic_category().message(error)};
}

std::string shown(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <typename T, typename To>
Json list_of(const std::vector<T>& values, To to) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(to(value));
  return list;
}

Json contender_json(const Contender& c, const std::string& content) {
  Json json = {{"label", c.label}, {"policy", c.policy}, {"knobs", c.knobs}, {"content", content}};
  if (c.depth) json["depth"] = *c.depth;
  if (c.width) json["width"] = *c.width;
  if (c.bits) json["bits"] = *c.bits;
  if (c.quantile) json["quantile"] = *c.quantile;
  if (c.preload) json["preload_bytes"] = bytes_json(*c.preload);
  return json;
}

Json arena_json(const Arena& a, const std::string& content) {
  return {{"name", a.name},
          {"file", a.platform},
          {"model", a.model},
          {"shape", a.shape},
          {"io_speed", a.io_speed},
          {"latencies_ms", list_of(a.latencies, milliseconds_json)},
          {"memories_bytes", list_of(a.memories, bytes_json)},
          {"preloads_bytes", list_of(a.preloads, bytes_json)},
          {"content", content}};
}

std::string digest_of_ids(const Experiment& experiment, const Ingredients& ingredients, size_t& count) {
  std::string ids;
  for (const Cell& cell : cells_of(experiment)) {
    ids += cell_id(experiment, ingredients, cell);
    ++count;
  }
  return content_digest(std::as_bytes(std::span(ids.data(), ids.size())));
}

std::string csv_cell(const Json& value) {
  if (value.is_null()) return {};
  std::string text = value.is_string() ? value.get<std::string>() : shown(value);
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

// Lines that are no rows are left out: the last one may have been cut by a kill.
RowMap parse_rows(const std::string& text, const std::string& path) {
  RowMap rows;
  size_t bad = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const Json row = Json::parse(text.substr(at, end - at), nullptr, false);
    at = end == std::string::npos ? text.size() : end + 1;
    if (whole_row(row))
      rows[row["id"].get<std::string>()] = row;
    else
      ++bad;
  }
  if (bad > 0) spdlog::warn("{}: {} damaged rows are left out and played again", path, bad);
  return rows;
}

}  // namespace

std::string difference(const Json& before, const Json& now) {
  std::string names;
  for (const auto& [key, value] : now.items())
    if (key != "id" && key != "cells" && key != "title" && (!before.contains(key) || before[key] != value))
      names += (names.empty() ? "" : ", ") + key;
  return names.empty() ? "its files" : names;
}

// Of a list of named things: those that both have, and of which the content is another one.
static std::string changed_content(const Json& before, const Json& now, const char* list, const char* name) {
  std::string names;
  const Json then = before.value(list, Json::array());
  for (const Json& mine : now.at(list))
    for (const Json& other : then)
      if (other.is_object() && other.value(name, Json()) == mine.at(name) && !mine.at(name).get<std::string>().empty() &&
          other.value("content", Json()) != mine.at("content"))
        names += (names.empty() ? "" : ", ") + mine.at(name).get<std::string>();
  return names;
}

std::string changed_rules(const Json& before, const Json& now) {
  std::string names;
  const auto add = [&names](const std::string& name) {
    if (!name.empty()) names += (names.empty() ? "" : ", ") + name;
  };
  for (const char* key : {"program", "tokens", "quantile", "repetitions", "best_effort", "reference", "shard"})
    if (before.value(key, Json()) != now.value(key, Json())) add(key);
  const Json then = before.value("data", Json::object());
  const Json& data = now.at("data");
  for (const char* key : {"content", "sentences"})
    if (!then.is_object() || then.value(key, Json()) != data.at(key)) {
      add("data");
      break;
    }
  add(changed_content(before, now, "platforms", "name"));
  add(changed_content(before, now, "workloads", "file"));
  return names;
}

Json experiment_json(const Experiment& e, const Ingredients& ingredients) {
  Json policies = Json::array(), platforms = Json::array(), workloads = Json::array();
  for (size_t i = 0; i < e.contenders.size(); ++i)
    policies.push_back(contender_json(e.contenders[i], ingredients.contenders[i]));
  for (size_t i = 0; i < e.arenas.size(); ++i) platforms.push_back(arena_json(e.arenas[i], ingredients.arenas[i]));
  for (size_t i = 0; i < e.workloads.size(); ++i)
    workloads.push_back({{"file", e.workloads[i]}, {"content", ingredients.workloads[i]}});
  size_t count = 0;
  const std::string id = digest_of_ids(e, ingredients, count);
  return {{"name", e.name},
          {"title", e.title},
          {"policies", std::move(policies)},
          {"platforms", std::move(platforms)},
          {"workloads", std::move(workloads)},
          {"seeds", e.seeds},
          {"data", {{"file", e.data}, {"content", ingredients.data}, {"sentences", e.sentences}}},
          {"tokens", e.tokens},
          {"quantile", e.quantile},
          {"repetitions", e.repetitions},
          {"best_effort", e.best_effort},
          {"baseline", e.baseline},
          {"reference", e.reference},
          {"decide_limit_ms", e.decide_limit.ms()},
          {"worker_memory_bytes", e.worker_memory ? bytes_json(*e.worker_memory) : Json("default")},
          {"program", ingredients.program},
          {"cells", count},
          {"id", id}};
}

ResultsFolder::~ResultsFolder() {
  for (const int fd : {rows_fd_, answers_fd_, lock_})
    if (fd >= 0) ::close(fd);
}

Status ResultsFolder::take_lock() {
  const std::string file = path_ + "/.lock";
  lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) return unwritten(file, errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return {};
  return Error{ErrorCode::kInvalid, path_ + ": another tessera compare works in it; wait for it, or give another --out"};
}

Status ResultsFolder::read_rows() {
  const std::string file = path_ + "/rows.jsonl";
  std::string text;
  if (fs::exists(file)) { TESSERA_ASSIGN(text, read_text(file)); }
  rows_ = parse_rows(text, file);
  return {};
}

// For appending; what a kill cut off gets its end of line.
static Result<int> open_for_lines(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return unwritten(path, errno);
  char last = '\n';
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end > 0 && ::pread(fd, &last, 1, end - 1) == 1 && last != '\n' && ::write(fd, "\n", 1) != 1) {
    const Error error = unwritten(path, errno);
    ::close(fd);
    return error;
  }
  return fd;
}

Status ResultsFolder::open_files() {
  TESSERA_ASSIGN(rows_fd_, open_for_lines(path_ + "/rows.jsonl"));
  TESSERA_ASSIGN(answers_fd_, open_for_lines(answers_path()));
  return {};
}

Result<std::unique_ptr<ResultsFolder>> ResultsFolder::open(const std::string& path, const Json& experiment, bool update) {
  std::error_code failed;
  fs::create_directories(path + "/plans", failed);
  if (failed) return Error{ErrorCode::kData, path + ": cannot be made: " + failed.message() + "; give another --out"};
  std::unique_ptr<ResultsFolder> folder(new ResultsFolder(path));
  TESSERA_TRY(folder->take_lock());
  const std::string file = path + "/experiment.json";
  if (fs::exists(file)) {
    TESSERA_ASSIGN(const Json before, read_description(path));
    const std::string changed = changed_rules(before, experiment);
    if (!changed.empty() && !update)
      return Error{ErrorCode::kInvalid,
                   path + ": holds rows of another experiment or build (what differs: " + changed +
                       "); --update plays anew what has changed and leaves out what is gone, or give another --out"};
    folder->keeps_others_ = changed.empty();
    if (!changed.empty()) fs::remove(folder->answers_path(), failed);
  }
  TESSERA_TRY(folder->read_rows());
  TESSERA_TRY(write_file(file, experiment.dump(1) + "\n"));
  TESSERA_TRY(folder->open_files());
  return folder;
}

static Status append_line(int fd, const std::string& path, std::string line) {
  line += '\n';
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(fd, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unwritten(path, errno);
    done += static_cast<size_t>(n);
  }
  return {};
}

Status ResultsFolder::append(const Json& row) { return append_line(rows_fd_, path_ + "/rows.jsonl", shown(row)); }

Status ResultsFolder::append_answer(const std::string& line) { return append_line(answers_fd_, answers_path(), line); }

// A cell as people name it: whoever has this label, there, under these budgets.
static std::string coordinates(const Json& row) {
  Json list = Json::array();
  for (const char* name : {"platform", "workload", "label", "latency_ms", "memory_bytes", "preload_bytes", "seed"})
    list.push_back(row.at(name));
  return shown(list);
}

std::vector<Json> ResultsFolder::others(const std::vector<Json>& asked) const {
  std::vector<Json> out;
  if (!keeps_others_) return out;
  std::set<std::string> there;
  for (const Json& row : asked) there.insert(coordinates(row));
  for (const auto& [id, row] : rows_)
    if (!there.contains(coordinates(row))) out.push_back(row);
  return out;
}

Status ResultsFolder::finish(const std::vector<Json>& rows, const Json& document) {
  std::string lines;
  for (const Json& row : rows) lines += shown(row) + '\n';
  for (const Json& row : others(rows)) lines += shown(row) + '\n';
  TESSERA_TRY(write_file(path_ + "/rows.jsonl", lines));
  TESSERA_TRY(write_file(path_ + "/results.csv", csv_of(rows)));
  return write_file(path_ + "/results.json", document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

Result<RowMap> read_rows_of(const std::string& folder) {
  TESSERA_ASSIGN(const std::string text, read_text(folder + "/rows.jsonl"));
  return parse_rows(text, folder + "/rows.jsonl");
}

Error damaged_description(const std::string& folder, const std::string& what) {
  return {ErrorCode::kData, folder + "/experiment.json: is damaged (" + what +
                                "); remove it and run the command that made the folder again, which goes on from its rows"};
}

Result<Json> read_description(const std::string& folder) {
  TESSERA_ASSIGN(const std::string text, read_text(folder + "/experiment.json"));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return damaged_description(folder, "it is no JSON object");
  for (const char* name : {"id", "program"})
    if (!json.contains(name) || !json[name].is_string())
      return damaged_description(folder, std::string(name) + " is no text");
  return json;
}

Json public_row(const Json& row) {
  Json out = row;
  out.erase("ran");
  out.erase("stopped_at");
  return out;
}

std::string csv_of(const std::vector<Json>& rows) {
  if (rows.empty()) return {};
  std::string text, line;
  const Json head = public_row(rows.front());
  for (const auto& [name, value] : head.items()) line += (line.empty() ? "" : ",") + name;
  text = line + '\n';
  for (const Json& row : rows) {
    line.clear();
    bool first = true;
    const Json shown_row = public_row(row);
    for (const auto& [name, value] : shown_row.items()) {
      if (!first) line += ',';
      first = false;
      line += csv_cell(value);
    }
    text += line + '\n';
  }
  return text;
}

}  // namespace tessera
