// What this processor and its operating system can run.
#pragma once
#include <string>
#include <vector>

namespace cre {

// Levels that work here, weakest first: "portable", "avx2", "avx512", "amx".
std::vector<std::string> supportedLevels();

}  // namespace cre
