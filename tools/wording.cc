// Formats ranges, and wraps lines.
#include "tools/wording.h"

#include <cmath>
#include <cstdio>
#include <sstream>

#include "tools/terminal.h"

namespace tessera {

std::string format_number(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), pattern, value);
  return text;
}

std::string slice_list(SliceMask slices) {
  std::string text;
  for (int j = 0; j < kMaxSlices; ++j) {
    if ((slices >> j & 1) == 0) continue;
    int last = j;
    while (last + 1 < kMaxSlices && (slices >> (last + 1) & 1) != 0) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(j);
    if (last > j) text += (last > j + 1 ? "-" : ", ") + std::to_string(last);
    j = last;
  }
  return text;
}

std::string bits_words(Bits bits) {
  if (bits == kAbsent) return "absent";
  if (bits == kExact) return "exact";
  return std::to_string(bits) + (bits == 1 ? " bit" : " bits");
}

std::string range_text(const char* pattern, double low, double high) {
  const std::string from = format_number(pattern, low), to = format_number(pattern, high);
  return from == to ? from : from + "-" + to;
}

std::string nats_text(double nats) { return format_number(std::abs(nats) >= 0.001 || nats == 0 ? "%.4f" : "%.6f", nats); }

std::string nats_range(double low, double high) {
  const std::string from = nats_text(low), to = nats_text(high);
  return from == to ? from : from + "-" + to;
}

std::string range_text(Duration low, Duration high) {
  if (low == high) return to_string(low);
  if (high < microseconds(1)) return range_text("%.0f", static_cast<double>(low.ns), static_cast<double>(high.ns)) + " ns";
  if (high < milliseconds(1)) return range_text("%.1f", low.us(), high.us()) + " us";
  return range_text("%.2f", low.ms(), high.ms()) + " ms";
}

std::string range_text(Bytes low, Bytes high) {
  if (low == high) return to_string(low);
  const auto scaled = [](Bytes b, int64_t unit) { return static_cast<double>(b.n) / static_cast<double>(unit); };
  if (high < mib(1)) return range_text("%.1f", scaled(low, 1 << 10), scaled(high, 1 << 10)) + " KiB";
  return range_text("%.2f", scaled(low, 1 << 20), scaled(high, 1 << 20)) + " MiB";
}

std::string wrapped(const std::string& text, int first_column, int indent, int columns) {
  std::istringstream words(text);
  std::string out, word;
  int column = first_column;
  bool fresh = true;  // nothing stands in this line yet
  while (words >> word) {
    const int wide = cells(word);
    if (!fresh && column + 1 + wide > columns) {
      out += '\n' + std::string(static_cast<size_t>(indent), ' ');
      column = indent;
      fresh = true;
    }
    out += (fresh ? "" : " ") + word;
    column += wide + (fresh ? 0 : 1);
    fresh = false;
  }
  return out;
}

}  // namespace tessera
