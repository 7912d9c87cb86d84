// What a TypeScript developer does with the SDK of MCP. Reads {"url", "issuer", "client_id", "client_secret" or "key",
// "arguments": {tool: arguments}} from standard input and writes what each tool returned as JSON.
import { readFileSync } from 'node:fs'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

const given = JSON.parse(readFileSync(0, 'utf8'))
const who = { clientId: given.client_id, expectedIssuer: given.issuer }
const authProvider = given.key
  ? new PrivateKeyJwtProvider({ ...who, privateKey: given.key, algorithm: 'ES256' })
  : new ClientCredentialsProvider({ ...who, clientSecret: given.client_secret })
const client = new Client({ name: 'test', version: '1' })
await client.connect(new StreamableHTTPClientTransport(new URL(given.url), { authProvider }))
const answers = {}
for (const tool of (await client.listTools()).tools) {
  // The client checks the result against the tool's output schema.
  const result = await client.callTool({ name: tool.name, arguments: given.arguments[tool.name] ?? {} })
  answers[tool.name] = result.isError ? result.content : result.structuredContent
}
console.log(JSON.stringify(answers))
await client.close()
