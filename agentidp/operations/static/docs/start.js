"use strict";

// The document names the issuer's address. Operations are tried out at the address of this page instead, because the
// browser lets the page send requests nowhere else: http://localhost and http://127.0.0.1 are different origins.
fetch("api/v1/openapi.json")
  .then((response) => response.json())
  .then((spec) => {
    const issuer = spec.servers[0].url;
    const here = new URL(".", location.href).href.replace(/\/$/, "");
    spec.servers = [{ url: here }];
    for (const flow of Object.values(spec.components.securitySchemes.oauth2.flows)) {
      flow.tokenUrl = flow.tokenUrl.replace(issuer, here);
    }
    SwaggerUIBundle({
      spec,
      dom_id: "#api",
      deepLinking: true,
      // The default is a badge of validator.swagger.io, which would receive the document.
      validatorUrl: null,
    });
  });
