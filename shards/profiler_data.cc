// Draws sentences with a seed; splits labelled rows into even and odd.
#include "shards/profiler_data.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "shards/hash.h"

namespace tessera {
namespace {

constexpr int kFewestWords = 6;  // shorter phrases say little about a sentence classifier

bool long_enough(const Example& example) {
  int words = 0;
  bool inside = false;
  for (const std::string* text : {&example.a, &example.b}) {
    for (const char c : *text) {
      words += c != ' ' && !inside;
      inside = c != ' ';
    }
    inside = false;
  }
  return words >= kFewestWords;
}

// The `count` rows with the smallest hashes of (seed, row): a uniform draw that no other row's presence changes.
std::vector<size_t> draw(std::vector<size_t> rows, size_t count, uint64_t seed) {
  const auto key = [seed](size_t row) {
    const uint64_t words[2] = {seed, row};
    return checksum64(std::as_bytes(std::span(words)));
  };
  std::sort(rows.begin(), rows.end(), [&](size_t a, size_t b) { return std::pair(key(a), a) < std::pair(key(b), b); });
  rows.resize(std::min(rows.size(), count));
  std::sort(rows.begin(), rows.end());
  return rows;
}

// An own class, so that data sets of pairs and of sentences need no branch elsewhere.
struct Encoder {
  const Tokenizer& tokenizer;
  int most;
  Encoding operator()(const Dataset& data, const Example& example) const {
    return data.pairs ? tokenizer.encode_pair(example.a, example.b, most) : tokenizer.encode(example.a, most);
  }
};

void take_labelled(const Dataset& data, const std::vector<size_t>& rows, const Encoder& encode, ProfileData* out) {
  for (const size_t row : rows) {
    PartData& part = out->parts[static_cast<size_t>(row % 2 == 0 ? Part::kEvenRows : Part::kOddRows)];
    part.sequences.push_back(encode(data, data.examples[row]));
    part.labels.push_back(data.examples[row].label);
  }
}

std::string digest_of(const ProfileData& data) {
  std::vector<int32_t> all;
  for (const PartData& part : data.parts) {
    all.push_back(-1);
    for (const Encoding& e : part.sequences) {
      all.push_back(-2);
      all.insert(all.end(), e.ids.begin(), e.ids.end());
      all.insert(all.end(), e.types.begin(), e.types.end());
    }
    all.insert(all.end(), part.labels.begin(), part.labels.end());
  }
  return content_digest(std::as_bytes(std::span(all)));
}

std::string name_of(const std::string& path) { return std::filesystem::path(path).filename().string(); }

}  // namespace

Result<ProfileData> choose_data(const ModelShape& shape, const Tokenizer& tokenizer, const ProfileOptions& options) {
  const Encoder encode{tokenizer, std::min(options.max_tokens, shape.max_tokens)};
  TESSERA_ASSIGN(const Dataset sentences, read_tsv(options.data_path, shape.label_names));
  const bool own_rows = options.dev_path.empty();
  Dataset other;
  if (!own_rows) { TESSERA_ASSIGN(other, read_tsv(options.dev_path, shape.label_names)); }
  const Dataset& labelled = own_rows ? sentences : other;

  std::vector<size_t> with_label, usable;
  for (size_t i = 0; i < labelled.examples.size(); ++i)
    if (labelled.examples[i].label >= 0) with_label.push_back(i);
  // Without a file of its own the divergence takes even rows only: the odd ones judge.
  for (size_t i = 0; i < sentences.examples.size(); i += own_rows ? 2 : 1)
    if (long_enough(sentences.examples[i])) usable.push_back(i);

  ProfileData out;
  PartData& divergence = out.parts[static_cast<size_t>(Part::kDivergence)];
  for (const size_t row : draw(usable, static_cast<size_t>(options.divergence_sentences), options.seed))
    divergence.sequences.push_back(encode(sentences, sentences.examples[row]));
  take_labelled(labelled, draw(with_label, static_cast<size_t>(options.dev_rows), options.seed), encode, &out);
  const size_t even = out.parts[static_cast<size_t>(Part::kEvenRows)].sequences.size();
  const size_t odd = out.parts[static_cast<size_t>(Part::kOddRows)].sequences.size();
  if (divergence.sequences.empty())
    return Error{ErrorCode::kData, options.data_path + ": none of " + std::to_string(sentences.examples.size()) +
                                       " rows has more than 5 words; a profile needs sentences"};
  if (even < 2 || odd < 2)
    return Error{ErrorCode::kData, labelled.path + ": has " + std::to_string(even) + " even and " + std::to_string(odd) +
                                       " odd rows with a label; a profile needs at least 2 of each (--dev names a "
                                       "labelled file)"};
  out.description = std::to_string(divergence.sequences.size()) + " sentences of " + name_of(options.data_path) + "; " +
                    std::to_string(even) + " even and " + std::to_string(odd) + " odd rows of " + name_of(labelled.path);
  out.digest = digest_of(out);
  return out;
}

}  // namespace tessera
