// Has the report of a results' folder made, by the Python program that is installed beside the command.
#pragma once

#include <string>

namespace tessera {

// OUT/report.html and its figures. A failure is told on stderr with its remedy, and is not the sweep's.
void make_report(const std::string& out);

}  // namespace tessera
