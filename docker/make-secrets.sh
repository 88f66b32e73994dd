#!/bin/bash
# Make the secrets of the compose stack in a new folder: make-secrets.sh DIR
# Only the owner can enter the folder. The files are readable: containers mount them one by one and
# run as another user.
set -euo pipefail

folder="${1:-}"
[ -n "$folder" ] || { echo "make-secrets: name a folder: make-secrets.sh DIR" >&2; exit 2; }
[ ! -e "$folder" ] || { echo "make-secrets: $folder exists; remove it or name another" >&2; exit 2; }

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
mkdir -p "$folder"
printf 'synthset:%s' "$(random 16)" > "$folder/prefect_auth"
printf '%s' "$(random 24)" > "$folder/db_password"
printf 'synthset-%s' "$(random 4)" > "$folder/s3_key"
printf '%s' "$(random 24)" > "$folder/s3_secret"
chmod 0444 "$folder"/*
echo "export SYNTHSET_SECRETS=$(cd "$folder" && pwd)"
