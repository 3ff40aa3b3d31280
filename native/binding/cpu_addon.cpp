// The addon cre-cpu.node, which lists the levels that run here. It is compiled for the baseline processor and loaded before the others, so
// neither the build nor the package loads code of a level that this processor may not run. In C: napi.h would take a second to compile.
#include <node_api.h>

#include "runtime/cpu.h"

// exports.supportedLevels: names of levels, weakest first.
NAPI_MODULE_INIT() {
  napi_value names = nullptr;
  napi_create_array(env, &names);
  const int count = cre::countSupportedLevels();
  for (int i = 0; i < count; i++) {
    napi_value name = nullptr;
    napi_create_string_utf8(env, cre::kLevelNames[i], NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, names, static_cast<uint32_t>(i), name);
  }
  napi_set_named_property(env, exports, "supportedLevels", names);
  return exports;
}
