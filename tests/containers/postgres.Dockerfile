# Stands in for docker.io/library/postgres:17-trixie, which the tests cannot fetch: Debian's PostgreSQL, and of the
# entry point what compose.yaml relies on.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim
FROM ${BASE_IMAGE}
RUN mkdir -p /etc/postgresql-common/createcluster.d \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/none.conf \
    && apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-17
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/
RUN mkdir -p /docker-entrypoint-initdb.d && install --directory --owner postgres /var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
USER postgres
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint.sh"]
CMD ["postgres"]
