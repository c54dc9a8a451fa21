#!/usr/bin/env bash
# Sends one mail through a stack that runs, and waits until Mailpit has it. For
# that it has an API key made in the api's container, for an hour.
set -euo pipefail
cd "$(dirname "$0")/.."

api=http://127.0.0.1:${API_PORT:-8080}
mailpit=http://127.0.0.1:${MAIL_PORT:-8025}
mark=smoke-$(date +%s)-$$ # the template's name, and in the mail's subject

post() {
    curl -fsS --max-time 30 "$api$1" -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d "$2"
}

until_true() { # seconds, what is waited for, command
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "gave up waiting for $what" >&2
            return 1
        fi
        sleep 1
    done
}

until_true 60 "$api/readyz" curl -fsS --max-time 10 "$api/readyz"

status=$(curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "$api/v1/templates")
[[ $status == 401 ]] || { echo "without a key the API answers $status" >&2; exit 1; }
key=$(docker compose exec -T api /belfry key create --name "$mark" --scope send,templates --expires 1h)

post /v1/templates '{
  "name": "'"$mark"'",
  "channels": {"email": {"subject": "'"$mark"' for {{ recipient.name }}", "html": "<p>{{ film }}</p>"}}
}' >/dev/null
accepted=$(post /v1/notifications '{
  "template": "'"$mark"'",
  "to": [{"email": "smoke@example.com", "name": "Ann"}],
  "data": {"film": "Solaris"}
}')

arrived() { curl -fsS --max-time 10 "$mailpit/api/v1/messages" | grep -qF "\"$mark for Ann\""; }
until_true 60 "the mail in Mailpit; accepted was: $accepted" arrived
echo "the mail \"$mark for Ann\" has arrived"
