"use strict";

SwaggerUIBundle({
  url: "api/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  // By default a badge of validator.swagger.io, which would get to see the document.
  validatorUrl: null,
});
