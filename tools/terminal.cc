// Measures and paints text for a terminal.
#include "tools/terminal.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

namespace tessera {
namespace {

constexpr int kDefaultColumns = 100;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The next code point and its length in bytes; -1 and 1 for an invalid byte.
std::pair<int32_t, size_t> next_code_point(std::string_view text) {
  utf8proc_int32_t point = -1;
  const utf8proc_ssize_t length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                                   static_cast<utf8proc_ssize_t>(text.size()), &point);
  if (length <= 0 || point < 0) return {-1, 1};
  return {point, static_cast<size_t>(length)};
}

int point_cells(int32_t point) {
  if (point < 0x20 || point == 0x7f) return 1;
  return utf8proc_charwidth(point);
}

const char* code(Paint paint) {
  switch (paint) {
    case Paint::kPlain:
      return "";
    case Paint::kBold:
      return "\x1b[1m";
    case Paint::kDim:
      return "\x1b[2m";
    case Paint::kGood:
      return "\x1b[32m";
    case Paint::kWarn:
      return "\x1b[33m";
    case Paint::kBad:
      return "\x1b[31m";
    case Paint::kAccent:
      return "\x1b[36m";
  }
  return "";
}

}  // namespace

int terminal_columns() {
  int columns = 0;
  if (const char* given = std::getenv("COLUMNS")) columns = std::atoi(given);
  winsize size{};
  if (columns <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) columns = size.ws_col;
  if (columns <= 0) columns = kDefaultColumns;
  return std::clamp(columns, 60, 400);
}

bool colours_wanted() {
  const char* refused = std::getenv("NO_COLOR");
  if (refused != nullptr && *refused != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return isatty(STDOUT_FILENO) == 1;
}

std::string Painter::operator()(Paint paint, std::string_view text) const {
  if (!on_ || paint == Paint::kPlain || text.empty()) return std::string(text);
  return code(paint) + std::string(text) + "\x1b[0m";
}

std::string Painter::layer(int index, std::string_view text) const {
  if (!on_ || text.empty()) return std::string(text);
  // 256-colour palette: light enough on black, dark enough on white; neighbours differ in hue.
  static constexpr int kPalette[] = {33, 208, 35, 170, 37, 178, 105, 167};
  return "\x1b[38;5;" + std::to_string(kPalette[static_cast<size_t>(index) % 8]) + "m" + std::string(text) + "\x1b[0m";
}

int cells(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    const auto [point, length] = next_code_point(text);
    width += point < 0 ? 1 : point_cells(point);
    text.remove_prefix(length);
  }
  return width;
}

std::string printable(std::string_view text, int width) {
  std::string shown, room;  // `room`: what is shown if the text turns out too long
  int used = 0;
  bool room_set = false;
  while (!text.empty()) {
    const auto [point, length] = next_code_point(text);
    const bool odd = point < 0x20 || point == 0x7f;
    const int step = odd ? 1 : point_cells(point);
    if (!room_set && used + step > width - 3) {
      room = shown;
      room_set = true;
    }
    if (used + step > width) return room + "...";
    shown += odd ? kReplacement : text.substr(0, length);
    used += step;
    text.remove_prefix(length);
  }
  return shown;
}

std::string pad(std::string text, int width) {
  const int used = cells(text);
  if (used < width) text.append(static_cast<size_t>(width - used), ' ');
  return text;
}

std::string pad_left(std::string text, int width) {
  const int used = cells(text);
  if (used < width) text.insert(0, static_cast<size_t>(width - used), ' ');
  return text;
}

Progress::Progress(std::string what)
    : what_(std::move(what)), shown_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()), last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::update(int64_t done, int64_t total, std::optional<Duration> left) {
  if (!shown_ || total <= 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && done < total && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  constexpr int kBar = 30;
  const int filled = static_cast<int>(done * kBar / total);
  std::string bar;
  for (int i = 0; i < kBar; ++i) bar += i < filled ? "█" : "·";
  const double passed = std::chrono::duration<double>(now - start_).count();
  if (!left && done > 0) left = from_seconds(passed * static_cast<double>(total - done) / static_cast<double>(done));
  const bool known = left && *left != kForever;
  std::fprintf(stderr, "\r\x1b[K%s %s %lld/%lld  %s left", what_.c_str(), bar.c_str(), static_cast<long long>(done),
               static_cast<long long>(total), known ? to_string(*left).c_str() : "?");
  std::fflush(stderr);
}

void Progress::clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace tessera
