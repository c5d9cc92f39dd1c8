# PostgreSQL under Patroni. Build it in deploy/patroni: docker build -f ../compose/database.Dockerfile .
FROM postgres:18
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/patroni \
    && /opt/patroni/bin/pip install --no-cache-dir "patroni[etcd3,psycopg3]" "psycopg[binary]"
COPY patroni.yml post_bootstrap /etc/patroni/
RUN install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/18
USER postgres
ENTRYPOINT ["/opt/patroni/bin/patroni", "/etc/patroni/patroni.yml"]
