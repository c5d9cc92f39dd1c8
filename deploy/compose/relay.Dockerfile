# A relay. Build it in the project's root: docker build -f deploy/compose/relay.Dockerfile .
FROM python:3.13-slim AS build
COPY . /source
RUN python -m venv /opt/messageu \
    && /opt/messageu/bin/pip install --no-cache-dir "/source[postgres]" \
    # Twisted keeps a list of its plugins beside them, where the relay may not write.
    && /opt/messageu/bin/twistd --help >/dev/null

FROM python:3.13-slim
RUN useradd --system --uid 1357 --home-dir /var/lib/messageu --create-home messageu \
    && install -d -o messageu -g messageu -m 0700 /certificate
COPY --from=build /opt/messageu /opt/messageu
USER messageu
WORKDIR /var/lib/messageu
ENTRYPOINT ["/opt/messageu/bin/twistd", "--nodaemon", "--pidfile=", "messageu"]
