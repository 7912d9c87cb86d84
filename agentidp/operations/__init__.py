"""For the operator: health, the index and the API's documentation."""
