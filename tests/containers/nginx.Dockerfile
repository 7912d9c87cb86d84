# Stands in for docker.io/library/nginx, which the tests cannot fetch.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx-light
STOPSIGNAL SIGQUIT
