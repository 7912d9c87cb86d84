// What AgentIdP is compared with: @node-oauth/oauth2-server without a framework, which stores each token in PostgreSQL.
// One process a core, as its users run it. PORT, PROCESSES and the variables of libpq (PGHOST, …) are its settings.
import cluster from "node:cluster";
import { createHash } from "node:crypto";
import http from "node:http";
import OAuth2Server from "@node-oauth/oauth2-server";
import pg from "pg";

const { Request, Response } = OAuth2Server;
const pool = new pg.Pool({ max: 8 });
const digest = (text) => createHash("sha256").update(text).digest();

const FIND_CLIENT = "select client_id from peer_clients where client_id = $1 and secret_hash = $2";
const SAVE_TOKEN = "insert into peer_tokens (token_hash, client_id, expires_at) values ($1, $2, $3)";

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
  async saveToken(token, client, user) {
    const values = [digest(token.accessToken), client.id, token.accessTokenExpiresAt];
    await pool.query({ name: "save-token", text: SAVE_TOKEN, values });
    return { ...token, client, user };
  },
};

const oauth = new OAuth2Server({ model });

async function respond(received, sent) {
  const parts = [];
  for await (const part of received) parts.push(part);
  const body = Object.fromEntries(new URLSearchParams(Buffer.concat(parts).toString()));
  const { method, headers } = received;
  const response = new Response({ headers: {} });
  try {
    await oauth.token(new Request({ method, headers, query: {}, body }), response);
  } catch (error) {
    response.status = error.code ?? 500;
    response.body = { error: error.name };
  }
  const text = JSON.stringify(response.body);
  sent.writeHead(response.status, { ...response.headers, "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
  sent.end(text);
}

if (cluster.isPrimary) {
  for (let started = 0; started < Number(process.env.PROCESSES); started += 1) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  http
    .createServer((received, sent) => (received.method === "GET" ? sent.end("ok") : respond(received, sent)))
    .listen(Number(process.env.PORT), "127.0.0.1");
}
