// Small runs of `tessera compare`, and what they left in their folders.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace tessera::testing {

inline const std::string kConfigs = std::string(TESSERA_SOURCE_DIR) + "/configs";

// BERT-base on STI's board: nothing is measured, nothing but virtual time passes.
inline std::vector<std::string> board(const std::string& out, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words{"compare",
                                 "--policies",
                                 "std-pipeline,load-exec,std-pipeline(bits=2)",
                                 "--shape",
                                 kConfigs + "/models/bert-base.toml",
                                 "--platforms",
                                 kConfigs + "/platforms/sti-board.toml",
                                 "--latencies",
                                 "400ms,1s",
                                 "--memories",
                                 "unlimited",
                                 "--out",
                                 out,
                                 "--no-report",
                                 "--reference",
                                 "none",
                                 "--baseline",
                                 "std-pipeline"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline nlohmann::json results(const std::string& out) {
  std::ifstream in(out + "/results.json");
  return nlohmann::json::parse(in);
}

inline size_t lines(const std::string& path) {
  std::ifstream in(path);
  size_t n = 0;
  for (std::string line; std::getline(in, line);) ++n;
  return n;
}

}  // namespace tessera::testing
