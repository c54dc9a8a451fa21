#!/bin/bash
# Starts mongod with a key file, which a replica set with authentication needs
# even when it has one member. The key is made on the first start and kept in
# the volume. Members on other machines need the same key: make it once then,
# and give it to each as a secret.
set -euo pipefail

key=/data/configdb/keyfile
if [ ! -s "$key" ]; then
    (umask 077 && head -c 512 /dev/urandom | base64 -w 0 >"$key.new")
    mv "$key.new" "$key"
fi
chown mongodb:mongodb "$key"
chmod 400 "$key"
exec docker-entrypoint.sh "$@"
