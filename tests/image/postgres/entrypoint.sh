#!/bin/sh
# Make the cluster, once, with the user, the password and the database that the variables name; then serve it.
set -eu
data=/var/lib/postgresql/data
programs=$(echo /usr/lib/postgresql/*/bin)
chown postgres: "$data"
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }

if [ ! -s "$data/PG_VERSION" ]; then
	install -o postgres -m 0600 "$POSTGRES_PASSWORD_FILE" /tmp/password
	as_postgres "$programs/initdb" --pgdata="$data" --username="$POSTGRES_USER" --pwfile=/tmp/password \
		--auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C.UTF-8
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
	echo "CREATE DATABASE \"$POSTGRES_DB\"" | as_postgres "$programs/postgres" --single -D "$data" postgres
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$programs/postgres" -D "$data" -c 'listen_addresses=*'
