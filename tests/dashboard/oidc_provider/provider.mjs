// A company's OpenID Connect provider: whoever names an account of the first argument is that person, by any password.
import Provider from 'oidc-provider';

const { port, clients, accounts } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients,
  claims: { openid: ['sub'], profile: ['name', 'organization', 'roles'], email: ['email', 'email_verified'] },
  // As many providers do: claims in the ID token. One account has them at the userinfo endpoint only.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  ttl: { Interaction: 600, Session: 600, Grant: 600 },
  cookies: { keys: ['not a secret: a test'] },
  findAccount: (_, sub) => accounts[sub] && {
    accountId: sub,
    claims: (use) => ({ sub, ...(use === 'id_token' && accounts[sub].userinfo ? {} : accounts[sub]) }),
  },
});
provider.use((ctx, next) => (ctx.path === '/favicon.ico' ? (ctx.status = 204) : next()));
provider.listen(port, '127.0.0.1', () => console.log(issuer));
