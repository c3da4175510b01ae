#!/bin/sh
# Makes a certificate authority and a certificate for each database, once, into the volume /certs.
# For trying it out: the authority's key is thrown away, so that nothing else can be signed with it.
set -eu
cd /certs
[ -e done ] && exit 0
umask 077

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=bulkhead compose" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" \
  -keyout ca.key -out ca.pem
for host in postgres mysql mongodb redis; do
  mkdir -p "$host"
  printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' "$host" > "$host/extensions"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$host" \
    -keyout "$host/server.key" -out "$host/server.csr"
  openssl x509 -req -in "$host/server.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 \
    -extfile "$host/extensions" -out "$host/server.pem"
  cat "$host/server.key" "$host/server.pem" > "$host/both.pem"
  cp ca.pem "$host/ca.pem"
  rm "$host/server.csr" "$host/extensions"
done
rm -f ca.key ca.srl

# Each image runs its server as a user of its own, who alone may read the key.
own() { chown -R "$2" "$1"; chmod 0500 "$1"; chmod 0400 "$1"/*; }
own postgres 70:70
own mysql 999:999
own mongodb 999:999
own redis 999:1000
chmod 0755 .
chmod 0444 ca.pem
touch done
