#include "runtime/executor.h"

#include <time.h>

#include <exception>
#include <new>
#include <utility>

namespace cre {

namespace {

double secondsOf(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

constexpr size_t kQueuedPayloadBytes = size_t{256} << 20;

Executor::Executor(int threads) : thread_([this, threads] { serve(threads); }) {}

void Executor::issue(Job job, size_t payloadBytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (payloadBytes > 0) {
    drained_.wait(lock, [&] { return payloadBytes_ == 0 || payloadBytes_ + payloadBytes <= kQueuedPayloadBytes || stopping_; });
  }
  payloadBytes_ += payloadBytes;
  queue_.push_back({std::move(job), payloadBytes, false, kind_});
  if (queue_.size() == 1) filled_.notify_one();
}

void Executor::issueAlways(Job job) {
  std::lock_guard<std::mutex> lock(mutex_);
  queue_.push_back({std::move(job), 0, true, kind_});
  if (queue_.size() == 1) filled_.notify_one();
}

void Executor::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  filled_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Executor::serve(int threads) {
  Pool pool(threads);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    filled_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (entry.kind == 0) run(pool, entry);
    else runTimed(pool, entry);
    entry.job = nullptr;
    lock.lock();
    if (entry.payloadBytes > 0) {
      payloadBytes_ -= entry.payloadBytes;
      drained_.notify_all();
    }
  }
}

void Executor::label(int kind) {
  std::lock_guard<std::mutex> lock(mutex_);
  kind_ = kind;
  if (spent_.size() <= static_cast<size_t>(kind)) spent_.resize(kind + 1);
}

std::vector<Executor::Spent> Executor::spent() {
  std::lock_guard<std::mutex> lock(mutex_);
  return spent_;
}

void Executor::runTimed(Pool& pool, const Entry& entry) {
  const double start = secondsOf(CLOCK_MONOTONIC), startProcessor = secondsOf(CLOCK_PROCESS_CPUTIME_ID);
  run(pool, entry);
  const double seconds = secondsOf(CLOCK_MONOTONIC) - start, processorSeconds = secondsOf(CLOCK_PROCESS_CPUTIME_ID) - startProcessor;
  std::lock_guard<std::mutex> lock(mutex_);
  Spent& spent = spent_[entry.kind];
  spent.calls++;
  spent.seconds += seconds;
  spent.processorSeconds += processorSeconds;
}

void Executor::run(Pool& pool, const Entry& entry) {
  if (!entry.always && !failure_.empty()) return;
  try {
    entry.job(pool);
  } catch (const std::bad_alloc&) {
    if (failure_.empty()) failure_ = "the native backend ran out of memory";
  } catch (const std::exception& error) {
    if (failure_.empty()) failure_ = std::string("the native backend failed: ") + error.what();
  }
}

}  // namespace cre
