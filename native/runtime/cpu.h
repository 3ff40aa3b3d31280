// Instruction levels that this processor and its operating system run.
#pragma once

namespace cre {

#if defined(__aarch64__)
constexpr int kLevelCount = 2;
constexpr const char* kLevelNames[kLevelCount] = {"portable", "neon"};
#else
constexpr int kLevelCount = 5;
// Weakest first; each level includes the ones before it.
constexpr const char* kLevelNames[kLevelCount] = {"portable", "avx2", "avx512", "avx512bf16", "amx"};
#endif

// How many of kLevelNames run here. Asks the operating system for the tile registers (for the whole process) before it counts amx.
int countSupportedLevels();

}  // namespace cre
