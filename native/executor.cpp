#include "executor.h"

#include <exception>
#include <new>
#include <utility>

namespace cre {

constexpr size_t kQueuedPayloadBytes = size_t{256} << 20;

Executor::Executor(int threads) : thread_([this, threads] { serve(threads); }) {}

void Executor::issue(Job job, size_t payloadBytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (payloadBytes > 0) {
    drained_.wait(lock, [&] { return payloadBytes_ == 0 || payloadBytes_ + payloadBytes <= kQueuedPayloadBytes || stopping_; });
  }
  payloadBytes_ += payloadBytes;
  queue_.push_back({std::move(job), payloadBytes, false});
  if (queue_.size() == 1) filled_.notify_one();
}

void Executor::issueAlways(Job job) {
  std::lock_guard<std::mutex> lock(mutex_);
  queue_.push_back({std::move(job), 0, true});
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
    run(pool, entry);
    entry.job = nullptr;
    lock.lock();
    if (entry.payloadBytes > 0) {
      payloadBytes_ -= entry.payloadBytes;
      drained_.notify_all();
    }
  }
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
