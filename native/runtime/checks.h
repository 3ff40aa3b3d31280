// Checks of a model's bytes: their CRC-32, and whether all numbers are finite.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cre {

enum class Numbers { f32 = 0, f16 = 1, bf16 = 2 };

// CRC-32 of bytes (zlib's polynomial), continued from the sum of the bytes before them.
uint32_t crc32(uint32_t before, const uint8_t* bytes, size_t count);
// The same by tables alone: on processors without carry-less multiplication, and the judge of the fast one.
uint32_t crc32ByTables(uint32_t before, const uint8_t* bytes, size_t count);

// Whether none of the little-endian numbers, which are whole, is NaN or infinite.
bool allFinite(Numbers type, const uint8_t* bytes, size_t count);

}  // namespace cre
