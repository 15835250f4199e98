#!/bin/sh
# Makes what the services of compose.yaml show each other, in the folder `secrets` beside this file or one that is given.
# What is there already stays. Needs openssl; the API key is taken from ANTHROPIC_API_KEY.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# Containers read these files as users of their own, so that it is the folder that keeps other users of this machine out.
chmod 700 "$folder"
cd "$folder"
umask 022

random() { openssl rand -hex 24; }
# keep NAME: writes standard input there, unless the file is there.
keep() { if [ -e "$1" ]; then cat >/dev/null; else cat >"$1"; fi; }

random | keep postgres-password
printf 'postgresql://batches:%s@postgres:5432/batches\n' "$(cat postgres-password)" | keep database-url
random | keep s3-secret
printf 'AWS_ACCESS_KEY_ID=batches\nAWS_SECRET_ACCESS_KEY=%s\n' "$(cat s3-secret)" | keep s3.env
printf '{"identities": [{"name": "batches", "credentials": [{"accessKey": "batches", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List"]}]}\n' \
    "$(cat s3-secret)" | keep s3.json
random | keep idp-client-secret

# A named key of team search, and the teams file, which holds only its hash.
if [ ! -e teams.yaml ]; then
    key="bmk-$(random)"
    printf '%s\n' "$key" >search-key
    hash=$(printf %s "$key" | openssl dgst -sha256 -r | cut -d' ' -f1)
    cat >teams.yaml <<YAML
teams:
  search: {cap_usd: {day: 20, month: 200}, requests_per_minute: 600}
  people: {cap_usd: {day: 20}}
keys:
- {name: trial, sha256: '$hash', team: search, scopes: [batches:read, batches:write]}
claims: {agents: search, people: people}
YAML
fi

# An authority of its own, and its certificate for both names.
if [ ! -e tls.crt ]; then
    openssl req -x509 -newkey rsa:2048 -noenc -days 365 -subj '/CN=batches-mcp trial authority' \
        -addext 'keyUsage=critical,keyCertSign' -keyout ca.key -out ca.crt 2>/dev/null
    openssl req -newkey rsa:2048 -noenc -subj '/CN=batches.localhost' -keyout tls.key -out tls.csr 2>/dev/null
    printf 'subjectAltName=DNS:batches.localhost,DNS:idp.localhost,DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:false\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >tls.ext
    openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile tls.ext -out tls.crt 2>/dev/null
    rm -f tls.csr tls.ext
    chmod 644 tls.key
fi

if [ ! -e anthropic-key ]; then
    if [ -z "${ANTHROPIC_API_KEY:-}" ]; then
        echo "secrets.sh: set ANTHROPIC_API_KEY to the key that the service works with, and run this again" >&2
        exit 1
    fi
    printf '%s\n' "$ANTHROPIC_API_KEY" >anthropic-key
fi
echo "The secrets are in $folder; the key of team search is in search-key."
