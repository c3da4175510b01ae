#!/bin/sh
# Redis with one account, over TLS alone. The list of accounts holds the password's hash.
set -eu
hash=$(tr -d '\n' < /run/secrets/redis_app_password | sha256sum | cut -d ' ' -f 1)
umask 077
printf 'user default off\nuser bulkhead_app on #%s ~* &* +@all -@admin -@dangerous +keys +info\n' "$hash" > /tmp/users.acl
exec redis-server --port 0 --tls-port 6379 --tls-auth-clients no --aclfile /tmp/users.acl \
  --tls-cert-file /certs/redis/server.pem --tls-key-file /certs/redis/server.key \
  --tls-ca-cert-file /certs/redis/ca.pem --appendonly yes --dir /data
