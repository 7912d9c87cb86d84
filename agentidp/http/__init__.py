"""Context, errors, schemas and OpenAPI description of requests and responses. Endpoints are in other packages."""
