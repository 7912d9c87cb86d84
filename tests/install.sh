#!/usr/bin/env bash
# Installs the programs that `make test-beyond` needs and that are missing, on Debian, as root or by sudo, and prints which.
# Further packages can be named as arguments; one that this Debian does not have is left out. Nothing else stays changed.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

is_there() {  # is_there PACKAGE: whether it is installed
  [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# Images are built on a base image that a script makes of Debian's packages, because no registry of images may be reachable.
# Citus is in no package, so a script builds it of its source. An outsider's checkout has neither script.
base_image=${AGENTIDP_TEST_BASE_IMAGE:-../shared/containers/base-image.sh}
citus=${AGENTIDP_TEST_CITUS_SOURCE:-../shared/citus}

missing=()
for program in nginx curl jq chromium-headless-shell prometheus prometheus-alertmanager wrk; do
  PATH=$PATH:/usr/sbin command -v "$program" > /dev/null || missing+=("$program")
done
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' > /dev/null || missing+=(faketime)
command -v node > /dev/null || missing+=(nodejs)
command -v npm > /dev/null || missing+=(npm)
compgen -G '/usr/lib/postgresql/1[5-9]/bin/postgres' > /dev/null || missing+=(postgresql)
[ ! -f "$base_image" ] || command -v docker-compose > /dev/null || missing+=(docker-compose)

further=()
for package in "$@"; do
  is_there "$package" || further+=("$package")
done
if [ "${#missing[@]}" -gt 0 ] || [ "${#further[@]}" -gt 0 ]; then
  if ! command -v apt-get > /dev/null; then
    echo "This is no Debian. Install what these packages of Debian have: ${missing[*]} ${further[*]}" >&2
    exit 1
  fi
  as_root apt-get update --quiet
  for package in "${further[@]}"; do
    [ -z "$(apt-cache madison "$package")" ] || missing+=("$package")
  done
fi
if [ "${#missing[@]}" -gt 0 ]; then
  echo "Installing with apt-get: ${missing[*]}"
  # The tests start servers themselves and make clusters of their own: the packages start none and make none.
  temporary=()
  trap '[ "${#temporary[@]}" = 0 ] || as_root rm -f "${temporary[@]}"' EXIT
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    temporary+=("$policy")
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
    as_root chmod +x "$policy"
  fi
  clusters=/etc/postgresql-common/createcluster.d/agentidp-tests.conf
  if [ ! -e "$clusters" ]; then
    temporary+=("$clusters")
    as_root mkdir -p "${clusters%/*}"
    echo 'create_main_cluster = false' | as_root tee "$clusters" > /dev/null
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
else
  echo "Every program that the tests need is installed."
fi
if [ -f "$base_image" ]; then
  echo "Making the base image of the containers, unless it is there: $base_image"
  as_root sh "$base_image"
fi
if [ -f "$citus/build-citus.sh" ]; then
  echo "Building Citus, unless it is there: $citus/build-citus.sh"
  as_root sh "$citus/build-citus.sh" "$(compgen -G "$citus/citus-*.tar.*" | tail -n 1)"
fi
