#!/usr/bin/env bash
# Builds the Dockerfile without Docker, and tries the image: its instructions are executed as they are written, in order, each stage in a copy of
# a root file system that debootstrap made; then its server is started by ENTRYPOINT as USER says, asked by HEALTHCHECK and by a client, and ended.
# usage: test/package/dockerfile.sh
# node:VERSION-SUITE becomes Debian's SUITE with Node VERSION; without -slim, with the compilers that this image has. COPY . takes what
# .dockerignore leaves of this folder. Nothing is downloaded inside: npm has a filled cache, by its environment alone.
# CRE_BARE_ROOT is a folder for the file systems, kept and used again. CRE_LEVELS replaces the levels that the Dockerfile compiles: all take
# a quarter of an hour on two cores, one three minutes. Needs root, debootstrap, unshare and ip.
set -euo pipefail
cd "$(dirname "$0")/../.."
libc=gnu
. test/package/root-file-system.sh
need_roots

kept=${CRE_BARE_ROOT:-}
folder=${kept:-$(mktemp -d /var/tmp/cre-dockerfile-XXXXXX)}
[ -n "$kept" ] || trap 'rm -rf "$folder"' EXIT

declare -A stages
stage='' root='' here=/ user=0:0 entry='' health='' variables=()

# base IMAGE: makes its file system once; its folder.
base() {
  local tag=${1#node:} packages=''
  [ "$tag" != "$1" ] || { echo "FROM $1: only images of Node are known" >&2 && return 1; }
  case $tag in *-slim) tag=${tag%-slim} ;; *) packages=g++,make,python3,ca-certificates ;; esac
  local own=$folder/base${packages:+-compilers}
  make_root "$own" "${tag#*-}" "${tag%%-*}" "$packages" >&2
  echo "$own/root"
}

# copy SOURCE... TARGET, of the stage in $from or of this folder.
copy() {
  local names=("${@:1:$#-1}") target=${*: -1}
  [[ $target == /* ]] || target=$here/$target
  mkdir -p "$root$target"
  for name in "${names[@]}"; do
    if [ -n "$from" ]; then
      [ ! -d "$from$name" ] || name=$name/.
      if [ -d "$from$name" ] || [ -d "$root$target" ]; then cp -a "$from$name" "$root$target"; else return 1; fi
    elif [ "$name" = . ]; then
      tar -c --anchored "${ignored[@]}" . | tar -x --no-same-owner -C "$root$target"
    else
      cp "$name" "$root$target"
    fi
  done
}

# Docker's patterns are of the whole path, unless they begin with **/.
mapfile -t ignored < <(sed -e '/^\(#\|$\)/d' -e 's#^\*\*/\(.*\)#--no-anchored --exclude=\1 --anchored#; t' -e 's#^#--exclude=./#' .dockerignore | tr ' ' '\n')
words() { node -e 'for (const word of JSON.parse(process.argv[1])) process.stdout.write(`${word}\0`)' "$1"; }

while read -r instruction rest; do
  echo "$instruction $rest"
  case $instruction in
    FROM)
      read -r image _ stage <<< "$rest"
      stage=${stage:-image} here=/ user=0:0 variables=()
      root=$folder/stages/$stage
      own=$(base "$image") node=${image#node:} node=${node%%-*}
      rm -rf "$root" && mkdir -p "$root" && cp -a --reflink=auto "$own/." "$root"
      stages[$stage]=$root
      ;;
    ENV) for one in $rest; do variables+=("$one"); done ;;
    WORKDIR) here=$rest && mkdir -p "$root$here" ;;
    COPY)
      from=''
      if [[ $rest == --from=* ]]; then
        name=${rest#--from=} && from=${stages[${name%% *}]} rest=${rest#* }
      fi
      # shellcheck disable=SC2086
      copy $rest
      ;;
    RUN)
      if [[ $rest == *'npm ci'* ]]; then fill_cache "$root" "$folder"; fi
      timed inside "$root" "$user" "${variables[@]}" ${CRE_LEVELS:+"CRE_LEVELS=$CRE_LEVELS"} "cd $here && $rest"
      ;;
    USER) user=$rest:$rest variables+=("HOME=/home/$rest") ;;
    HEALTHCHECK) health=${rest#CMD } ;;
    ENTRYPOINT) entry=$rest ;;
    EXPOSE) port=$rest ;;
    *) echo "the instruction $instruction is not known here" >&2 && exit 1 ;;
  esac
done < <(sed -e '/^#/d; /^$/d' -e ':a; /\\$/{N; s/\\\n *//; ba}' Dockerfile)

rm -rf "$root/cache"
echo "the image has $(du -sm "$root" | cut -f 1) MB, $(du -sm "$root$here" | cut -f 1) of them in $here"
echo "0123456789abcdef0123 # of the trial" | cut -d ' ' -f 1 > "$root/token.txt"
mapfile -d '' -t entry < <(words "$entry")
mapfile -d '' -t health < <(words "$health")
cat > "$root/try.sh" <<TRY
set -eu
cd $here
if touch dist/written 2> /dev/null; then echo "the user can change the program" >&2; exit 1; fi
$(printf '%q ' "${entry[@]}") docs/demo/run --log error & server=\$!
for i in \$(seq 240); do if $(printf '%q ' "${health[@]}"); then break; fi; sleep 0.5; done
$(printf '%q ' "${health[@]}")
node -e '
  const ask = (headers) => fetch("http://127.0.0.1:$port/v1/extract", { method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ examples: [{ sentence: "远山集团收购了近水公司的股份。", head: "远山集团", tail: "近水公司" }] }) });
  const refused = await ask({});
  if (refused.status !== 401) throw new Error("without a token: " + refused.status);
  const answer = await ask({ authorization: "Bearer 0123456789abcdef0123" });
  const { results } = await answer.json();
  if (answer.status !== 200 || results[0].predictions[0]?.relation !== "收购") throw new Error(JSON.stringify(results));
  console.log(JSON.stringify(results));
  const { runs } = await (await fetch("http://127.0.0.1:$port/v1/runs", { headers: { authorization: "Bearer 0123456789abcdef0123" } })).json();
  console.log("computed with " + runs[0].backend);
  if (!(await (await fetch("http://127.0.0.1:$port/")).text()).includes("<script")) throw new Error("no page");
' --input-type=module
kill \$server
wait \$server
echo "ended with \$?, as \$(id -un)"
TRY
timed inside "$root" "$user" "${variables[@]}" "bash /try.sh"
