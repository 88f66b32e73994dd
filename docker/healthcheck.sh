#!/bin/bash
# Check the service that entrypoint.sh started. A flow run is watched by its worker instead.
set -euo pipefail

role="$(cat "${SYNTHSET_ROLE_FILE:-/tmp/role}" 2>/dev/null || true)"
port="${SYNTHSET_HEALTH_PORT:-}"
case "$role" in
server) urls=("http://127.0.0.1:${port:-4200}/api/health" "http://127.0.0.1:${port:-4200}/") ;;
worker) urls=("http://127.0.0.1:${port:-8080}/health") ;;
s3) urls=("http://127.0.0.1:${port:-9000}/") ;;
*) exit 0 ;;
esac

# An S3 server refuses requests without a key: it is healthy.
exec python - "$role" "${urls[@]}" <<'PYTHON'
import sys
import urllib.error
import urllib.request

role, *urls = sys.argv[1:]
# Without the proxies of the environment, which don't reach this container.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for url in urls:
    try:
        direct.open(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        if role != "s3" or not 400 <= error.code < 500:
            sys.exit(f"{url}: {error.code}")
    except OSError as error:
        sys.exit(f"{url}: {error}")
PYTHON
