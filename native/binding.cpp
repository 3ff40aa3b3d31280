#include <napi.h>

#include "kernels.h"

static Napi::Object initialise(Napi::Env, Napi::Object exports) { return exports; }
NODE_API_MODULE(cre, initialise)
