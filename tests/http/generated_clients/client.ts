// Calls AgentIdP with the types that openapi-typescript has generated. Reads JSON, and writes JSON.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };
const given: { url: string; token: string; month: string } = JSON.parse(process.argv[2]!);
const client = createClient<paths, "application/json">({ baseUrl: given.url, headers: { Authorization: `Bearer ${given.token}` } });
const trend = await client.GET("/api/v1/analytics/tokens", { params: { query: { days: 3 } } });
const month = await client.GET("/api/v1/analytics/tokens", { params: { query: { month: given.month } } });
const agents = await client.GET("/api/v1/analytics/agents", { params: { query: { include: "name" } } });
const both = await client.GET("/api/v1/analytics/tokens", { params: { query: { days: 3, month: given.month } } });
if (!trend.data || !month.data || !agents.data || !both.error) throw new Error("a response is of the wrong kind");
const { code, details } = both.error;
console.log(
  JSON.stringify({
    trend: trend.data.data.map((item) => item.count),
    month: month.data.data.map((item) => item.count),
    agents: agents.data.data.map((item) => [item.agentName, item.tokenCount]),
    error: { code, details },
  }),
);
