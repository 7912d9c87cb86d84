"""Routes for operators (health, index, audit trail, API documentation), and the metrics of the instance."""
