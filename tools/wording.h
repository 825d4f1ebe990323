// Words lists of slices, ranges of figures, and lines that keep within the terminal.
#pragma once

#include <string>
#include <vector>

#include "framework/model_shape.h"

namespace tessera {

// printf of one number.
std::string format_number(const char* pattern, double value);
// "0-3, 5"
std::string slice_list(SliceMask slices);
// "exact", "2 bits", "absent"
std::string bits_words(Bits bits);
// "0.12" where both print alike, else "0.12-0.30".
std::string range_text(const char* pattern, double low, double high);
// Loss without its unit: to a ten-thousandth, small ones to a millionth: "0.0041", "0.000102", "0.0012-0.0085".
std::string nats_text(double nats);
std::string nats_range(double low, double high);
// The same with one unit for both: "12.0-15.5 KiB", "93.0 us - 1.20 ms" as "0.09-1.20 ms".
std::string range_text(Duration low, Duration high);
std::string range_text(Bytes low, Bytes high);
// Breaks at blanks, so that lines after the first start with `indent` blanks; no line is wider than `columns` unless a word
// is.
std::string wrapped(const std::string& text, int first_column, int indent, int columns);

}  // namespace tessera
