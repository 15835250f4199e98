// An identity provider for trying the service out: it lets in everybody under any name and without a password. In place of it
// take your own (see docs/access.md). Its keys, clients and logins are gone when it ends.
import { readFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const { IDP_ISSUER: issuer, IDP_AUDIENCE: audience, IDP_CLIENT_SECRET_FILE: secretFile, PORT: port = '3000' } = process.env;
const scopes = 'batches:read batches:write';
const provider = new Provider(issuer, {
  clients: [
    { client_id: 'agent', client_secret: readFileSync(secretFile, 'utf8').trim(), grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [], scope: scopes },
  ],
  scopes: ['openid', 'offline_access', ...scopes.split(' ')],
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  // People are in one group, agents in another one; the teams file says which teams these are.
  extraTokenClaims: async (_, token) => ({ groups: [token.accountId ? 'people' : 'agents'] }),
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
        if (resource !== audience) throw new Error(`no tokens are made for ${resource}`);
        return { scope: scopes, audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
});
provider.proxy = true; // it is reached through nginx, which says under which name
provider.listen(Number(port), () => console.log(`listening as ${issuer}`));
