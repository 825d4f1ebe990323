// Reads texts.
#include "tools/texts.h"

namespace tessera {

void add_text_flags(CLI::App& app, TextFlags& flags) {
  app.add_option("--pair", flags.pair, "A pair of sentences")->expected(2)->type_name("A B")->allow_extra_args(false);
  app.add_option("--input", flags.input, "A TSV file with a header line: sentence, or sentence1 and sentence2")
      ->type_name("FILE")
      ->check(not_empty());
}

std::vector<Text> sample_texts() {
  return {{"a gripping, beautifully acted film that stays with you.", "", false},
          {"the plot is a mess, and not one of its jokes lands.", "", false},
          {"it starts slowly, but what a finish!", "", false},
          {"two hours long, and it feels like four.", "", false}};
}

Result<std::vector<Text>> read_texts(const TextFlags& flags, const ModelShape& shape) {
  const int sources = !flags.texts.empty() + !flags.pair.empty() + !flags.input.empty();
  if (sources > 1) return Error{ErrorCode::kInvalid, "texts, --pair and --input are three sources; give one of them"};
  std::vector<Text> texts;
  for (const std::string& text : flags.texts) texts.push_back({text, "", false});
  if (!flags.pair.empty()) texts.push_back({flags.pair[0], flags.pair[1], true});
  if (flags.input.empty()) return texts;
  TESSERA_ASSIGN(const Dataset data, read_tsv(flags.input, shape.label_names));
  for (const Example& example : data.examples) texts.push_back({example.a, example.b, data.pairs});
  if (texts.empty()) return Error{ErrorCode::kData, flags.input + ": has a header, but no rows"};
  return texts;
}

Encoding encode_text(const Tokenizer& tokenizer, const Text& text, int max_tokens) {
  return text.paired ? tokenizer.encode_pair(text.a, text.b, max_tokens) : tokenizer.encode(text.a, max_tokens);
}

}  // namespace tessera
