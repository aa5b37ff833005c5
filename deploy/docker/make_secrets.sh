#!/usr/bin/env bash
# Makes the secrets that compose.yaml mounts, in deploy/docker/secrets (which git and the images leave out), and keeps those
# that are there. To change one, delete its file, run this again, and `docker compose up -d`.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

random() {
    head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='
}

keep() { # FILE TEXT
    if [[ ! -e secrets/$1 ]]; then
        printf '%s' "$2" >"secrets/$1"
        # Containers read it as users of their own; the folder keeps others of this machine out.
        chmod 644 "secrets/$1"
        echo "made secrets/$1"
    fi
}

keep raymux_api_key "rmx-$(random)"
keep raymux_admin_key "rmx-admin-$(random)"
keep grafana_password "$(random)"
keep redis_password "$(random)"
keep redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
keep redis.conf "requirepass $(cat secrets/redis_password)"
