#!/bin/sh
# Makes the namespace and the search attributes that Belfry gives its
# workflows. Run at every start; what is there already is left, but the
# retention becomes the one below.
set -eu

: "${TEMPORAL_ADDRESS:?}" # the CLI reads it
namespace=${TEMPORAL_NAMESPACE:-default}
retention=${TEMPORAL_RETENTION:-168h} # how long ended workflows can be looked at

patience=120 # seconds
deadline=$(($(date +%s) + patience))
try() { # until it succeeds
    until output=$("$@" 2>&1); do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            echo "after $patience s still: $*" >&2
            echo "$output" >&2
            exit 1
        fi
        sleep 1
    done
}

try temporal operator cluster health

if temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1; then
    try temporal operator namespace update --namespace "$namespace" --retention "$retention"
else
    echo "making the namespace $namespace"
    try temporal operator namespace create --namespace "$namespace" --retention "$retention"
fi

attributes() { temporal operator search-attribute list --namespace "$namespace"; }
try attributes
for attribute in BelfryTemplate:Keyword BelfryChannel:KeywordList BelfryTags:KeywordList; do
    name=${attribute%:*} kind=${attribute#*:}
    if ! attributes | grep -q "^ *$name "; then
        echo "making the search attribute $name"
        try temporal operator search-attribute create --namespace "$namespace" --name "$name" --type "$kind"
    fi
    # A workflow may be started with it once the server's cache has it.
    try temporal workflow count --namespace "$namespace" --query "$name = 'x'"
done
echo "Temporal is set up"
