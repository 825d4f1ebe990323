// Workers that end between two jobs: nothing is lost with them.
#include "tools/worker_pool.h"

#include <atomic>
#include <csignal>
#include <map>
#include <new>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera::testing {
namespace {

using Tell = std::function<void(const std::string&)>;

// Answers, and ends before it could take another job.
std::string answer_and_end(const Tell& tell, const std::string& answer) {
  tell("= " + answer);
  ::_exit(3);
}

// Ends of jobs, as they were told.
struct Heard {
  std::map<uint64_t, std::string> answers;
  int lost = 0;
  Status note(const JobEnd& end) {
    if (end.lost.empty()) answers[end.job] = end.answer;
    lost += !end.lost.empty();
    return {};
  }
};

TEST(WorkerPool, AWorkerThatEndsAfterTheLastJobWasDealtCostsNothing) {
  Heard heard;
  PoolOptions options;
  options.workers = 2;
  void* page = ::mmap(nullptr, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* first = new (page) std::atomic<pid_t>(0);
  options.make = [first](PolicyPulse&) {
    return Worker{[first](uint64_t job, const Tell& tell) -> std::string {
      if (job == 0) {
        first->store(::getpid());
        return answer_and_end(tell, "0");
      }
      // Until the parent has noticed that the other one is gone.
      while (first->load() == 0 || ::kill(first->load(), 0) == 0) ::sched_yield();
      return "1";
    }};
  };
  options.ended = [&heard](const JobEnd& end, std::vector<uint64_t>&) { return heard.note(end); };
  const Status done = run_jobs(options, {0, 1});
  ::munmap(page, sizeof(pid_t));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(heard.lost, 0);
  EXPECT_EQ(heard.answers, (std::map<uint64_t, std::string>{{0, "0"}, {1, "1"}}));
}

TEST(WorkerPool, AJobThatItsWorkerDidNotLiveToTakeGoesToAnother) {
  Heard heard;
  PoolOptions options;
  options.make = [](PolicyPulse&) {
    return Worker{[](uint64_t job, const Tell& tell) {
      tell(std::to_string(::getpid()));
      return answer_and_end(tell, std::to_string(job));
    }};
  };
  pid_t worker = -1;
  options.heard = [&worker](uint64_t, const std::string& line) {
    worker = std::stoi(line);
    return Status();
  };
  options.ended = [&](const JobEnd& end, std::vector<uint64_t>&) {
    siginfo_t info;
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(worker), &info, WEXITED | WNOWAIT), 0);  // gone before the next is dealt
    return heard.note(end);
  };
  const Status done = run_jobs(options, {0, 1, 2, 3});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(heard.lost, 0);
  EXPECT_EQ(heard.answers.size(), 4U);
}

// Each gets a job as it starts, and loses it.
TEST(WorkerPool, WorkersThatNeverComeUpLoseTheirJobsAndEnd) {
  Heard heard;
  PoolOptions options;
  options.workers = 2;
  options.make = [](PolicyPulse&) -> Worker { ::_exit(3); };
  options.ended = [&](const JobEnd& end, std::vector<uint64_t>&) {
    EXPECT_TRUE(end.first);
    return heard.note(end);
  };
  ASSERT_TRUE(run_jobs(options, {0, 1, 2}).ok());
  EXPECT_EQ(heard.lost, 3);
}

}  // namespace
}  // namespace tessera::testing
