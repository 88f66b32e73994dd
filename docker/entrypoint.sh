#!/bin/bash
# Start one service of the stack, or any command: server | s3 | worker POOL TYPE | COMMAND ...
#
# The variable X_FILE names the file with the secret X, so that neither `docker inspect` nor a
# process list shows the secret.
set -euo pipefail

fail() {
    echo "entrypoint: $1" >&2
    exit 2
}

for name in PREFECT_API_AUTH_STRING PREFECT_SERVER_API_AUTH_STRING \
    PREFECT_SERVER_DATABASE_PASSWORD AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    file_name="${name}_FILE"
    file="${!file_name:-}"
    if [ -n "$file" ]; then
        [ -r "$file" ] || fail "$file_name: $file can't be read; run docker/make-secrets.sh"
        value="$(<"$file")"
        [ -n "$value" ] || fail "$file_name: $file is empty; run docker/make-secrets.sh"
        export "$name=$value"
    fi
done

mkdir -p "${HOME:-/tmp/home}" || fail "HOME: ${HOME:-/tmp/home} can't be made; set HOME"

# Docker gives containers the proxies of its own configuration. They don't reach these servers.
NO_PROXY="${no_proxy:-${NO_PROXY:-}},localhost,127.0.0.1,server,s3"
export NO_PROXY="${NO_PROXY#,}"
export no_proxy="$NO_PROXY"

wait_for_server() {
    [ -n "${PREFECT_API_URL:-}" ] || fail "PREFECT_API_URL is not set: http://server:4200/api"
    local deadline=$((SECONDS + ${SYNTHSET_WAIT_S:-180}))
    until python - "$PREFECT_API_URL/health" <<'PYTHON' 2>/dev/null; do
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=5)
PYTHON
        [ "$SECONDS" -lt "$deadline" ] || fail "no Prefect server at $PREFECT_API_URL"
        sleep 1
    done
}

# healthcheck.sh reads the role. A command of `docker compose exec` must not change it.
set_role() { echo "$1" > "${SYNTHSET_ROLE_FILE:-/tmp/role}"; }

case "${1:-}" in
server)
    set_role server
    [ -n "${PREFECT_SERVER_API_AUTH_STRING:-}" ] ||
        fail "no password for the server: set PREFECT_SERVER_API_AUTH_STRING_FILE"
    exec python -m deployments.server.main --host 0.0.0.0 --port 4200
    ;;
s3)
    set_role s3
    [ -n "${AWS_ACCESS_KEY_ID:-}" ] && [ -n "${AWS_SECRET_ACCESS_KEY:-}" ] ||
        fail "no keys for the store: set AWS_ACCESS_KEY_ID_FILE and AWS_SECRET_ACCESS_KEY_FILE"
    folder="${SYNTHSET_S3_FOLDER:-/s3}"
    mkdir -p "$folder/synthset"
    export RCLONE_AUTH_KEY="\"$AWS_ACCESS_KEY_ID,$AWS_SECRET_ACCESS_KEY\""
    exec rclone serve s3 --config /dev/null --addr 0.0.0.0:9000 "$folder"
    ;;
worker)
    set_role worker
    [ "$#" -eq 3 ] || fail "worker POOL TYPE, such as: worker synthset-cpu process"
    wait_for_server
    if [ -n "${SYNTHSET_DEPLOY:-}" ]; then
        synthset deploy --gpu "$SYNTHSET_DEPLOY"
    fi
    exec prefect worker start --pool "$2" --type "$3" --with-healthcheck --install-policy never
    ;;
"")
    fail "say what to start: server, s3, worker POOL TYPE, or a command"
    ;;
*)
    exec "$@"
    ;;
esac
