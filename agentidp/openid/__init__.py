"""Signs people in at an OpenID Connect provider, for the dashboard and for the authorization endpoint."""
