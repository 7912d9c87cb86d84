# The image of AgentIdP; docs/containers.md says how to run it. Another base image must be Debian with its own Python.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

FROM ${BASE_IMAGE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv
RUN python3 -m venv /opt/agentidp
WORKDIR /src
COPY . .
# The extra "embedded" is left out: it is a PostgreSQL for trials without containers, and would be the largest part.
RUN /opt/agentidp/bin/pip install --no-cache-dir --constraint constraints.txt '.[alerts]' \
    && /opt/agentidp/bin/pip uninstall --yes pip \
    && ln -s "$(/opt/agentidp/bin/python -I -c 'from agentidp.server.serve import gunicorn_config as c; print(c())')" \
        /opt/agentidp/gunicorn.conf.py \
    && install -m 755 deploy/containers/healthcheck.py /opt/agentidp/bin/agentidp-healthcheck

FROM ${BASE_IMAGE}
# Debian's Python is built with profile-guided and link-time optimization.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && groupadd --gid 10001 agentidp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agentidp \
    && install --directory --owner 10001 --group 10001 --mode 0750 /run/agentidp
COPY --from=build /opt/agentidp /opt/agentidp
# nginx reaches the service through a UNIX socket in a shared volume; agentidp.service does the same with systemd.
ENV PATH=/opt/agentidp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    AGENTIDP_BIND=unix:/run/agentidp/agentidp.sock \
    AGENTIDP_TRUSTED_PROXIES=1
# A number, because Kubernetes cannot tell from a name that the account is not root.
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["agentidp-healthcheck"]
CMD ["gunicorn", "--config", "/opt/agentidp/gunicorn.conf.py", "agentidp:create_app()"]
