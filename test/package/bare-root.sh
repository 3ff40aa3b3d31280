#!/usr/bin/env bash
# Installs and runs this program in a bare root file system: Debian's smallest, with Node and without a compiler, Python, git or a network.
# usage: test/package/bare-root.sh [checkout] [test] [demo] [packages]     (all of them by default)
#   checkout   npm ci of the last commit (test and demo need it)
#   test       npm test of the files that CRE_TEST_FILES names; their native tests are skipped by name
#   demo       npm run demo, on WebAssembly
#   packages   the archives of build/release/packages, installed as root and used by another user: npx cre demo on the compiled addons
# CRE_BARE_ROOT is a folder for the file system, kept and used again; CRE_NODE the version of Node (20); CRE_DEMO has words for cre demo. Needs
# root, debootstrap and unshare.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${*:-checkout test demo packages}
files=${CRE_TEST_FILES:-src/compute/native src/compute/wasm src/compute/open.test.ts test/e2e/native-training.test.ts src/models}
. test/package/root-file-system.sh
need_roots

kept=${CRE_BARE_ROOT:-}
folder=${kept:-$(mktemp -d /var/tmp/cre-bare-root-XXXXXX)}
[ -n "$kept" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
root=$folder/root
version=$(node -p 'require("./package.json").version')

make_root "$folder" "$(. /etc/os-release && echo "$VERSION_CODENAME")" "${CRE_NODE:-20}"
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
      cp "$archives/cre-llm-$version.tgz" "$archives/cre-llm-linux-x64-gnu-$version.tgz" "$root/installed/"
      echo '{"private": true}' | tee "$root/installed/package.json" > "$folder/fill/package.json"
      npm install --prefix "$folder/fill" --cache "$root/cache" --ignore-scripts --no-audit --no-fund --silent "$root/installed/cre-llm-$version.tgz"
      inside "$root" 0:0 "cd /installed && npm install --prefer-offline ./*.tgz"
      mkdir -p "$root/home/user" && chown 1000:1000 "$root/home/user"
      # CRE_BACKEND=native: an addon that cannot be loaded is an error, not a slower run.
      timed inside "$root" 1000:1000 'cd /home/user && rm -rf runs && CRE_BACKEND=native node /installed/node_modules/.bin/cre demo '"${CRE_DEMO:-}"
      ;;
    *) echo "unknown step $step" >&2 && exit 1 ;;
  esac
done
