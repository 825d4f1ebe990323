// Encodes text with a compiled tokenizer.
#include "shards/tokenizer.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shards/tokenizer_blob.h"

namespace tessera {
namespace {

constexpr int64_t kMaxFile = int64_t{1} << 31;

// An added token as code points, as it is searched for.
struct Needle {
  std::u32string content;
  AddedToken token;
};

class CompiledTokenizer : public Tokenizer {
 public:
  explicit CompiledTokenizer(TokenizerImage image) : image_(std::move(image)) {
    for (AddedToken& token : image_.added) {
      std::u32string content = decode_utf8(token.content);
      if (token.normalized) content = normalize(image_.rules, content);
      if (content.empty()) continue;
      (token.normalized ? in_normalized_ : in_raw_).push_back({std::move(content), std::move(token)});
    }
    for (auto* needles : {&in_raw_, &in_normalized_})  // longest first: the longest of those that start at one place wins
      std::stable_sort(needles->begin(), needles->end(),
                       [](const Needle& a, const Needle& b) { return a.content.size() > b.content.size(); });
  }

  std::vector<std::byte> compile() const override { return {image_.bytes.get(), image_.bytes.get() + image_.size}; }
  Encoding encode(std::string_view text, int max_tokens) const override;
  Encoding encode_pair(std::string_view a, std::string_view b, int max_tokens) const override;
  int vocabulary_size() const override { return image_.tokens; }
  int64_t resident_bytes() const override { return static_cast<int64_t>(image_.size + sizeof(*this)); }

 private:
  // Ids without [CLS] and [SEP]; stops once it has `enough`.
  std::vector<int32_t> tokenize(std::string_view text, size_t enough) const;

  TokenizerImage image_;
  std::vector<Needle> in_raw_, in_normalized_;
};

// Whether the needle, found at [begin, end), counts there; widens the place over white space that the token takes.
bool accept(const AddedToken& token, std::u32string_view text, size_t not_before, size_t* begin, size_t* end) {
  if (token.single_word) {
    if (*begin > 0 && is_word(text[*begin - 1])) return false;
    if (*end < text.size() && is_word(text[*end])) return false;
  }
  if (token.strip_left)
    while (*begin > not_before && is_space(text[*begin - 1])) --*begin;
  if (token.strip_right)
    while (*end < text.size() && is_space(text[*end])) ++*end;
  return true;
}

const Needle* needle_at(const std::vector<Needle>& needles, std::u32string_view rest) {
  for (const Needle& needle : needles)
    if (rest.starts_with(needle.content)) return &needle;
  return nullptr;
}

// Calls between(text) for what lies between needles and found(id) for each needle, in order. Either returns false to stop.
template <typename Between, typename Found>
void split_at(const std::vector<Needle>& needles, std::u32string_view text, Between between, Found found) {
  std::u32string first;
  for (const Needle& needle : needles)
    if (first.find(needle.content[0]) == std::u32string::npos) first.push_back(needle.content[0]);
  size_t done = 0;
  for (size_t i = 0; !first.empty() && (i = text.find_first_of(first, i)) != std::u32string_view::npos;) {
    const Needle* needle = needle_at(needles, text.substr(i));
    size_t begin = i, end = needle ? i + needle->content.size() : i + 1;
    i = end;
    // White space that an earlier token took may hold the start of this one: it is then gone.
    if (!needle || begin < done || !accept(needle->token, text, done, &begin, &end)) continue;
    if (begin > done && !between(text.substr(done, begin - done))) return;
    if (!found(needle->token.id)) return;
    done = end;
  }
  if (done < text.size()) between(text.substr(done));
}

std::vector<int32_t> CompiledTokenizer::tokenize(std::string_view text, size_t enough) const {
  std::vector<int32_t> ids;
  const auto word = [&](std::u32string_view w) {
    image_.pieces.split(w, &ids);
    return ids.size() < enough;
  };
  const auto added = [&](int32_t id) {
    ids.push_back(id);
    return ids.size() < enough;
  };
  const auto words = [&](std::u32string_view normalized) {
    for_each_word(normalized, word);
    return ids.size() < enough;
  };
  const auto raw = [&](std::u32string_view piece) {
    const std::u32string normalized = normalize(image_.rules, piece);
    split_at(in_normalized_, normalized, words, added);
    return ids.size() < enough;
  };
  split_at(in_raw_, decode_utf8(text), raw, added);
  return ids;
}

Encoding CompiledTokenizer::encode(std::string_view text, int max_tokens) const {
  const size_t room = static_cast<size_t>(std::max(max_tokens, 3) - 2);
  // One token more than fits tells that the text was cut; what follows need not be read.
  std::vector<int32_t> ids = tokenize(text, room + 1);
  Encoding out;
  out.truncated = ids.size() > room;
  ids.resize(std::min(ids.size(), room));
  out.ids.reserve(ids.size() + 2);
  out.ids.push_back(image_.cls);
  out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  out.ids.push_back(image_.sep);
  out.types.assign(out.ids.size(), 0);
  return out;
}

// Lengths after truncation to `room` in all, as `tokenizers` 0.10 and later share it: the shorter keeps its length if it is
// at most half, else both get half and the one that counts as longer (the second where they are equal) the odd token.
std::pair<size_t, size_t> cut_pair(size_t a, size_t b, size_t room) {
  if (a + b <= room) return {a, b};
  const bool swapped = a > b;
  size_t shorter = std::min(a, b);
  size_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = shorter + room % 2;
  }
  return swapped ? std::pair{longer, shorter} : std::pair{shorter, longer};
}

Encoding CompiledTokenizer::encode_pair(std::string_view a, std::string_view b, int max_tokens) const {
  const size_t room = static_cast<size_t>(std::max(max_tokens, 3) - 3);
  constexpr size_t kAll = std::numeric_limits<size_t>::max();  // which of the two is longer decides who gets the odd token
  const std::vector<int32_t> first = tokenize(a, kAll), second = tokenize(b, kAll);
  const auto [m, n] = cut_pair(first.size(), second.size(), room);
  Encoding out;
  out.truncated = m < first.size() || n < second.size();
  out.ids.reserve(m + n + 3);
  out.ids.push_back(image_.cls);
  out.ids.insert(out.ids.end(), first.begin(), first.begin() + static_cast<ptrdiff_t>(m));
  out.ids.push_back(image_.sep);
  out.types.assign(out.ids.size(), 0);
  out.ids.insert(out.ids.end(), second.begin(), second.begin() + static_cast<ptrdiff_t>(n));
  out.ids.push_back(image_.sep);
  out.types.resize(out.ids.size(), 1);
  return out;
}

Error unreadable(const std::string& path, int error) {
  return {ErrorCode::kData, path + ": cannot be read: " + std::generic_category().message(error) +
                                "; write the store again with `tessera shard --force`"};
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerImage image) {
  return std::make_unique<CompiledTokenizer>(std::move(image));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_hf(const std::string& directory) {
  TESSERA_ASSIGN(const TokenizerSpec spec, import_tokenizer(directory));
  Result<std::vector<std::byte>> compiled = compile_tokenizer(spec);
  if (!compiled.ok()) return Error{compiled.error().code, directory + ": " + compiled.error().message};
  auto bytes = std::make_unique_for_overwrite<std::byte[]>(compiled->size());
  std::copy(compiled->begin(), compiled->end(), bytes.get());
  TESSERA_ASSIGN(TokenizerImage image, open_tokenizer(std::move(bytes), compiled->size(), directory));
  return make_tokenizer(std::move(image));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_compiled(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return unreadable(path, errno);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > kMaxFile) {
    ::close(fd);
    return Error{ErrorCode::kData, path + ": is not a regular file of at most 2 GiB"};
  }
  const size_t size = static_cast<size_t>(info.st_size);
  auto bytes = std::make_unique_for_overwrite<std::byte[]>(std::max<size_t>(size, 1));
  size_t got = 0;
  while (got < size) {
    const ssize_t n = ::read(fd, bytes.get() + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += static_cast<size_t>(n);
  }
  const int error = errno;
  ::close(fd);
  if (got < size) return unreadable(path, error);
  TESSERA_ASSIGN(TokenizerImage image, open_tokenizer(std::move(bytes), size, path));
  return make_tokenizer(std::move(image));
}

}  // namespace tessera
