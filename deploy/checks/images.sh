#!/usr/bin/env bash
# Builds every image of deploy/docker/Dockerfile and tries what is in it: the programs start as the user they are for, on a root
# that can't be written to, no library is missing, and `farm` makes a presentation.
#
# With docker, or buildah where registries can be reached, as anybody would. Else with buildah, in a chroot, on stand-ins for the
# base images: Debian by debootstrap, and Rust as it is on this machine. FARM_PROGRAMS: a folder with the three programs; they are
# not compiled then, and the stage `build` is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
file=deploy/docker/Dockerfile
targets=(coordinator worker worker-nvidia farm)
debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/$(sed -n 's/^FROM \(rust:[^ ]*\) .*/\1/p' "$file")
context=.
export BUILDAH_ISOLATION=chroot
mounts=()
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ -n "${FARM_PROGRAMS:-}" ]; then
  context=$scratch
  mkdir "$context/programs"
  for program in coordinator worker farm; do
    objcopy --compress-debug-sections=zlib "$FARM_PROGRAMS/$program" "$context/programs/$program"
  done
  awk '/^FROM /{left_out = / AS build$/; if (left_out) print "FROM scratch AS build\nCOPY programs /programs"} !left_out' \
    "$file" >"$scratch/Dockerfile"
  file=$scratch/Dockerfile
  rust=$debian
fi

stand_ins() {
  root=$(mktemp -d)
  # shellcheck disable=SC2016 # apt's own
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | sed -n 1p)
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" || { tail "$root.log"; exit 1; }
  # Packages come from where this machine has them from.
  rm -f "$root/etc/apt/sources.list"
  cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d "$root/etc/apt/"
  container=$(buildah from scratch)
  buildah add -q "$container" "$root" /
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q "$container" "$debian"
  buildah config --env RUSTUP_HOME=/root/.rustup --env CARGO_HOME=/root/.cargo \
    --env PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  [ "$rust" = "$debian" ] || buildah commit -q "$container" "$rust"
  buildah rm "$container" >/dev/null
  rm -rf "$root" "$root.log"
}

if docker info >/dev/null 2>&1; then
  build() { docker build -f "$file" --target "$1" -t "farm/$1" "$context"; }
  inside() { docker run --rm --read-only --network none --entrypoint sh "${@:3}" "farm/$1" -c "$2"; }
  user() { docker image inspect -f '{{.Config.User}}' "farm/$1"; }
  health() { docker image inspect -f '{{.Config.Healthcheck}}' "farm/$1"; }
  size() { docker image inspect -f '{{.Size}}' "farm/$1"; }
else
  if ! buildah pull -q "$debian" >/dev/null 2>&1; then
    echo "no registry can be reached: base images are made here"
    for image in "$debian" "$rust"; do
      buildah inspect --type image "$image" >/dev/null 2>&1 || { stand_ins; break; }
    done
    mounts=(--pull-never -v "$HOME/.rustup:/root/.rustup" -v "$HOME/.cargo:/root/.cargo")
  fi
  # The format of OCI has no place for HEALTHCHECK.
  build() { buildah bud -q --layers --format docker "${mounts[@]}" -f "$file" --target "$1" -t "farm/$1" "$context"; }
  inside() {
    container=$(buildah from --pull-never "localhost/farm/$1")
    buildah run --user "$(user "$1")" "${@:3}" "$container" -- sh -c "$2"
    buildah rm "$container" >/dev/null
  }
  user() { buildah inspect --type image -f '{{.OCIv1.Config.User}}' "localhost/farm/$1"; }
  health() { buildah inspect --type image -f '{{.Docker.Config.Healthcheck}}' "localhost/farm/$1"; }
  size() { buildah images --json "localhost/farm/$1" | sed -n 's/.*"size": "\(.*\)".*/\1/p'; }
fi

for target in "${targets[@]}"; do
  build "$target" >/dev/null
  program=${target%-nvidia}
  [ "$(user "$target")" = 10001:10001 ] || { echo "$target runs as $(user "$target")"; exit 1; }
  [[ $(health "$target") == *CMD* ]] || { echo "$target does not say how it is"; exit 1; }
  # shellcheck disable=SC2016 # expanded inside
  inside "$target" '
    set -e
    [ "$(id -u):$(id -g)" = 10001:10001 ]
    '"$program"' --version
    ! ldd "/usr/local/bin/'"$program"'" | grep "not found"
    ! touch /usr/local/bin/x 2>/dev/null
    ! command -v cargo gcc curl >/dev/null'
  echo "farm/$target: $(size "$target")"
done
media=$PWD/farm/tests/media
inside farm 'cd /tmp && farm transcode /media/edit_list.mp4 /tmp/out --slots 1 && test -s /tmp/out/master.m3u8' \
  -v "$media:/media:ro"
echo "all ${#targets[@]} images are built and work"
