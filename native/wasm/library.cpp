// What the standard library would ask an operating system for.
#include <time.h>

#include <__verbose_abort>
#include <cmath>

#include "wasm/host.h"

extern "C" {
int clock_gettime(clockid_t, struct timespec* now) {
  const double seconds = cre::hostSeconds();
  now->tv_sec = static_cast<time_t>(std::floor(seconds));
  now->tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
  return 0;
}

_Noreturn void abort(void) { __builtin_trap(); }
}

_LIBCPP_BEGIN_NAMESPACE_STD
void __libcpp_verbose_abort(const char*, ...) { __builtin_trap(); }
_LIBCPP_END_NAMESPACE_STD
