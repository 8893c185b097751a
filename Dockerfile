# One image for monitor, page, simulator and bridge: `docker build -t cellpulse:0.1.0 .`
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/cellpulse
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY analysis analysis
COPY bridge bridge
COPY cellpulse cellpulse
COPY models models
COPY monitor monitor
COPY recordings recordings
COPY simulator simulator
COPY training training
RUN /opt/cellpulse/bin/pip install --no-cache-dir -c constraints.txt ".[influx,bridge]"
# Compiled once here, so that the first start is quick.
ENV NUMBA_CACHE_DIR=/var/cache/cellpulse
RUN /opt/cellpulse/bin/cellpulse warm

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin cellpulse \
 && install -d -o cellpulse -g cellpulse /data
COPY --from=build /opt/cellpulse /opt/cellpulse
COPY --from=build --chown=cellpulse:cellpulse /var/cache/cellpulse /var/cache/cellpulse
ENV PATH=/opt/cellpulse/bin:$PATH \
    NUMBA_CACHE_DIR=/var/cache/cellpulse \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["cellpulse"]
CMD ["--help"]
