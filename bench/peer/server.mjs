// What AgentIdP is compared with: @node-oauth/oauth2-server on Express, which signs a JWT after RFC 9068 with ES256 for each
// token, and stores the token in PostgreSQL. One process per core, as its users run it. PORT and the variables of libpq
// (PGHOST, …) are its settings.
import cluster from "node:cluster";
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { availableParallelism } from "node:os";
import OAuth2Server from "@node-oauth/oauth2-server";
import express from "express";
import pg from "pg";

const { Request, Response } = OAuth2Server;
const LIFETIME = 3600;
const FIND_CLIENT = "select client_id from peer_clients where client_id = $1 and secret_hash = $2";
const SAVE_TOKEN = "insert into peer_tokens (token_hash, client_id, expires_at) values ($1, $2, $3)";

const issuer = `http://localhost:${process.env.PORT}`;
const pool = new pg.Pool({ max: 8 });
// Nobody verifies the tokens, so each process has a key of its own.
const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const digest = (text) => createHash("sha256").update(text).digest();
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const head = base64url({ alg: "ES256", typ: "at+jwt", kid: "peer" });

const model = {
  async getClient(id, secret) {
    const found = await pool.query({ name: "find-client", text: FIND_CLIENT, values: [id, digest(secret)] });
    return found.rowCount === 1 && { id, grants: ["client_credentials"] };
  },
  async getUserFromClient(client) {
    return { id: client.id };
  },
  async validateScope() {
    return ["analytics:read"];
  },
  async generateAccessToken(client, user, scope) {
    const now = Math.floor(Date.now() / 1000);
    const times = { iat: now, exp: now + LIFETIME };
    const names = { iss: issuer, aud: `${issuer}/api/v1`, sub: client.id, client_id: client.id, organization_id: "org_peer" };
    const claims = { ...names, ...times, jti: randomBytes(16).toString("base64url"), scope: scope.join(" ") };
    const signed = `${head}.${base64url(claims)}`;
    const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
    return `${signed}.${signature.toString("base64url")}`;
  },
  async saveToken(token, client, user) {
    const values = [digest(token.accessToken), client.id, token.accessTokenExpiresAt];
    await pool.query({ name: "save-token", text: SAVE_TOKEN, values });
    return { ...token, client, user };
  },
};

const oauth = new OAuth2Server({ model, accessTokenLifetime: LIFETIME });
const app = express();

app.get("/healthz", (received, sent) => sent.send("ok"));
app.post("/api/v1/token", express.urlencoded({ extended: false }), async (received, sent) => {
  const response = new Response(sent);
  try {
    await oauth.token(new Request(received), response);
    sent.status(response.status).set(response.headers).json(response.body);
  } catch (error) {
    sent.status(error.code ?? 500).json({ error: error.name });
  }
});

if (cluster.isPrimary) {
  for (let started = 0; started < availableParallelism(); started += 1) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  app.listen(Number(process.env.PORT), "127.0.0.1");
}
