// Collects the texts of a request from arguments and files.
#pragma once

#include <string>
#include <vector>

#include "framework/model_shape.h"
#include "shards/dataset.h"
#include "shards/tokenizer.h"
#include "tools/flags.h"

namespace tessera {

struct TextFlags {
  std::vector<std::string> texts;
  std::vector<std::string> pair;  // A, B
  std::string input;              // a TSV file
  bool any() const { return !texts.empty() || !pair.empty() || !input.empty(); }
};

struct Text {
  std::string a, b;
  bool paired = false;
  std::string shown() const { return paired ? a + " | " + b : a; }
};

// --pair and --input; texts come as what is no flag.
void add_text_flags(CLI::App& app, TextFlags& flags);
// Shown by `tessera run` without arguments.
std::vector<Text> sample_texts();
// kInvalid where several sources are given; kData where the file cannot be read.
Result<std::vector<Text>> read_texts(const TextFlags& flags, const ModelShape& shape);
Encoding encode_text(const Tokenizer& tokenizer, const Text& text, int max_tokens);

}  // namespace tessera
