#!/bin/sh
# Runs once, when the volume is empty: the account that runs callers' statements, over TLS alone.
set -eu
password=$(sed "s/[\\\\']/\\\\&/g" /run/secrets/mysql_app_password)
mysql -uroot -p"$(cat /run/secrets/mysql_root_password)" <<SQL
CREATE USER 'bulkhead_app'@'%' IDENTIFIED BY '$password' REQUIRE SSL;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, SHOW VIEW, TRIGGER ON enterprise_app_db.* TO 'bulkhead_app'@'%';
SQL
