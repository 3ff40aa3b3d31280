// What the JavaScript around the module supplies (src/compute/wasm/serve.js). The module has no other imports but its memory.
#pragma once
#include <cstdint>

namespace cre {

#define CRE_IMPORT(name) __attribute__((import_module("env"), import_name(#name)))
#define CRE_EXPORT(name) extern "C" __attribute__((export_name(#name)))

// Tells the JavaScript thread that the answer `id` has `elements` numbers at `data`, which it frees.
CRE_IMPORT(answer) void hostAnswer(uint32_t id, const void* data, uint32_t elements);
// Throws JavaScript errors, which end this thread. The first one is for an allocation that failed.
[[noreturn]] CRE_IMPORT(outOfMemory) void hostOutOfMemory(double bytes);
[[noreturn]] CRE_IMPORT(stopped) void hostStopped();
CRE_IMPORT(seconds) double hostSeconds();
// Processor time of the process, 0 where it is not known.
CRE_IMPORT(processorSeconds) double hostProcessorSeconds();

// Set when a thread has failed; the others stop when they would wait for it.
void setFailed();
bool hasFailed();

}  // namespace cre
