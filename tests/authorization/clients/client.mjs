// What TypeScript developers do: the MCP SDK, oauth4webapi and openid-client let a person allow something, and refresh.
// Arguments: the library, and a JSON object with url, client_id, redirect_uri and resource. Writes the address for the
// person's browser as a line, reads the address to which the browser was led back, and writes the result as JSON.
import { createInterface } from 'node:readline/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const [library, json] = process.argv.slice(2)
const { url, client_id, redirect_uri, resource } = JSON.parse(json)
const lines = createInterface({ input: process.stdin })

async function visit(address) {
  console.log(address)
  for await (const line of lines) return new URL(line)
}

const libraries = {
  async mcp() {
    const stored = {}
    let address
    const authProvider = {
      redirectUrl: redirect_uri,
      clientMetadata: { redirect_uris: [redirect_uri], token_endpoint_auth_method: 'none' },
      clientMetadataUrl: client_id.startsWith('https:') ? client_id : undefined,
      clientInformation: () => stored.client ?? (client_id.startsWith('https:') ? undefined : { client_id }),
      saveClientInformation: (client) => void (stored.client = client),
      tokens: () => stored.tokens,
      saveTokens: (tokens) => void (stored.tokens = tokens),
      redirectToAuthorization: (to) => void (address = to.href),
      saveCodeVerifier: (verifier) => void (stored.verifier = verifier),
      codeVerifier: () => stored.verifier,
    }
    async function call() {
      const transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider })
      const client = new Client({ name: 'test', version: '1' })
      try {
        await client.connect(transport)
        return (await client.callTool({ name: 'whoami', arguments: {} })).content[0].text
      } catch (error) {
        if (address === undefined) throw error
        const back = await visit(address)
        address = undefined
        await transport.finishAuth(back.searchParams.get('code'))
        return call()
      } finally {
        await client.close()
      }
    }
    const first = await call()
    const { refresh_token } = stored.tokens
    // The server refuses the token, so the SDK refreshes it.
    stored.tokens = { ...stored.tokens, access_token: 'expired' }
    return { callers: [first, await call()], is_rotated: stored.tokens.refresh_token !== refresh_token }
  },

  async oauth4webapi() {
    const insecure = { [oauth.allowInsecureRequests]: true }
    const issuer = new URL(url)
    const as = await oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
    )
    const client = { client_id }
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const address = new URL(as.authorization_endpoint)
    const code_challenge = await oauth.calculatePKCECodeChallenge(verifier)
    const parameters = { client_id, redirect_uri, resource, state, code_challenge }
    for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value)
    address.searchParams.set('response_type', 'code')
    address.searchParams.set('code_challenge_method', 'S256')
    // This also checks iss (RFC 9207).
    const response = oauth.validateAuthResponse(as, client, await visit(address.href), state)
    const issued = await oauth.processAuthorizationCodeResponse(
      as,
      client,
      await oauth.authorizationCodeGrantRequest(
        as, client, oauth.None(), response, redirect_uri, verifier, insecure,
      ),
    )
    const refreshed = await oauth.processRefreshTokenResponse(
      as,
      client,
      await oauth.refreshTokenGrantRequest(as, client, oauth.None(), issued.refresh_token, insecure),
    )
    return { scopes: [issued.scope, refreshed.scope], is_rotated: issued.refresh_token !== refreshed.refresh_token }
  },

  async 'openid-client'() {
    const options = { execute: [openid.allowInsecureRequests] }
    const config = await openid.discovery(new URL(url), client_id, undefined, openid.None(), options)
    const pkceCodeVerifier = openid.randomPKCECodeVerifier()
    const expectedState = openid.randomState()
    const address = openid.buildAuthorizationUrl(config, {
      redirect_uri,
      resource,
      state: expectedState,
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
    })
    const back = await visit(address.href)
    const issued = await openid.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState })
    const refreshed = await openid.refreshTokenGrant(config, issued.refresh_token)
    return { scopes: [issued.scope, refreshed.scope], is_rotated: issued.refresh_token !== refreshed.refresh_token }
  },
}

console.log(JSON.stringify(await libraries[library]()))
process.exit(0)
