#!/usr/bin/env bash
# Installs what the tests need besides Go, where apt-get can: RabbitMQ, and for
# clients in Python pika and websockets. Elsewhere it says what to install.
set -euo pipefail

installed() {
	local python
	[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || PATH="$PATH:/opt/homebrew/sbin:/usr/local/sbin" command -v rabbitmq-server >/dev/null || return 1
	command -v epmd >/dev/null || return 1
	for python in /usr/bin/python3 python3; do
		"$python" -c 'import pika, websockets' 2>/dev/null && return
	done
	return 1
}

say() {
	echo "the tests need RabbitMQ, pika and websockets: $1" >&2
	exit 1
}

installed && exit
hint="install them (Debian: apt-get install rabbitmq-server python3-pika python3-websockets; macOS: brew install rabbitmq, pip install pika websockets), then again"
command -v apt-get >/dev/null || say "$hint"
sudo=
if [ "$(id -u)" -ne 0 ]; then
	sudo -n true 2>/dev/null || say "$hint"
	sudo="sudo -n"
fi
install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rabbitmq-server python3-pika python3-websockets"
echo "installing RabbitMQ, pika and websockets (once)"
# It fails too where the service that comes with it cannot start, which is not needed.
$install || { installed || { $sudo apt-get update -q && $install; } || installed || say "apt-get could not install them"; }
