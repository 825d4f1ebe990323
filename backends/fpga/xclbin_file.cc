// Parses an xclbin with bounds on every step: sizes and offsets are the file's own claims.
#include "backends/fpga/xclbin_file.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

namespace tessera::fpga {
namespace {

constexpr uint32_t kMostSections = 256;
constexpr uint64_t kMostMetadata = 16 << 20;

// One tag of XML: "<name key="value" ...>"; a closing one has name "/kernel". Text between tags is stepped over, entities
// stay as they are: names in an xclbin are C identifiers.
struct Tag {
  std::string_view name;
  std::string_view body;
  std::string attribute(std::string_view key) const;
};

constexpr std::string_view kBlanks = " \t\r\n";

std::optional<Tag> next_tag(std::string_view& rest) {
  const size_t open = rest.find('<');
  if (open == rest.npos) return std::nullopt;
  const size_t close = rest.find('>', open);
  if (close == rest.npos) return std::nullopt;
  const std::string_view inside = rest.substr(open + 1, close - open - 1);
  rest.remove_prefix(close + 1);
  const size_t end = std::min(inside.size(), inside.find_first_of(kBlanks));
  return Tag{inside.substr(0, end), inside.substr(end)};
}

std::string Tag::attribute(std::string_view key) const {
  for (size_t at = body.find(key); at != body.npos; at = body.find(key, at + 1)) {
    const size_t value = at + key.size();
    const bool whole = at > 0 && kBlanks.find(body[at - 1]) != kBlanks.npos;
    if (!whole || body.substr(value, 2) != "=\"") continue;
    const size_t end = body.find('"', value + 2);
    return end == body.npos ? "" : std::string(body.substr(value + 2, end - value - 2));
  }
  return "";
}

std::string project_of(std::string_view xml) {
  while (const auto tag = next_tag(xml))
    if (tag->name == "project") return tag->attribute("name");
  return "";
}

class XclbinReader {
 public:
  explicit XclbinReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {}
  Result<XclbinDescription> read();

 private:
  Error bad(const std::string& what) const {
    return {ErrorCode::kData, "xclbin " + path_ + ": " + what + "; build it again, or name another with TESSERA_XCLBIN"};
  }
  bool take(uint64_t offset, void* to, uint64_t bytes);
  Status check_header(uint64_t size);
  Status check_sections(uint64_t size);
  const XclbinSection* find(SectionKind kind) const;

  std::string path_;
  std::ifstream file_;
  XclbinHeader header_{};
  std::vector<XclbinSection> sections_;
};

bool XclbinReader::take(uint64_t offset, void* to, uint64_t bytes) {
  file_.clear();
  file_.seekg(static_cast<std::streamoff>(offset));
  file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
  return static_cast<uint64_t>(file_.gcount()) == bytes;
}

Status XclbinReader::check_header(uint64_t size) {
  if (size < sizeof header_ || !take(0, &header_, sizeof header_)) {
    return bad("has " + std::to_string(size) + " bytes, fewer than an xclbin's header");
  }
  if (std::memcmp(header_.magic, kXclbinMagic, sizeof kXclbinMagic) != 0) return bad("is not an xclbin");
  if (header_.length != size)
    return bad("says that it has " + std::to_string(header_.length) + " bytes, has " + std::to_string(size));
  if (header_.sections == 0 || header_.sections > kMostSections)
    return bad("has " + std::to_string(header_.sections) + " sections");
  return {};
}

Status XclbinReader::check_sections(uint64_t size) {
  sections_.resize(header_.sections);
  if (!take(sizeof header_, sections_.data(), sections_.size() * sizeof(XclbinSection)))
    return bad("ends within its table of sections");
  for (const XclbinSection& s : sections_) {
    if (s.offset > size || s.bytes > size - s.offset) {
      return bad("section " + std::to_string(s.kind) + " of " + std::to_string(s.bytes) + " bytes at " +
                 std::to_string(s.offset) + " reaches past its end");
    }
  }
  for (const auto kind : {SectionKind::kBitstream, SectionKind::kMetadata, SectionKind::kMemoryTopology,
                          SectionKind::kConnectivity, SectionKind::kIpLayout}) {
    const XclbinSection* s = find(kind);
    if (s == nullptr || s->bytes == 0) return bad("lacks section " + std::to_string(static_cast<uint32_t>(kind)));
  }
  return {};
}

const XclbinSection* XclbinReader::find(SectionKind kind) const {
  const auto at =
      std::find_if(sections_.begin(), sections_.end(), [&](const auto& s) { return s.kind == static_cast<uint32_t>(kind); });
  return at == sections_.end() ? nullptr : &*at;
}

Result<XclbinDescription> XclbinReader::read() {
  std::error_code failed;
  const bool regular = std::filesystem::is_regular_file(path_, failed);
  const uintmax_t size = regular ? std::filesystem::file_size(path_, failed) : 0;
  if (!regular || failed || !file_) return bad("cannot be read");
  TESSERA_TRY(check_header(size));
  TESSERA_TRY(check_sections(size));
  const XclbinSection& metadata = *find(SectionKind::kMetadata);
  if (metadata.bytes > kMostMetadata) return bad("has " + std::to_string(metadata.bytes) + " bytes of metadata");
  std::string xml(metadata.bytes, '\0');
  if (!take(metadata.offset, xml.data(), xml.size())) return bad("ends within its metadata");
  XclbinDescription description;
  description.project = project_of(xml);
  description.mode = header_.mode;
  description.kernels = parse_kernels(xml);
  for (const unsigned char byte : header_.uuid) {
    constexpr char kDigits[] = "0123456789abcdef";
    description.uuid += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  if (description.kernels.empty()) return bad("describes no kernels");
  return description;
}

}  // namespace

const KernelDescription* XclbinDescription::find(std::string_view kernel) const {
  const auto at = std::find_if(kernels.begin(), kernels.end(), [&](const auto& k) { return k.name == kernel; });
  return at == kernels.end() ? nullptr : &*at;
}

std::vector<KernelDescription> parse_kernels(std::string_view xml) {
  std::vector<KernelDescription> kernels;
  bool inside = false;
  while (const auto tag = next_tag(xml)) {
    if (tag->name == "kernel") {
      const std::string name = tag->attribute("name");
      inside = !name.empty();
      if (inside) kernels.push_back({name, {}, {}});
    }
    if (!inside) continue;
    if (tag->name == "/kernel") inside = false;
    if (tag->name == "arg") kernels.back().arguments.push_back(tag->attribute("name"));
    if (tag->name == "instance") kernels.back().instances.push_back({tag->attribute("name"), 0});
    if (tag->name == "addrRemap" && !kernels.back().instances.empty())
      kernels.back().instances.back().base = std::strtoull(tag->attribute("base").c_str(), nullptr, 0);
  }
  return kernels;
}

Result<XclbinDescription> read_xclbin(const std::string& path) { return XclbinReader(path).read(); }

}  // namespace tessera::fpga
