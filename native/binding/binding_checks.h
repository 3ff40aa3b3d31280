// Functions of the addon that need no engine.
#pragma once
#include <napi.h>

namespace cre {

void addChecks(Napi::Env env, Napi::Object exports);

}  // namespace cre
