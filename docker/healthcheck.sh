#!/bin/bash
# Whether the part that entrypoint.sh started works. A single flow run is watched by its worker.
set -euo pipefail

role="$(cat "${SYNTHSET_ROLE_FILE:-/tmp/role}" 2>/dev/null || true)"
case "$role" in
server) url="http://127.0.0.1:${SYNTHSET_HEALTH_PORT:-4200}/api/health" ;;
worker) url="http://127.0.0.1:${SYNTHSET_HEALTH_PORT:-8080}/health" ;;
s3) url="http://127.0.0.1:${SYNTHSET_HEALTH_PORT:-9000}/" ;;
*) exit 0 ;;
esac

# An S3 server refuses whoever has no key: that is an answer.
exec python - "$url" "$role" <<'PYTHON'
import sys
import urllib.error
import urllib.request

url, role = sys.argv[1:]
try:
    urllib.request.urlopen(url, timeout=5)
except urllib.error.HTTPError as error:
    sys.exit(0 if role == "s3" and 400 <= error.code < 500 else f"{url}: {error.code}")
except OSError as error:
    sys.exit(f"{url}: {error}")
PYTHON
