FROM python:3.13-slim-trixie AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY client client
COPY generated generated
COPY server server
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/watchword \
    && /opt/watchword/bin/pip install "$(ls /wheels/*.whl)[server,cli]"

FROM python:3.13-slim-trixie
# A fixed uid, so that volumes and orchestrators can name it. Nobody logs in as it, and it owns no code.
RUN groupadd --gid 10001 watchword \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin watchword \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/watchword
COPY --from=build /opt/watchword /opt/watchword
# The server writes to its data folder only, and there only if it runs its own PostgreSQL: with
# WATCHWORD_DATABASE_URL the image works on a read-only file system. It refuses to start on 0.0.0.0 without TLS
# files or WATCHWORD_INSECURE=true.
ENV PATH=/opt/watchword/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WATCHWORD_DATA_DIR=/var/lib/watchword \
    WATCHWORD_LISTEN=0.0.0.0:7420 \
    WATCHWORD_LOG_FORMAT=json \
    WATCHWORD_REFLECTION=false
USER 10001:10001
EXPOSE 7420
# Asks the gRPC health service, so "healthy" means that RPCs are served and the database answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["watchword", "health"]
ENTRYPOINT ["watchword"]
CMD ["serve"]
