// What a TypeScript developer does with oauth4webapi, and with openid-client. Reads {"scenario", "url", …} from standard input and writes what
// came out as JSON, an error of the library as {"error", "status"}.
import { createPrivateKey, subtle } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const given = JSON.parse(readFileSync(0, 'utf8'))
// The library takes plain HTTP for tests only.
const insecure = { [oauth.allowInsecureRequests]: true }
const client = { client_id: given.client_id }
const api = `${given.url}/api/v1`

const issuer = new URL(given.url)
const as = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: given.discovery ?? 'oauth2', ...insecure }),
)

async function clientAuthentication() {
  if (given.method === 'basic') return oauth.ClientSecretBasic(given.client_secret)
  if (given.method === 'post') return oauth.ClientSecretPost(given.client_secret)
  if (given.assertion_type) {
    // The library's type ClientAuth: a method that it does not have.
    return (as, client, body) => {
      body.set('client_id', client.client_id)
      body.set('client_assertion_type', given.assertion_type)
      body.set('client_assertion', given.assertion)
    }
  }
  const algorithm = {
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
    ES384: { name: 'ECDSA', namedCurve: 'P-384' },
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
    Ed25519: { name: 'Ed25519' },
  }[given.method]
  const der = createPrivateKey(given.private_key).export({ format: 'der', type: 'pkcs8' })
  const key = await subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
  return oauth.PrivateKeyJwt(given.kid ? { key, kid: given.kid } : key)
}

async function token(options = {}) {
  const parameters = new URLSearchParams(given.parameters ?? {})
  const response = await oauth.clientCredentialsGrantRequest(as, client, await clientAuthentication(), parameters, {
    ...insecure,
    ...options,
  })
  return oauth.processClientCredentialsResponse(as, client, response)
}

async function introspection(text) {
  const response = await oauth.introspectionRequest(as, client, await clientAuthentication(), text, insecure)
  return oauth.processIntrospectionResponse(as, client, response)
}

function validated(request) {
  return oauth.validateJwtAccessToken(as, request, given.audience ?? api, insecure)
}

const scenarios = {
  async discovery() {
    const resource = new URL(api)
    const found = await oauth.processResourceDiscoveryResponse(
      resource,
      await oauth.resourceDiscoveryRequest(resource, insecure),
    )
    return { as, resource: found }
  },

  async token() {
    const issued = await token()
    const request = new Request(api, { headers: { authorization: `Bearer ${issued.access_token}` } })
    return { issued, claims: await validated(request) }
  },

  // The token of a platform is the grant, and there is no other authentication.
  async grant() {
    const type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
    const parameters = new URLSearchParams({ assertion: given.assertion })
    const response = await oauth.genericTokenEndpointRequest(as, client, oauth.None(), type, parameters, insecure)
    const issued = await oauth.processGenericTokenEndpointResponse(as, client, response)
    const request = new Request(api, { headers: { authorization: `Bearer ${issued.access_token}` } })
    return { issued, claims: await validated(request) }
  },

  // Another token is exchanged for one by which the client acts for its subject: by this library, and by one for more cases.
  async exchange() {
    const type = 'urn:ietf:params:oauth:grant-type:token-exchange'
    const parameters = new URLSearchParams(given.parameters)
    const authentication = await clientAuthentication()
    const response = await oauth.genericTokenEndpointRequest(as, client, authentication, type, parameters, insecure)
    const issued = await oauth.processGenericTokenEndpointResponse(as, client, response)
    const request = new Request(api, { headers: { authorization: `Bearer ${issued.access_token}` } })
    const options = { execute: [openid.allowInsecureRequests] }
    const authenticated = openid.ClientSecretBasic(given.client_secret)
    const found = await openid.discovery(issuer, given.client_id, undefined, authenticated, options)
    const other = await openid.genericGrantRequest(found, type, parameters)
    return { issued, claims: await validated(request), other }
  },

  // Instances of an agent that get tokens at the same time; each goes over to the next secret at another moment.
  async load() {
    const issued = given.secrets.map(() => new Set())
    async function instance(number) {
      for (let i = 0; i < given.each; i++) {
        const share = (i + (number * given.each) / given.instances / 2) / given.each
        const turn = Math.min(given.secrets.length - 1, Math.floor(share * given.secrets.length))
        const authentication = oauth.ClientSecretBasic(given.secrets[turn])
        const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, {}, insecure)
        const { access_token } = await oauth.processClientCredentialsResponse(as, client, response)
        issued[turn].add(access_token)
      }
    }
    await Promise.all([...Array(given.instances).keys()].map(instance))
    return issued.map((tokens) => tokens.size)
  },

  async introspection() {
    return introspection((await token()).access_token)
  },

  async revocation() {
    const { access_token } = await token()
    const before = await introspection(access_token)
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(as, client, await clientAuthentication(), access_token, insecure),
    )
    return { before: before.active, after: await introspection(access_token) }
  },

  async dpop() {
    const keys = await oauth.generateKeyPair(given.alg ?? 'ES256')
    const DPoP = oauth.DPoP(client, keys)
    const issued = await token({ DPoP })
    const bearer = await fetch(`${api}/agents`, { headers: { authorization: `Bearer ${issued.access_token}` } })
    const answers = []
    for (let i = 0; i < 2; i++) {
      const response = await oauth.protectedResourceRequest(
        issued.access_token,
        'GET',
        new URL(`${api}/agents?limit=1`),
        undefined,
        undefined,
        { DPoP, ...insecure },
      )
      answers.push(response.status)
    }
    // The library's own resource server, with a request as the library's client has sent it.
    let sent
    await oauth.protectedResourceRequest(issued.access_token, 'GET', new URL(api), undefined, undefined, {
      DPoP,
      ...insecure,
      [oauth.customFetch]: (url, init) => {
        sent = new Request(url, init)
        return new Response()
      },
    })
    const claims = await validated(sent)
    return {
      issued,
      answers,
      as_bearer: bearer.status,
      is_bound: claims.cnf.jkt === (await DPoP.calculateThumbprint()),
      introspected: await introspection(issued.access_token),
    }
  },
}

let out
try {
  out = await scenarios[given.scenario]()
} catch (error) {
  if (!(error instanceof oauth.ResponseBodyError || error instanceof oauth.WWWAuthenticateChallengeError)) throw error
  out = { error: error.error ?? error.cause, status: error.status }
  const retryAfter = error.response.headers.get('retry-after')
  if (retryAfter) out = { ...out, retry_after: retryAfter, description: error.error_description }
}
console.log(JSON.stringify(out))
