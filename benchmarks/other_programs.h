// Tells what other programs take of this machine meanwhile.
#pragma once

#include <algorithm>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include "framework/clock.h"

namespace tessera {

// What other programs take of this machine's processors: a round beside them says nothing about the machine.
class Others {
 public:
  Others() { restart(); }
  void restart() {
    busy_ = busy_seconds() - own_seconds();
    start_ = WallClock::instance().now();
  }
  // The share of one core since the last restart.
  double share() const {
    return (busy_seconds() - own_seconds() - busy_) / std::max(1e-3, (WallClock::instance().now() - start_).seconds());
  }

 private:
  static double own_seconds() {
    struct rusage use {};
    ::getrusage(RUSAGE_SELF, &use);
    return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
  }
  static double busy_seconds() {
    std::ifstream file("/proc/stat");
    std::string word;
    double user = 0, nice = 0, system = 0;
    file >> word >> user >> nice >> system;
    return (user + nice + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  double busy_ = 0;
  Duration start_;
};

}  // namespace tessera
