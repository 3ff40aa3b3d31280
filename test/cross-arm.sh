#!/usr/bin/env bash
# Compiles the level neon for 64-bit Arm with Debian's cross compiler; test/package/contract.mjs runs the contract on a compiled addon.
# usage: test/cross-arm.sh   (CXX_ARM names the compiler; Debian: apt-get install g++-aarch64-linux-gnu)
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=${CXX_ARM:-aarch64-linux-gnu-g++}
if ! command -v "$compiler" > /dev/null; then
  echo "skipped: $compiler is not installed (Debian: apt-get install g++-aarch64-linux-gnu)"
  exit 0
fi
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags=(-std=c++17 -O3 -fPIC -fno-math-errno -ffp-contract=fast -pthread -Wall -Wextra -Werror -DNAPI_VERSION=8 -DNAPI_CPP_EXCEPTIONS
  -DNODE_ADDON_API_DISABLE_DEPRECATED -DCRE_NEON '-DCRE_LEVEL="neon"' -Inative -isystemnode_modules/node-addon-api -isystemnode_modules/node-api-headers/include)
count=0
for source in native/*/*.cpp; do
  case $source in *_bf16.cpp | */cpu_addon.cpp | */cpu.cpp | native/wasm/*) continue ;; esac  # as in src/compute/native/build.ts
  "$compiler" "${flags[@]}" -c "$source" -o "$objects/$(basename "$source" .cpp).o"
  count=$((count + 1))
done
"$compiler" -shared -pthread "$objects"/*.o -o "$objects/cre-neon.node"
neon=$("${compiler%g++}objdump" -d "$objects/matmul_float.o" | grep -c 'fmla.*\.s\[' || true)
echo "$count files compiled and linked for $("$compiler" -dumpmachine); $neon NEON multiply-adds by lane (fmla) in the float products"
test "$neon" -gt 0
