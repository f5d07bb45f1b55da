// The threads of a forward: they share out pieces of work, and meet before the next.
//
// A token takes a few milliseconds and some two hundred meetings, so nobody sleeps within one: who
// arrives early spins. Between two forwards they spin a little while, and then sleep.

#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace cloche {

inline void wait_a_moment() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  explicit Team(int size) : size_(size) {
    for (int number = 1; number < size; number++)
      others_.emplace_back([this, number] { serve(number); });
  }

  ~Team() {
    ending_ = true;
    calls_.fetch_add(1, std::memory_order_release);
    calls_.notify_all();
    for (auto& other : others_) other.join();
  }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Have every thread do this, each with its number; back when all have.
  void run(const std::function<void(int)>& work) {
    work_ = &work;
    calls_.fetch_add(1, std::memory_order_release);
    calls_.notify_all();
    work(0);
    meet();
  }

  // Wait until all have come here.
  void meet() {
    const int meeting = meetings_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      next_.store(0, std::memory_order_relaxed);
      meetings_.store(meeting + 1, std::memory_order_release);
      return;
    }
    for (int turn = 0; meetings_.load(std::memory_order_acquire) == meeting; turn++) {
      wait_a_moment();
      if (turn > LONGEST_SPIN) std::this_thread::yield();  // the others may have no processor
    }
  }

  // Share out `total` pieces, `chunk` at a time to whoever is free; all meet afterwards.
  template <class Work>
  void share(int total, int chunk, const Work& work) {
    for (;;) {
      const int begin = next_.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= total) break;
      work(begin, std::min(begin + chunk, total));
    }
    meet();
  }

 private:
  static constexpr int LONGEST_SPIN = 4000;
  static constexpr int SPINS_BEFORE_SLEEP = 4000;

  void serve(int number) {
    int seen = 0;
    for (;;) {
      for (int turn = 0; turn < SPINS_BEFORE_SLEEP; turn++) {
        if (calls_.load(std::memory_order_acquire) != seen) break;
        wait_a_moment();
      }
      calls_.wait(seen, std::memory_order_acquire);
      seen++;
      if (ending_) return;
      (*work_)(number);
      meet();
    }
  }

  const int size_;
  std::vector<std::thread> others_;
  const std::function<void(int)>* work_ = nullptr;
  alignas(64) std::atomic<int> calls_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> meetings_{0};
  alignas(64) std::atomic<int> next_{0};
  std::atomic<bool> ending_{false};
};

}  // namespace cloche
