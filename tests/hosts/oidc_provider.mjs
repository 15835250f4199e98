// npm's oidc-provider as a test needs it: dynamic registration, logins that a script can do, resource indicators, JWTs.
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [, , folder, port, audience] = process.argv;
const found = path.join(folder, 'node_modules', 'oidc-provider', 'lib', 'index.js');
const { Provider } = await import(pathToFileURL(found));
const issuer = `http://127.0.0.1:${port}`;
const scopes = 'batches:read batches:write';
const provider = new Provider(issuer, {
  clients: [
    { client_id: 'registered', redirect_uris: ['http://127.0.0.1:9/callback'], token_endpoint_auth_method: 'none',
      application_type: 'native', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
    { client_id: 'agent', client_secret: 'agent-secret', grant_types: ['client_credentials'], redirect_uris: [],
      response_types: [], scope: scopes },
  ],
  scopes: ['openid', 'offline_access', ...scopes.split(' ')],
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  extraTokenClaims: async (_, token) => ({ groups: [token.accountId ? 'eng-search' : 'eng-ads'] }),
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        if (resource !== audience) throw new Error('invalid_target');
        return { scope: scopes, audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log(`listening at ${issuer}`));
