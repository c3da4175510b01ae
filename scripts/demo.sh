#!/usr/bin/env bash
# Starts four private databases with the sidecar in front of them, and shows requests with their answers.
# `demo.sh run` keeps everything running until interrupted; `demo.sh once` ends after the round. Either way
# it fails when an answer is not the expected one.
set -euo pipefail

mode=${1:-run}
case $mode in
  run | once) ;;
  *) echo "demo: \`$mode\` is neither \`run\` nor \`once\`" >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

echo "demo: building; the first time takes some minutes" >&2
$cargo build --quiet
# Where cargo puts programs is configurable, so cargo is asked.
target=$($cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
bulkhead=$target/debug/bulkhead

work=$(mktemp -d)
dev=
cleanup() {
  trap '' INT TERM
  if [ -n "$dev" ]; then
    kill -TERM "$dev" 2>/dev/null || true
    wait "$dev" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$bulkhead" dev --ready-file "$work/ready.json" >"$work/dev.log" 2>&1 &
dev=$!
while [ ! -e "$work/ready.json" ]; do
  if ! kill -0 "$dev" 2>/dev/null; then
    echo "demo: \`bulkhead dev\` ended before it was ready:" >&2
    cat "$work/dev.log" >&2
    exit 1
  fi
  sleep 0.1
done
cat "$work/dev.log"

# The ready file is JSON with one member a line.
member() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$work/ready.json" | head -n 1; }
url=$(member http)
folder=$(dirname "$(member config)")
key_file=$folder/secrets/key-app

failures=0

# ask TITLE STATUS EXPECTED PATH BODY: shows the request as a line to paste, sends it, shows the answer, and
# compares the status and a piece of the answer with what is expected.
ask() {
  local title=$1 status=$2 expected=$3 path=$4 body=$5
  printf '\n# %s\n' "$title"
  printf 'curl -s %s%s \\\n  -H "Authorization: Bearer $(cat %s)" \\\n  -H "Content-Type: application/json" \\\n' \
    "$url" "$path" "$key_file"
  printf "  -d '%s'\n" "${body//\'/\'\\\'\'}"
  # The key goes through a file descriptor: arguments are visible to every user of the machine.
  local answered
  answered=$(curl -sS --max-time 30 -o "$work/answer" -w '%{http_code}' "$url$path" \
    -H @<(printf 'Authorization: Bearer %s\n' "$(cat "$key_file")") \
    -H 'Content-Type: application/json' -d "$body") || answered=000
  printf 'HTTP %s\n' "$answered"
  if [ -e "$work/answer" ]; then cat "$work/answer"; echo; fi
  if [ "$answered" != "$status" ] || ! grep -qF -- "$expected" "$work/answer" 2>/dev/null; then
    printf 'demo: expected %s and an answer with %s\n' "$status" "$expected" >&2
    failures=$((failures + 1))
  fi
  rm -f "$work/answer"
}

ask 'A user, read through MySQL' 200 'Ada Lovelace' /v1/mysql/query \
  '{"sql": "SELECT id, name, email FROM users WHERE id = ?", "params": [1]}'
ask 'A new post, written to MySQL' 200 'last_insert_id' /v1/mysql/query \
  '{"sql": "INSERT INTO posts (user_id, title, content, status) VALUES (?, ?, ?, ?)", "params": [1, "Hello", "Through the gate", "draft"]}'
ask 'An audit row, written to PostgreSQL' 200 'rows_affected' /v1/postgres/query \
  '{"sql": "INSERT INTO audit_logs (user_id, action, resource_type, metadata) VALUES ($1, $2, $3, $4)", "params": ["1", "user.update", "user", {"field": "name"}]}'
ask 'Documents, found in MongoDB' 200 'login' /v1/mongodb/command \
  '{"command": {"find": "activity_logs", "filter": {"user_id": 1}, "limit": 1}}'
ask 'A cached value, set in Redis' 200 'OK' /v1/redis/command \
  '{"command": ["SET", "cache:greeting", "hello", "EX", "60"]}'
ask '… and read back' 200 'hello' /v1/redis/command \
  '{"command": ["GET", "cache:greeting"]}'
ask 'Users asked of PostgreSQL: refused, and where they live' 403 '"lives_in":"mysql"' /v1/postgres/query \
  '{"sql": "SELECT * FROM users"}'
ask 'API keys asked of MySQL: refused' 403 '"lives_in":"postgres"' /v1/mysql/query \
  '{"sql": "SELECT * FROM api_keys"}'
ask 'A key outside what the role may touch: refused' 403 'policy.' /v1/redis/command \
  '{"command": ["GET", "ratelimit:anyone"]}'

if [ "$failures" -gt 0 ]; then
  printf '\ndemo: %s answers were not as expected\n' "$failures" >&2
  exit 1
fi
if [ "$mode" = run ]; then
  printf '\nEverything keeps running for you to try; Ctrl-C stops it and removes it.\n'
  wait "$dev"
fi
