// Node before 22 has no fs.globSync, which MCP's conformance tests import, but do not call for an authorization server.
import { register } from 'node:module'

const fs = 'data:text/javascript,' + encodeURIComponent(`
  export * from 'node:fs'
  export const globSync = undefined
`)
register('data:text/javascript,' + encodeURIComponent(`
  export const resolve = (specifier, context, next) =>
    specifier === 'fs' && context.parentURL.includes('/@modelcontextprotocol/conformance/')
      ? { url: ${JSON.stringify(fs)}, format: 'module', shortCircuit: true }
      : next(specifier, context)
`))
