# etcd, as Debian has it.
FROM debian:13-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends etcd-server \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 2379 etcd-example \
    && install -d -o etcd-example -m 0700 /etcd
USER etcd-example
ENTRYPOINT ["etcd"]
