// Knows the terminal: its width, whether it shows colours, how wide a text is; draws progress on stderr.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "framework/units.h"

namespace tessera {

// Columns of stdout: $COLUMNS, else the terminal's, else 100. Within [60, 400].
int terminal_columns();
// stdout is a terminal, NO_COLOR is not set and TERM is not "dumb".
bool colours_wanted();

enum class Paint { kPlain, kBold, kDim, kGood, kWarn, kBad, kAccent };

// Wraps text in ANSI codes where wanted; else returns it as it is.
class Painter {
 public:
  explicit Painter(bool on) : on_(on) {}
  bool on() const { return on_; }
  std::string operator()(Paint paint, std::string_view text) const;
  // One of eight distinct colours, for layers.
  std::string layer(int index, std::string_view text) const;

 private:
  bool on_;
};

// Printed cells of a UTF-8 text: one per code point, none for combining marks, two for wide ones (utf8proc). Control
// characters count as one (they are shown as a replacement by printable()).
int cells(std::string_view text);
// At most `width` cells, "..." at the end where it was cut; invalid bytes and control characters become U+FFFD.
std::string printable(std::string_view text, int width);
// Text and blanks up to `width` cells.
std::string pad(std::string text, int width);
std::string pad_left(std::string text, int width);

// A progress bar on stderr where that is a terminal, else nothing. Redrawn at most ten times a second.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  // `left`: the time still to go, where the work knows better than the share that is done.
  void update(int64_t done, int64_t total, std::optional<Duration> left = {});
  void clear();

 private:
  std::string what_;
  bool shown_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace tessera
