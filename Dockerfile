# syntax=docker/dockerfile:1

# Every wheel is checked against the lock file's hashes here; the image below is installed from these wheels alone.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --no-deps --require-hashes --requirement requirements.lock --wheel-dir /wheels
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
RUN python -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --no-index --find-links /wheels .

FROM python:3.11-slim
LABEL org.opencontainers.image.title="audit-siem-gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/gateway /opt/gateway
# A numeric user lets Kubernetes check runAsNonRoot. Nothing but /data is written: the root may be read-only.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
USER 10001:10001
WORKDIR /
ENV PATH="/opt/gateway/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_DATA_DIR=/data \
    GATEWAY_LISTEN=0.0.0.0:8080
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['GATEWAY_LISTEN'].rpartition(':')[2] + '/healthz', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
