// One thread that runs issued jobs in order, so that the event loop of Node stays free; it is thread 0 of the pool.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/threads.h"

namespace cre {

class Executor {
 public:
  using Job = std::function<void(Pool&)>;

  explicit Executor(int threads);
  ~Executor() { stop(); }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs after everything issued before. A job that fails sets failure(), and later jobs are skipped. `payloadBytes`:
  // data that the job owns; the call waits while too much of it is queued, so that a large model is never queued as a whole.
  void issue(Job job, size_t payloadBytes = 0);
  // Like issue, but the job also runs after a failure: for frees and answers.
  void issueAlways(Job job);
  // Jobs issued from now on are counted as this kind (from 1; 0: not counted).
  void label(int kind);
  struct Spent {
    double calls = 0, seconds = 0, processorSeconds = 0;
  };
  // Totals by kind since the start; queued jobs are not included.
  std::vector<Spent> spent();
  // Drops queued jobs, waits for the current one, ends the threads.
  void stop();
  // On the executor thread: the message of the first failure, or empty.
  const std::string& failure() const { return failure_; }

 private:
  struct Entry {
    Job job;
    size_t payloadBytes;
    bool always;
    int kind;
  };
  void serve(int threads);
  void run(Pool& pool, const Entry& entry);
  void runTimed(Pool& pool, const Entry& entry);

  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable drained_;
  std::deque<Entry> queue_;
  size_t payloadBytes_ = 0;
  bool stopping_ = false;
  int kind_ = 0;
  std::vector<Spent> spent_;
  std::string failure_;
  std::thread thread_;
};

}  // namespace cre
