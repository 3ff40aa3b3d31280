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

  // Runs after everything issued before. Jobs that fail leave their message in failure(), and later ones are left out. `payloadBytes` is
  // what the job carries; the call waits while too much of that is queued (loading a large model must not be queued as a whole).
  void issue(Job job, size_t payloadBytes = 0);
  // Like issue, but also run after a failure: frees and answers.
  void issueAlways(Job job);
  // What is issued from now on counts as this kind of job (from 1; 0 counts nothing).
  void label(int kind);
  struct Spent {
    double calls = 0, seconds = 0, processorSeconds = 0;
  };
  // By kind, from the beginning; jobs still queued are not in it.
  std::vector<Spent> spent();
  // Drops what is queued, waits for the job that runs, ends the threads.
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
