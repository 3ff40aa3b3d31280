#!/usr/bin/env bash
# Runs the tests of the native backend on addons built with AddressSanitizer or ThreadSanitizer.
# usage: test/sanitize.sh address|thread [vitest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?usage: test/sanitize.sh address|thread}
shift
case $kind in
  address) library=libasan.so; export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:detect_stack_use_after_return=0 ;;
  thread) library=libtsan.so; export TSAN_OPTIONS="halt_on_error=1:report_bugs=1:ignore_noninstrumented_modules=1" ;;
  *) echo "unknown sanitizer '$kind', expected address or thread" >&2; exit 1 ;;
esac
export CRE_SANITIZE=$kind CRE_NATIVE=require CRE_LEVELS=${CRE_LEVELS:-all}
npx tsc -p tsconfig.build.json
node dist/compute/wasm/assets.js
node dist/compute/native/build.js
# Node itself is not built with the sanitizer, so its run-time library has to come first in the process.
preload=$("${CXX:-g++}" -print-file-name="$library")
LD_PRELOAD=$preload node node_modules/vitest/vitest.mjs run --pool=forks --no-file-parallelism "${@:-src/compute/native/native.test.ts}"
