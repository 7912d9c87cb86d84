#!/bin/sh
# Starts nginx in a container on port 8000, as any user, on a read-only file system with a writable /tmp. The site is
# nginx.conf beside this file, a copy of deploy/nginx.conf. Usage: nginx.sh https SERVER_NAME, with the certificate in
# /etc/agentidp, or nginx.sh http SERVER_NAME, for a trial on one machine or in a trusted network.
set -eu
scheme=$1 server_name=$2
case $scheme in
    https) listen='s/listen \(.*\)443 ssl;/listen \18000 ssl;/' ;;
    http) listen='s/listen \(.*\)443 ssl;/listen \18000;/; /http2 on/d; /ssl_/d; /Strict-Transport-Security/d' ;;
    *) echo "nginx.sh: the first argument must be https or http, not '$scheme'" >&2; exit 1 ;;
esac
# IPv6 may be missing in a container.
[ -e /proc/net/if_inet6 ] || listen="$listen; /listen \[::\]/d"
sed -e "$listen" -e "s/server_name .*;/server_name $server_name;/" \
    -e 's|/var/log/nginx/agentidp.log|/dev/stdout|; s|/var/log/nginx/error.log|/dev/stderr|' \
    "$(dirname "$0")/nginx.conf" > /tmp/site.conf
cat > /tmp/nginx.conf <<END
daemon off;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events { worker_connections 8192; }
http {
    access_log off;
    server_tokens off;
    client_body_temp_path /tmp/client_body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    include /tmp/site.conf;
}
END
exec nginx -c /tmp/nginx.conf -e /dev/stderr
